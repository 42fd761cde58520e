"""The end of tasks that run for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from algotrade.platform.log import logger

log = logger(__name__)

AGAIN_SECONDS: Final = 0.5


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return once they have ended, however they do.

    A cancellation can be lost: Python 3.11's wait_for, with which redis-py waits for a command to be written, returns
    instead of raising where what it waits for comes at the same moment. So a task that goes on is told again. Who waits
    here is cancelled when they have ended, no sooner: nothing is left running.
    """
    running, told = set(tasks), None
    while running:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as cancelled:
            told = cancelled
        running = {task for task in running if not task.done()}
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("task.failed", task=task.get_name(), exc_info=error)
    if told is not None:
        raise told


async def together(*work: Coroutine[Any, Any, None], beside: Iterable[Coroutine[Any, Any, None]] = ()) -> None:
    """Run work until all of it has ended, with what runs ``beside`` it meanwhile; raise what fails first.

    What still runs then is ended, as by `end`: a TaskGroup tells each of its tasks once, and waits for ever
    for one that loses it.
    """
    working = [asyncio.create_task(one) for one in work]
    running = {*working, *map(asyncio.create_task, beside)}
    failed: BaseException | None = None
    try:
        while failed is None and any(not task.done() for task in working):
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            failed = next((error for task in ended if (error := _failure(task)) is not None), None)
    finally:
        await end(*running)
    if failed is not None:
        raise failed


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run something while the context is open."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        await end(task)
