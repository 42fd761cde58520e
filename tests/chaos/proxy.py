"""A wire that can be cut: forwards TCP connections to wherever it is told, and breaks them at the worst moment."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CHUNK: Final = 65_536
STORE: Final = b"WITH proven AS"  # in the statement that is a worker's transaction


class Wire:
    """Listens at `address`. ``connect`` opens the other end of each connection, as long as there is one."""

    def __init__(self, connect: Callable[[], Awaitable[Opened]]) -> None:
        """Take how the other end is reached."""
        self.connect = connect
        self.address = ""
        self.cuts: Counter[str] = Counter()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Wire]:
        """Forward while the context is open."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname()[:2])
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection as it stands, in the middle of whatever it carries."""
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            far_reader, far_writer = await self.connect()
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._out(reader, far_writer))
                pumps.create_task(self._back(far_reader, writer, far_writer))
        except* (OSError, EOFError):
            pass
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()

    async def _out(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        """Carry what the client says."""
        while chunk := await reader.read(CHUNK):
            await self._say(chunk, far)
        raise EOFError

    async def _say(self, chunk: bytes, far: asyncio.StreamWriter) -> None:
        far.write(chunk)
        await far.drain()

    async def _back(
        self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: asyncio.StreamWriter
    ) -> None:
        """Carry what is answered."""
        while chunk := await far_reader.read(CHUNK):
            if not self._pass(chunk, far):
                raise EOFError
            writer.write(chunk)
            await writer.drain()
        raise EOFError

    def _pass(self, chunk: bytes, far: asyncio.StreamWriter) -> bool:
        return True


class CommitWire(Wire):
    """A wire to PostgreSQL that cuts some connections at their COMMIT: before it arrives, or before its answer does.

    A worker's transaction is mostly one prepared statement, whose execution is its COMMIT.

    The client is told the same in both cases, namely nothing.
    """

    def __init__(self, connect: Callable[[], Awaitable[Opened]], seed: int, chance: float) -> None:
        """Take how PostgreSQL is reached, and how many of the commits are to be cut."""
        super().__init__(connect)
        self._random = random.Random(seed)
        self._chance = chance
        self._silenced: set[asyncio.StreamWriter] = set()
        self._stores: set[tuple[asyncio.StreamWriter, bytes]] = set()  # statements by the names of their connections
        self.cutting = False

    async def _say(self, chunk: bytes, far: asyncio.StreamWriter) -> None:
        ends = self._ends(chunk, far)
        if self.cutting and ends and self._random.random() < self._chance:
            if self._random.random() < 0.5:
                self.cuts[f"before {ends} arrived"] += 1
                raise EOFError
            self.cuts[f"between {ends} and its answer"] += 1
            self._silenced.add(far)
        await super()._say(chunk, far)

    def _ends(self, chunk: bytes, far: asyncio.StreamWriter) -> str:
        """Say with what a chunk, which begins with a message, ends a transaction; nothing where it does not."""
        if chunk[:1] == b"P" and STORE in chunk:  # Parse: name of the statement, text
            self._stores.add((far, chunk[5:].split(b"\0", 1)[0]))
        if chunk[:1] == b"B":  # Bind: name of the portal, name of the statement, parameters
            return "a worker's statement" if (far, chunk[5:].split(b"\0", 2)[1]) in self._stores else ""
        return "COMMIT" if b"COMMIT" in chunk else ""

    def _pass(self, chunk: bytes, far: asyncio.StreamWriter) -> bool:
        with suppress(KeyError):
            self._silenced.remove(far)
            return False
        return True


def tcp(address: str) -> Callable[[], Awaitable[Opened]]:
    """Return how to reach an address."""
    host, _, port = address.rpartition(":")
    return lambda: asyncio.open_connection(host, int(port))
