"""One real server for all workers of a test run: the first that needs it starts it, the last that leaves ends it."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil

from algotrade.stack.kafka import kafka


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the directory's lock."""
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def shared_kafka(directory: Path) -> AsyncIterator[str]:
    """Yield the address of the one Kafka on a directory, while the context is open in any process."""
    address, users = directory / "address", directory / "users"
    with alone(directory):
        if not address.exists():
            server, where = await asyncio.to_thread(kafka, directory / "server")
            await server.start()
            address.write_text(where)
            users.write_text("0")
        users.write_text(str(int(users.read_text()) + 1))
    try:
        yield address.read_text()
    finally:
        with alone(directory):
            left = int(users.read_text()) - 1
            users.write_text(str(left))
            if left == 0:
                await asyncio.to_thread(_end, directory)


def _end(directory: Path) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int((directory / "server" / "kafka.pid").read_text()))
        process.kill()  # nothing in it is needed again
        process.wait(20)
    shutil.rmtree(directory)
