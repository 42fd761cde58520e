"""Small programs run both ways: as WebAssembly and by the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import wasmtime

from algotrade.engine import emit
from algotrade.engine.interpreter import Interpreter
from algotrade.engine.ir import Function, Program

MEMORY_BYTES = 65_536


class Both:
    """One program, twice. ``call`` gives what WebAssembly and the interpreter answer."""

    def __init__(self, functions: Sequence[Function], data: Sequence[tuple[int, bytes]] = ()) -> None:
        program = Program(list(functions), list(data))
        raw = emit.module(program, emit.encode(program, ()), ("none", b""))
        self._store = wasmtime.Store(wasmtime.Engine())
        self._exports = wasmtime.Instance(self._store, wasmtime.Module(self._store.engine, raw), []).exports(
            self._store
        )
        self._interpreter = Interpreter(program, MEMORY_BYTES)

    def call(self, name: str, *args: float) -> tuple[float, float]:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        return function(self._store, *args), self._interpreter.call(name, *args)

    @property
    def memories(self) -> tuple[bytes, bytes]:
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return bytes(memory.read(self._store, 0, MEMORY_BYTES)), bytes(self._interpreter.memory)
