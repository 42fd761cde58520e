"""The one place that touches wasmtime: its engine, its memory, and a fast way to call into it.

wasmtime's public ``Func.__call__`` rebuilds its argument types on every call (36 µs); the unchecked call of its C API
takes about half a microsecond. That entry point is private to the Python package, hence the pinned version and this
file.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock, main_thread
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import wasmtime
from wasmtime import _ffi as ffi

from algotrade.engine.limits import MAX_MEMORY_BYTES

_MODULES_KEPT: Final = 1_024
_PAGE: Final = 65_536


class TrapError(RuntimeError):
    """The module was stopped: out of fuel, or a fault of the compiler that made it."""


class Modules:
    """Compiled modules by hash, the least recently used dropped first. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._engine: wasmtime.Engine | None = None
        self._process: int | None = None
        self._kept: OrderedDict[str, wasmtime.Module] = OrderedDict()

    @property
    def engine(self) -> wasmtime.Engine:
        """Made on first use: an engine made before faulthandler is enabled would turn traps into crashes."""
        with self._lock:
            # The native id of the main thread is that of the process, and a fork's main thread has its own.
            process = main_thread().native_id
            if self._engine is None or self._process != process:
                config = wasmtime.Config()
                config.consume_fuel = True
                # Compiling in parallel takes threads that a fork does not inherit: there it would wait for ever.
                config.parallel_compilation = self._engine is None
                self._engine, self._process = wasmtime.Engine(config), process
                self._kept.clear()
            return self._engine

    def load(self, hash: str, raw: bytes | str) -> wasmtime.Module:
        """A module by its bytes, or by its text for one of our own."""
        engine = self.engine
        with self._lock:
            if hash in self._kept:
                self._kept.move_to_end(hash)
                return self._kept[hash]
        module = wasmtime.Module(engine, raw)
        with self._lock:
            self._kept[hash] = module
            while len(self._kept) > _MODULES_KEPT:
                self._kept.popitem(last=False)
        return module


MODULES: Final = Modules()


class Store:
    """Where instances live: those of one store can call each other, and go when it goes, all at once.

    Not to be used by two threads at once.
    """

    def __init__(self, instances: int = 1) -> None:
        self.raw = wasmtime.Store(MODULES.engine)
        self.raw.set_limits(memory_size=MAX_MEMORY_BYTES, instances=instances, memories=instances)
        self.raw.set_fuel(1)


class Instance:
    """A module with a memory of its own. Not to be used by two threads at once."""

    def __init__(self, module: wasmtime.Module, store: Store | None = None) -> None:
        self._store = (store or Store()).raw
        try:
            exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        except wasmtime.WasmtimeError as e:
            raise MemoryError(f"no room for another module: {e}") from e
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        self._bytes = self._whole()
        self.exports = exports
        self._functions = {f: _Function(self._store, e) for f, e in exports.items() if isinstance(e, wasmtime.Func)}

    def enlist(self, module: wasmtime.Module, other: Instance, wants: Sequence[str]) -> int:
        """Instantiate a module on this one's memory and exports of another; put its ``step`` in this one's ``table``.

        Both must share a store. Returns the place in the table. Raises MemoryError.
        """
        imports = [self.exports["memory"], *(other.exports[name] for name in wants)]
        table = self.exports["table"]
        assert isinstance(table, wasmtime.Table)
        try:
            step = wasmtime.Instance(self._store, module, imports).exports(self._store)["step"]
            return int(table.grow(self._store, 1, step))
        except wasmtime.WasmtimeError as e:
            raise MemoryError(f"no room for another module: {e}") from e

    def grow(self, size: int) -> None:
        """Make the memory at least this many bytes. Raises MemoryError. Views from before are void."""
        missing = size - self._memory.data_len(self._store)
        if missing > 0:
            try:
                self._memory.grow(self._store, -(-missing // _PAGE))
            except wasmtime.WasmtimeError as e:
                raise MemoryError(f"the artefact's memory cannot hold {size} bytes") from e
            self._bytes = self._whole()

    def _whole(self) -> npt.NDArray[np.uint8]:
        buffer: Any = self._memory.get_buffer_ptr(self._store)
        return np.frombuffer(buffer, np.uint8)

    def view(self, address: int, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
        """Records in the module's memory, not a copy; valid until the memory grows or the instance goes."""
        return self._bytes[address : address + dtype.itemsize * count].view(dtype)

    def call(self, name: str, *args: int, fuel: int) -> int:
        """Call an export. Raises TrapError; the memory then holds a state half done."""
        self._store.set_fuel(fuel)
        return self._functions[name](*args)


class _Function:
    """``wasmtime_func_call_unchecked`` with its argument array kept."""

    def __init__(self, store: wasmtime.Store, func: wasmtime.Func) -> None:
        kinds = [str(p) for p in func.type(store).params]
        self._results = len(func.type(store).results)
        self._context, self._func = store._context(), ctypes.byref(func._func)
        self._cells = (ffi.wasmtime_val_raw_t * max(1, len(kinds)))()
        self._set = [(self._cells[i], kind) for i, kind in enumerate(kinds)]
        self._trap = ctypes.POINTER(ffi.wasm_trap_t)()
        self._call = ffi.dll.wasmtime_func_call_unchecked
        self._call.restype = ctypes.c_void_p
        self._keep = func

    def __call__(self, *args: int) -> int:
        for (cell, kind), value in zip(self._set, args, strict=True):
            setattr(cell, kind, value)
        error = self._call(
            self._context, self._func, self._cells, ctypes.c_size_t(len(self._cells)), ctypes.byref(self._trap)
        )
        if error or self._trap:
            self._fail(error)
        return int(self._cells[0].i32) if self._results else 0

    def _fail(self, error: int | None) -> None:
        if error:
            pointer = ctypes.cast(ctypes.c_void_p(error), ctypes.POINTER(ffi.wasmtime_error_t))
            raise TrapError(str(wasmtime.WasmtimeError._from_ptr(pointer)))
        trap = wasmtime.Trap._from_ptr(self._trap)
        self._trap = ctypes.POINTER(ffi.wasm_trap_t)()
        lines = str(trap).strip().splitlines()  # where it was, call by call, then what it was
        raise TrapError(lines[-1].strip().removeprefix("wasm trap: "))
