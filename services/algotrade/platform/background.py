"""The end of tasks that run for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from algotrade.platform.log import logger

log = logger(__name__)

AGAIN_SECONDS: Final = 0.5


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return once they have ended, however they do.

    A cancellation can be lost: Python 3.11's wait_for, with which SQLAlchemy waits for a connection, returns instead of
    raising where what it waits for comes at the same moment. So a task that goes on is told again.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("task.failed", task=task.get_name(), exc_info=error)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run something while the context is open."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        await end(task)
