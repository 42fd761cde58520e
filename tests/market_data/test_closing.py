"""A feed whose market has hours: CLOSED in its place among the ticks; and when exchanges say that they are open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import pytest
from market_data.feeds import SECOND, ManualClock, ManualFeed, made

from algotrade.market_data.closing import ClosingFeed
from algotrade.market_data.feed import FeedChange, FeedItem, FeedState, FeedTicks, FeedTime, Resume
from algotrade.market_data.hours import ExchangeHours, Moment, UnknownExchangeError

START = 1_700_000_000 * SECOND
GRACE = 2
LIVE, GAP, STALE, CLOSED = FeedState.LIVE, FeedState.GAP, FeedState.STALE, FeedState.CLOSED


class Shop:
    """Open for a hundred seconds of every thousand, from START on."""

    async def at(self, ns: int) -> Moment:
        since = (ns - START) // SECOND % 1000
        begin_ns = ns - (ns - START) % (1000 * SECOND)
        return Moment(since < 100, begin_ns + (100 if since < 100 else 1000) * SECOND)


class Told:
    """What a closing feed says, in short."""

    def __init__(self, at: int, resume: Resume) -> None:
        self.clock = ManualClock(START + at * SECOND)
        self.inner = ManualFeed("AAA", "BTC", tells=True)
        self.inner.symbols = (replace(self.inner.symbols[0], exchange="XSHP"), self.inner.symbols[1])
        shop = Shop()
        self.feed = ClosingFeed(self.inner, lambda one: shop if one.exchange else None, self.clock, GRACE * SECOND)
        self.items: asyncio.Queue[FeedItem | None] = asyncio.Queue()
        self.reading = asyncio.create_task(self._read(resume))

    async def _read(self, resume: Resume) -> None:
        async for item in self.feed.run("AAA", resume):
            self.items.put_nowait(item)
        self.items.put_nowait(None)

    async def says(self, *expected: object) -> None:
        """Be what it says next, and nothing else by then."""
        found: list[object] = []
        async with asyncio.timeout(20):
            while len(found) < len(expected):
                item = await self.items.get()
                match item:
                    case FeedChange():
                        found.append(item.state)
                    case FeedTicks():
                        found.append(int(item.ticks["price"][0]))
                    case FeedTime():
                        found.append(item.ts)
                    case None:
                        found.append("end")
        assert found == list(expected)
        for _ in range(20):
            await asyncio.sleep(0)
        assert self.items.empty()

    def trade(self, price: int) -> None:
        self.inner.push("AAA", made((self.clock.now_ns(), price)))

    def become(self, state: FeedState) -> None:
        self.inner.say("AAA", FeedChange(state, self.clock.now_ns()))


@asynccontextmanager
async def told(at: int, resume: Resume | None = None) -> AsyncIterator[Told]:
    found = Told(at, resume or Resume())
    try:
        yield found
    finally:
        found.reading.cancel()
        await asyncio.wait({found.reading})
    assert found.reading.cancelled() or found.reading.exception() is None


async def test_the_close_comes_after_its_grace_and_the_opening_on_time() -> None:
    async with told(at=90) as one:
        one.trade(1)
        await one.says(1)
        one.clock.turn(11)
        one.trade(2)  # which comes late, and belongs to the day
        await one.says(2)
        one.clock.turn(1)
        await one.says(CLOSED)
        one.trade(3)
        await one.says(3)
        one.clock.turn(898)
        await one.says(LIVE)
        one.trade(4)
        await one.says(4)
        one.inner.end()
        await one.says("end")


async def test_what_the_feed_is_worth_while_closed_is_told_at_the_opening() -> None:
    async with told(at=99) as one:
        one.become(GAP)
        await one.says(GAP)
        one.clock.turn(3)
        await one.says(CLOSED)
        one.become(LIVE)
        one.become(STALE)
        one.inner.say("AAA", FeedTime(START + 120 * SECOND))
        await one.says(START + 120 * SECOND)
        one.clock.turn(898)
        await one.says(STALE)
        one.become(LIVE)
        await one.says(LIVE)


async def test_it_begins_closed_goes_on_closed_and_opens_what_was_left_closed() -> None:
    async with told(at=500) as one:
        await one.says(CLOSED)
    async with told(at=500, resume=Resume(2, 7, START, 1, CLOSED)) as one:
        await one.says(CLOSED)  # which the log has already: nothing is written of it
        assert one.inner.resumed["AAA"].state == STALE
        assert one.inner.resumed["AAA"].sequence == 7
    async with told(at=1050, resume=Resume(2, 7, START, 1, CLOSED)) as one:
        await one.says(STALE)
        one.become(LIVE)
        await one.says(LIVE)


async def test_several_edges_that_were_slept_through_end_in_what_is_so_now() -> None:
    async with told(at=50) as one:
        await one.says()
        one.clock.turn(3000)  # open again, two days later
        await one.says(LIVE)
        one.clock.turn(60)
        await one.says(CLOSED)


async def test_a_symbol_without_hours_is_passed_on() -> None:
    found = Told(at=500, resume=Resume())
    await found.says(CLOSED)
    found.inner.push("BTC", made((START, 5)))
    found.inner.say("BTC", FeedChange(GAP, START))
    plain = found.feed.run("BTC", Resume())
    assert isinstance(await anext(plain), FeedTicks)
    assert (await anext(plain)) == FeedChange(GAP, START)
    await plain.aclose()
    found.reading.cancel()
    await asyncio.wait({found.reading})


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("exchange", "when", "is_open", "until"),
    [
        ("XNYS", "2026-11-25T14:29:59Z", False, "2026-11-25T14:30:00Z"),
        ("XNYS", "2026-11-25T14:30:00Z", True, "2026-11-25T21:00:00Z"),
        ("XNYS", "2026-11-26T16:00:00Z", False, "2026-11-27T14:30:00Z"),  # Thanksgiving
        ("XNYS", "2026-11-27T17:59:59Z", True, "2026-11-27T18:00:00Z"),  # half a day
        ("XNYS", "2026-11-27T18:00:00Z", False, "2026-11-30T14:30:00Z"),
        ("XNYS", "2026-07-01T13:30:00Z", True, "2026-07-01T20:00:00Z"),  # summer time
        ("XTKS", "2026-06-01T02:45:00Z", False, "2026-06-01T03:30:00Z"),  # lunch
        ("XTKS", "2026-06-01T03:30:00Z", True, "2026-06-01T06:30:00Z"),
    ],
)
async def test_exchanges_are_open_when_they_say(exchange: str, when: str, is_open: bool, until: str) -> None:
    assert await ExchangeHours(exchange).at(ns(when)) == Moment(is_open, ns(until))


async def test_hours_are_read_anew_for_another_year_and_unknown_exchanges_refused() -> None:
    hours = ExchangeHours("XNYS")
    assert not (await hours.at(ns("2024-12-25T16:00:00Z"))).is_open
    assert (await hours.at(ns("2026-03-02T16:00:00Z"))).is_open
    with pytest.raises(UnknownExchangeError, match="XNYS"):
        ExchangeHours("NYSE of sorts")
