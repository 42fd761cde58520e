"""The engine: a strategy graph becomes one WebAssembly module, and the module becomes trades.

Pure and synchronous: time arrives with each event, and nothing here reads a clock, a file or a socket.
"""
