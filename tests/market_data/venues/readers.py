"""Reads a venue's feed in the background and writes down what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from algotrade.market_data.feed import FeedChange, FeedState, FeedTicks, FeedTime, Resume
from algotrade.market_data.venues.feed import VenueFeed
from algotrade.platform.metrics import Metrics


@dataclass
class Reader:
    """What one symbol's feed has said so far."""

    numbers: list[int] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    states: list[FeedState] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    async def has(self, *numbers: int) -> None:
        await self.until(lambda: len(self.numbers) >= len(numbers))
        assert self.numbers == list(numbers)

    async def becomes(self, *states: str) -> None:
        await self.until(lambda: len(self.states) >= len(states))
        assert [state.name for state in self.states] == list(states)


@asynccontextmanager
async def reading(feed: VenueFeed, symbol: str, resume: Resume | None = None) -> AsyncIterator[Reader]:
    reader = Reader()
    task = asyncio.create_task(_read(feed, symbol, resume or Resume(epoch=1), reader))
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _read(feed: VenueFeed, symbol: str, resume: Resume, reader: Reader) -> None:
    async with aclosing(feed.run(symbol, resume)) as items:
        async for item in items:
            if isinstance(item, FeedTicks):
                reader.numbers += [int(number.rpartition(":")[2]) for number in item.trade_ids or ()]
                reader.prices += item.ticks["price"].tolist()
                reader.sides += item.ticks["flags"].tolist()
            elif isinstance(item, FeedChange):
                reader.states.append(item.state)
                reader.details.append(item.detail)
            elif isinstance(item, FeedTime):
                reader.times.append(item.ts)
            reader.changed.set()
    reader.ended = True
    reader.changed.set()


def counted(metrics: Metrics, venue: str, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"algotrade_venue_{name}", {"venue": venue} | labels) or 0.0
