"""A feed the tests feed by hand, and a clock they turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import numpy as np

from algotrade.engine.records import TICK, Records
from algotrade.market_data.feed import FeedItem, FeedSymbol, FeedTicks, Resume

SECOND = 1_000_000_000


class ManualClock:
    """Stands still until it is turned."""

    def __init__(self, now_ns: int = 1_700_000_000 * SECOND) -> None:
        self._now_ns = now_ns
        self._turned = asyncio.Event()

    def now_ns(self) -> int:
        return self._now_ns

    async def sleep_until(self, ts_ns: int) -> None:
        while self._now_ns < ts_ns:
            await self._turned.wait()
        await asyncio.sleep(0)

    def turn(self, seconds: float) -> None:
        self._now_ns += round(seconds * SECOND)
        self._turned.set()
        self._turned = asyncio.Event()


class ManualFeed:
    """Delivers what `push` is given."""

    def __init__(
        self, *names: str, live: bool = True, bars: bool = False, on_demand: Sequence[str] = (), tells: bool = False
    ) -> None:
        self.symbols = tuple(
            FeedSymbol(name, "manual", bars=bars, on_demand=name in on_demand, live=live, tells=tells) for name in names
        )
        self.resumed: dict[str, Resume] = {}
        self._queues: dict[str, asyncio.Queue[FeedItem | None]] = {name: asyncio.Queue() for name in names}

    def push(self, name: str, ticks: Records, trade_ids: Sequence[str] | None = None) -> None:
        self._queues[name].put_nowait(FeedTicks(ticks, trade_ids))

    def say(self, name: str, item: FeedItem) -> None:
        self._queues[name].put_nowait(item)

    def end(self) -> None:
        for queue in self._queues.values():
            queue.put_nowait(None)

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        self.resumed[symbol] = resume
        while (item := await self._queues[symbol].get()) is not None:
            yield item


def made(*rows: tuple[int, int] | tuple[int, int, float]) -> Records:
    """Return ticks of (time, price) or (time, price, size)."""
    ticks = np.zeros(len(rows), TICK)
    for index, (ts, price, *size) in enumerate(rows):
        ticks[index]["ts"], ticks[index]["price"] = ts, price
        ticks[index]["size"] = size[0] if size else 1.0
    return ticks


def ramp(first_ns: int, count: int, step_ns: int = 1_000_000) -> Records:
    """Return ``count`` ticks whose price is their number, in order of time."""
    ticks = np.zeros(count, TICK)
    ticks["ts"] = first_ns + np.arange(count) * step_ns
    ticks["price"] = np.arange(1, count + 1) * 1_000_000
    ticks["size"] = 1.0
    return ticks
