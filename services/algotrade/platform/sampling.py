"""Figures that must be asked for, such as a count of rows: looked at now and then, so that a scrape costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from algotrade.platform.background import background
from algotrade.platform.log import logger

log = logger(__name__)

Sample = Callable[[], Awaitable[None]]


@asynccontextmanager
async def sampling(every_seconds: float, *samples: Sample) -> AsyncIterator[None]:
    """Take samples at once and then again and again while open. One that fails leaves its figure as it was."""

    async def take_for_ever() -> None:
        while True:
            for sample in samples:
                try:
                    await sample()
                except Exception as error:
                    log.debug("sample.failed", exc_info=error)  # whether the database answers, health says
            await asyncio.sleep(every_seconds)

    async with background(take_for_ever(), "sampling"):
        yield
