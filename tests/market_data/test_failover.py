"""A feed that stands in for another: when, for how long, and what the log is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from market_data.feeds import SECOND, ManualClock, ManualFeed, made

from algotrade.market_data.failover import FailoverFeed, standing_in
from algotrade.market_data.feed import FeedChange, FeedState, FeedTicks, FeedTime, Resume

A = "BTC-USD"
LIVE, GAP, STALE = FeedState.LIVE, FeedState.GAP, FeedState.STALE


class Two:
    """A preferred feed, one that stands in, and what came of them in short."""

    def __init__(self, resume: Resume) -> None:
        self.clock = ManualClock()
        self.first, self.other = ManualFeed(A, tells=True), ManualFeed(A, tells=True)
        self.feed = FailoverFeed(A, [self.first, self.other], self.clock, 10.0)
        self.said: list[object] = []
        self._changed = asyncio.Event()
        self.reading = asyncio.create_task(self._read(resume))

    async def _read(self, resume: Resume) -> None:
        async for item in self.feed.run(A, resume):
            if isinstance(item, FeedChange):
                self.said.append(item.state.name)
            else:
                self.said += [item.ts] if isinstance(item, FeedTime) else item.ticks["price"].tolist()
            self._changed.set()
        self.said.append("end")
        self._changed.set()

    async def says(self, *expected: object) -> None:
        async with asyncio.timeout(20):
            while len(self.said) < len(expected):
                self._changed.clear()
                await self._changed.wait()
        assert self.said == list(expected)
        self.said.clear()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110  (what is waited for sets no event)
                await asyncio.sleep(0)

    def push(self, feed: ManualFeed, price: int) -> None:
        feed.say(A, FeedTicks(made((self.clock.now_ns(), price))))

    def become(self, feed: ManualFeed, state: FeedState) -> None:
        feed.say(A, FeedChange(state, self.clock.now_ns()))

    async def opened(self, feed: ManualFeed) -> None:
        await self.until(lambda: A in feed.resumed)

    async def wait(self, seconds: float) -> None:
        """Let everyone come to rest, then let time pass."""
        for _ in range(20):
            await asyncio.sleep(0)
        self.clock.turn(seconds)


@asynccontextmanager
async def two(resume: Resume | None = None) -> AsyncIterator[Two]:
    both = Two(resume or Resume(epoch=1))
    try:
        yield both
    finally:
        both.reading.cancel()
        await asyncio.gather(both.reading, return_exceptions=True)


async def test_while_the_first_is_live_the_other_is_not_opened() -> None:
    async with two() as both:
        both.push(both.first, 5)
        await both.says(5)
        await both.wait(100)
        both.become(both.first, GAP)
        both.become(both.first, LIVE)
        await both.says("GAP", "LIVE")
        await both.wait(100)
        both.push(both.first, 6)
        await both.says(6)
        assert A not in both.other.resumed


async def test_the_other_stands_in_and_is_given_up_when_the_first_is_back() -> None:
    async with two() as both:
        both.push(both.first, 5)
        both.become(both.first, GAP)
        await both.says(5, "GAP")
        await both.wait(10)
        await both.opened(both.other)
        both.push(both.other, 50)
        await both.says("GAP", "LIVE", 50)
        both.other.say(A, FeedTime(7))
        both.push(both.first, 6)  # fetched for the gap: another was the source then
        both.push(both.other, 51)
        await both.says(7, 51)
        both.become(both.first, LIVE)
        both.push(both.first, 7)
        await both.says("GAP", "LIVE", 7)
        both.push(both.other, 52)
        both.push(both.first, 8)
        await both.says(8)


async def test_without_a_trade_of_the_other_the_first_is_waited_for() -> None:
    async with two() as both:
        both.become(both.first, STALE)
        await both.says("STALE")
        await both.wait(10)
        await both.opened(both.other)
        both.become(both.other, GAP)
        both.become(both.first, LIVE)
        both.push(both.first, 5)
        await both.says("LIVE", 5)


async def test_a_first_feed_that_never_says_anything_is_away() -> None:
    async with two() as both:
        await both.opened(both.first)
        await both.wait(10)
        await both.opened(both.other)
        both.push(both.other, 5)
        await both.says("GAP", "LIVE", 5)
        both.push(both.first, 6)
        await both.says("GAP", "LIVE", 6)


async def test_what_the_first_feed_fetches_over_a_gap_does_not_bring_it_back() -> None:
    async with two() as both:
        both.become(both.first, GAP)
        await both.says("GAP")
        await both.wait(10)
        await both.opened(both.other)
        both.push(both.other, 5)
        await both.says("GAP", "LIVE", 5)
        both.push(both.first, 4)
        both.push(both.other, 6)
        await both.says(6)


async def test_a_first_feed_that_is_refused_leaves_the_symbol_to_the_other() -> None:
    async with two(Resume(1, 5, SECOND, 4, GAP)) as both:
        both.become(both.first, STALE)
        both.first.end()
        await both.says("STALE")
        await both.wait(10)
        await both.opened(both.other)
        both.push(both.other, 5)
        both.push(both.other, 6)
        await both.says("GAP", "LIVE", 5, 6)
        both.other.end()
        await both.says("end")


async def test_what_breaks_in_a_feed_is_not_hidden() -> None:
    class Broken(ManualFeed):
        async def run(self, symbol: str, resume: Resume):  # type: ignore[no-untyped-def]
            raise RuntimeError("no more")
            yield

    feed = FailoverFeed(A, [Broken(A, tells=True), ManualFeed(A, tells=True)], ManualClock(), 10.0)
    with pytest.raises(RuntimeError, match="no more"):
        await anext(feed.run(A, Resume()))


def test_only_feeds_that_tell_their_state_stand_in_for_each_other() -> None:
    one, other = ManualFeed(A, "ETH-USD", tells=True), ManualFeed(A, tells=True)
    feeds = standing_in([one, other], ManualClock(), 10.0)
    assert [[symbol.name for symbol in feed.symbols] for feed in feeds] == [["ETH-USD"], [], [A]]
    made_up = ManualFeed(A)
    assert standing_in([one, made_up], ManualClock(), 10.0) == [one, made_up]
