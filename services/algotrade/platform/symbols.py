"""Descriptors as reflection looks them up, methods included.

protobuf's pool finds the file of a message, an enum or a service, but not that of a method, so that
``grpcurl describe package.Service.Method`` would say that there is no such symbol.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor


class SymbolPool:
    """The default pool, and what it misses."""

    def __init__(self) -> None:
        """Take the pool that generated code registers with."""
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the pool's own."""
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802  (the pool's name)
        """Return the file that declares a symbol. Raises KeyError."""
        try:
            found: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file
        return found
