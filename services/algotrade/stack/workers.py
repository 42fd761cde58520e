"""The processes that step sessions: as many as are wanted, more or fewer while sessions run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from algotrade.platform.background import end
from algotrade.stack.kept import keep
from algotrade.stack.process import Server


class Workers:
    """The first so many of some servers."""

    def __init__(self, servers: Sequence[Server]) -> None:
        """Take all that there may be; none runs yet."""
        self._servers = servers
        self._count = 0
        self._keepers: dict[str, asyncio.Task[None]] | None = None  # by name, while they are kept running

    @property
    def most(self) -> int:
        """How many there may be."""
        return len(self._servers)

    @property
    def running(self) -> Sequence[Server]:
        """Those that run, or should."""
        return self._servers[: self._count]

    async def scale(self, count: int) -> None:
        """Start or end some, in order, so that so many run. Raises StackError, ValueError."""
        if not 0 <= count <= self.most:
            raise ValueError(f"there may be up to {self.most} workers, not {count}")
        more, fewer = self._servers[self._count : count], self._servers[count : self._count]
        self._count = count
        if self._keepers is not None:
            await end(*(self._keepers.pop(server.name) for server in fewer))
        async with asyncio.TaskGroup() as tasks:
            for server in more:
                tasks.create_task(server.start())
            for server in fewer:
                tasks.create_task(server.stop())
        if self._keepers is not None:
            self._keepers |= {server.name: _keeper(server) for server in more}

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Start again whatever ends by itself, while the context is open."""
        self._keepers = {server.name: _keeper(server) for server in self.running}
        try:
            yield
        finally:
            keepers, self._keepers = self._keepers, None
            await end(*keepers.values())


def _keeper(server: Server) -> asyncio.Task[None]:
    return asyncio.create_task(keep(server), name=f"keep-{server.name}")
