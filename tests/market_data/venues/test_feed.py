"""A venue's feed against a Coinbase of our own: over everything that goes wrong, each trade comes once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from market_data.venues.fake_coinbase import FakeCoinbase
from market_data.venues.readers import counted, reading

from algotrade.engine.records import BUYER, SELLER
from algotrade.market_data.feed import FeedState, Resume
from algotrade.market_data.venues.build import coinbase_feed
from algotrade.market_data.venues.feed import VenueAway, VenueFeed
from algotrade.market_data.venues.venue import VenueRefused
from algotrade.platform.clock import SystemClock
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

A, B = "BTC-USD", "ETH-USD"
PATIENT = 30.0


@pytest.fixture(params=["exchange", "advanced"])
async def venue(request: Any) -> AsyncIterator[FakeCoinbase]:
    async with FakeCoinbase(request.param) as venue:
        yield venue


def feed_of(venue: FakeCoinbase, metrics: Metrics | None = None, **changes: Any) -> VenueFeed:
    given: dict[str, Any] = {
        "coinbase_symbols": (A, B),
        "coinbase_api": venue.api,
        "coinbase_ws_url": venue.ws_url,
        "coinbase_rest_url": venue.rest_url,
        "venue_silence_seconds": PATIENT,
        "venue_patience_seconds": 0.02,
        "venue_retry_seconds": 0.02,
        "venue_backoff_seconds": 0.01,
        "venue_most_backoff_seconds": 0.05,
    }
    return coinbase_feed(Settings(**given | changes), SystemClock(), metrics or Metrics())


async def test_trades_come_with_the_takers_side_and_the_past_is_no_news(venue: FakeCoinbase) -> None:
    venue.happen(A)
    venue.happen(A)
    async with reading(feed_of(venue), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A, "100", "1", "sell")
        second = await venue.trade(A, "99", "2", "buy")
        await reader.has(first, second)
    assert reader.sides == [BUYER, SELLER]
    assert reader.states == []
    assert not venue.requests


async def test_one_connection_serves_all_symbols_and_closes_with_the_last(venue: FakeCoinbase) -> None:
    feed = feed_of(venue)
    async with reading(feed, A) as a:
        async with reading(feed, B) as b:
            await venue.subscribed()
            await venue.until(lambda: {A, B} <= {name for one in venue.asked for name in one.get("product_ids", ())})
            ours = [await venue.trade(A), await venue.trade(B)]
            await a.has(ours[0])
            await b.has(ours[1])
            assert venue.tries == 1
        await venue.until(
            lambda: any(one["type"] == "unsubscribe" and one["product_ids"] == [B] for one in venue.asked)
        )
        assert len(venue.open) == 1
    await venue.until(lambda: not venue.open)


async def test_repeats_and_disorder_come_out_once_and_in_order(venue: FakeCoinbase) -> None:
    metrics = Metrics()
    async with reading(feed_of(venue, metrics, venue_patience_seconds=PATIENT), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A)
        made = [venue.happen(A) for _ in range(4)]
        for index in (3, 0, 0, 2, 3, 1):
            await venue.tell(A, made[index])
        await reader.has(*range(first, first + 5))
    assert reader.states == []
    assert counted(metrics, "coinbase", "rejected_total", reason="duplicates") == 2


async def test_a_trade_that_never_came_is_fetched(venue: FakeCoinbase) -> None:
    metrics = Metrics()
    async with reading(feed_of(venue, metrics), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A)
        venue.happen(A)
        venue.happen(A)
        await venue.trade(A)
        await reader.becomes("GAP", "LIVE")
        await reader.has(*range(first, first + 4))
    assert counted(metrics, "coinbase", "events_total", event="gaps") == 1
    assert counted(metrics, "coinbase", "events_total", event="backfilled") >= 2


async def test_a_lost_frame_is_noticed_without_a_later_trade(venue: FakeCoinbase) -> None:
    async with reading(feed_of(venue), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A)
        venue.happen(A)
        venue.lose_a_frame()
        await venue.beat(A)
        await reader.has(first, first + 1)


@pytest.mark.parametrize("how", ["cut", "close"])
async def test_a_broken_connection_loses_nothing(venue: FakeCoinbase, how: str) -> None:
    metrics = Metrics()
    async with reading(feed_of(venue, metrics), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A)
        await reader.has(first)
        for turn in range(2):
            await (venue.cut() if how == "cut" else venue.close())
            await reader.becomes(*["GAP", "LIVE"] * turn, "GAP")
            missed = [venue.happen(A)["trade_id"] for _ in range(3)]
            await venue.subscribed(turn + 2)
            await reader.becomes(*["GAP", "LIVE"] * (turn + 1))
            await venue.trade(A)
            await reader.has(*range(first, missed[-1] + 2))
    assert counted(metrics, "coinbase", "disconnects_total", cause="closed") == 2


async def test_more_was_missed_than_a_page_holds(venue: FakeCoinbase) -> None:
    venue.page = 7
    async with reading(feed_of(venue), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A, time="2024-05-01T12:00:00Z")
        await reader.has(first)
        for second in range(1, 31):
            venue.happen(A, time=f"2024-05-01T12:00:{second:02}.5Z")
        await venue.cut()
        await reader.becomes("GAP", "LIVE")
        await reader.has(*range(first, first + 31))
    assert len(venue.requests) >= 5


async def test_after_a_restart_it_goes_on_with_the_next_trade(venue: FakeCoinbase) -> None:
    past = [venue.happen(A)["trade_id"] for _ in range(5)]
    resume = Resume(2, 40, 1, 100, FeedState.LIVE, f"coinbase:{past[1]}")
    async with reading(feed_of(venue), A, resume) as reader:
        await reader.becomes("GAP", "LIVE")
        await reader.has(*past[2:])
    assert reader.details[-1] == "nothing is missing"


async def test_silence_without_an_end_is_taken_for_the_end(venue: FakeCoinbase) -> None:
    metrics = Metrics()
    async with reading(feed_of(venue, metrics, venue_silence_seconds=0.3), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A)
        await reader.has(first)
        missed = venue.happen(A)["trade_id"]
        await venue.subscribed(2)
        await reader.until(lambda: missed in reader.numbers)
    assert reader.numbers == [first, missed]
    assert reader.details[0].startswith("silent")
    assert counted(metrics, "coinbase", "disconnects_total", cause="silent") >= 1


async def test_garbage_is_counted_and_passed_over(venue: FakeCoinbase) -> None:
    metrics = Metrics()
    async with reading(feed_of(venue, metrics), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A)
        for garbage in ("{", "[]", '{"type":"match"}', '{"channel":"market_trades"}', "\u0000"):
            await venue.send(garbage)
        await venue.send({"type": "error", "message": "Failed to subscribe", "reason": "too many"})
        await venue.trade(A, "100", "0.-10000")
        await venue.trade(A, "NaN")
        await venue.trade(A, time="0001-01-01T00:00:00.000000Z")
        last = await venue.trade(A)
        await reader.has(first, last)
    assert counted(metrics, "coinbase", "rejected_total", reason="bad_frame") >= 4
    assert counted(metrics, "coinbase", "rejected_total", reason="complaint") == 1
    for reason in ("bad_size", "bad_price", "bad_time"):
        assert counted(metrics, "coinbase", "rejected_total", reason=reason) == 1
    assert venue.tries == 1


async def test_too_many_requests_are_waited_for_at_the_door_and_over_rest(venue: FakeCoinbase) -> None:
    metrics = Metrics()
    venue.handshakes += [429, 503]
    async with reading(feed_of(venue, metrics), A) as reader:
        await venue.subscribed()
        assert venue.tries == 3
        first = await venue.trade(A)
        venue.happen(A)
        venue.answers += [429, 503]
        last = await venue.trade(A)
        await reader.has(first, first + 1, last)
    assert len(venue.requests) == 3
    assert counted(metrics, "coinbase", "disconnects_total", cause="status 429") == 1


async def test_a_refusal_ends_the_feed_and_says_so(venue: FakeCoinbase) -> None:
    venue.handshakes += [401]
    feed = feed_of(venue)
    async with reading(feed, A) as reader:
        await reader.until(lambda: reader.ended)
    assert reader.states == [FeedState.STALE]
    assert "401" in reader.details[0]
    with pytest.raises(VenueRefused):
        await feed.probe()
    async with reading(feed, A) as again:
        await again.until(lambda: again.ended)
    assert again.states == [FeedState.STALE]
    assert venue.tries == 1


async def test_a_venue_that_takes_connections_and_drops_them_is_asked_less_and_less_often(venue: FakeCoinbase) -> None:
    venue.happen(A)
    feed = feed_of(venue, venue_most_backoff_seconds=10.0)
    async with reading(feed, A):
        for times in range(1, 4):
            await venue.subscribed(times)
            assert feed._connection._backoff.failures == times - 1, "an acknowledgement and a snapshot prove nothing"
            await venue.close()
        await venue.subscribed(4)
        await venue.beat(A)
        await venue.trade(A)
        await venue.until(lambda: feed._connection._backoff.failures == 0 or not venue.open)
        await asyncio.sleep(0)
        assert venue.tries == 4


async def test_it_is_stale_when_nobody_trades_and_live_with_the_next_trade(venue: FakeCoinbase) -> None:
    async with reading(feed_of(venue, venue_stale_seconds=0.3), A) as reader:
        await venue.subscribed()
        first = await venue.trade(A)
        await reader.becomes("STALE")
        await venue.beat(A)
        await reader.until(lambda: bool(reader.times))
        second = await venue.trade(A)
        await reader.until(lambda: len(reader.states) >= 2)
        await reader.has(first, second)
    assert reader.states[:2] == [FeedState.STALE, FeedState.LIVE]


async def test_it_tells_whether_it_is_there(venue: FakeCoinbase) -> None:
    feed = feed_of(venue)
    await feed.probe()
    venue.handshakes += [503] * 3
    async with reading(feed, A) as reader:
        await venue.until(lambda: venue.tries > 0)
        with pytest.raises(VenueAway):
            await feed.probe()
        await venue.subscribed()
        await reader.has(*[await venue.trade(A)])
        await feed.probe()
    await feed.probe()


async def test_a_resume_of_another_feed_begins_anew(venue: FakeCoinbase) -> None:
    venue.happen(A)
    async with reading(feed_of(venue), A, replace(Resume(epoch=3), sequence=9, price=5)) as reader:
        await venue.subscribed()
        number = await venue.trade(A)
        await reader.has(number)
        await reader.becomes("GAP", "LIVE")
