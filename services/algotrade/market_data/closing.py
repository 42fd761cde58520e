"""A feed whose market has hours: CLOSED between them, as records of the log, whatever the feed is worth meanwhile.

What is traded while the exchange is closed passes: it moves bars and lets stops fill, and opens nothing. At the close
a grace is waited for, so that the last trades come before it; at the opening the feed is in the state it was last in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from algotrade.market_data.feed import Feed, FeedChange, FeedItem, FeedState, FeedSymbol, Resume
from algotrade.market_data.hours import Hours, Moment
from algotrade.platform.background import end
from algotrade.platform.clock import SECOND_NS, Clock, utc

MOST_ASLEEP_NS: Final = 60 * SECOND_NS  # a machine that slept notices no later


class ClosingFeed:
    """The port `Feed` over another, of whose symbols some have hours."""

    def __init__(self, feed: Feed, hours: Callable[[FeedSymbol], Hours | None], clock: Clock, grace_ns: int) -> None:
        """Take the feed, what says when a symbol is traded (None: always), and how late its trades may be."""
        self._feed = feed
        self._hours = hours
        self._clock = clock
        self._grace_ns = grace_ns

    @property
    def symbols(self) -> Sequence[FeedSymbol]:
        """The symbols of the feed."""
        return self._feed.symbols

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        """Yield what the feed says, but for its state while the exchange is closed."""
        known = next(one for one in self.symbols if one.name == symbol)
        hours = self._hours(known)
        if hours is None:
            async with aclosing(self._feed.run(symbol, resume)) as plain:
                async for item in plain:
                    yield item
            return
        # It may have been left CLOSED: to the feed below that is nobody trading.
        before = FeedState.STALE if resume.state == FeedState.CLOSED else resume.state
        told = FeedChange(before, self._clock.now_ns())
        now = await hours.at(self._clock.now_ns())
        if not now.is_open or resume.state == FeedState.CLOSED:
            yield self._said(known, now, told)
        fed = self._feed.run(symbol, replace(resume, state=before))
        async with aclosing(fed), aclosing(self._with_edges(fed, hours, now)) as said:
            async for found in said:
                if isinstance(found, Moment):
                    now = found
                    yield self._said(known, now, told)
                    continue
                if isinstance(found, FeedChange):
                    told = replace(found, source=found.source or told.source)
                    if not now.is_open:
                        continue
                yield found

    async def _with_edges(
        self, fed: AsyncGenerator[FeedItem, None], hours: Hours, now: Moment
    ) -> AsyncGenerator[FeedItem | Moment, None]:
        """Yield what the feed says, and each opening and close when its time has come, until the feed has no more."""
        coming = asyncio.create_task(_next(fed))
        try:
            while True:
                edge_ns = now.until_ns + (self._grace_ns if now.is_open else 0)
                if self._clock.now_ns() >= edge_ns:
                    now = await hours.at(self._clock.now_ns() - (self._grace_ns if now.is_open else 0))
                    yield now
                    continue
                await self._wait(coming, edge_ns)
                if coming.done():
                    item = coming.result()
                    if item is None:
                        return
                    coming = asyncio.create_task(_next(fed))
                    yield item
        finally:
            await end(coming)

    async def _wait(self, coming: asyncio.Future[FeedItem | None], edge_ns: int) -> None:
        until_ns = min(edge_ns, self._clock.now_ns() + MOST_ASLEEP_NS)
        waiting = asyncio.ensure_future(self._clock.sleep_until(until_ns))
        both: set[asyncio.Future[Any]] = {coming, waiting}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    def _said(self, symbol: FeedSymbol, now: Moment, told: FeedChange) -> FeedChange:
        until = utc(now.until_ns).strftime("%Y-%m-%d %H:%M UTC")
        at_ns = self._clock.now_ns()
        if not now.is_open:
            return FeedChange(FeedState.CLOSED, at_ns, f"{symbol.exchange} is closed until {until}", told.source)
        return FeedChange(told.state, at_ns, f"{symbol.exchange} is open until {until}", told.source)


async def _next(fed: AsyncGenerator[FeedItem, None]) -> FeedItem | None:
    return await anext(fed, None)
