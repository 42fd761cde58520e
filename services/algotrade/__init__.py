"""AlgoTrade: a strategy graph becomes one WebAssembly artefact that backtests, paper-trades and explains itself."""
