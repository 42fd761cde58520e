"""A session has its symbol's feed run as long as it needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from forward_test.test_lifecycle import TICKS, prices
from graphs import at_prices
from market_data.feeds import ManualFeed
from sqlalchemy import text

from algotrade.market_data.build import build as build_market_data
from algotrade.platform.process import Platform
from algotrade.platform.topics import SYMBOL_SUBSCRIPTIONS
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import market_data_service_pb2 as market_pb
from algotrade.v1 import types_pb2
from algotrade.v1.events_pb2 import SymbolSubscriptionChange
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

LIVE, STALE = types_pb2.FEED_STATE_LIVE, types_pb2.FEED_STATE_STALE


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("AAA", "BBB", live=False, on_demand=["AAA"])


async def sees(market: Any, name: str, when: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            listed = await market.ListSymbols(market_pb.ListSymbolsRequest())
            if when(next(one for one in listed.symbols if one.symbol == name)):
                return


async def wanting(platform: Platform) -> int:
    async with platform.database.connect() as connection:
        count: int = await connection.scalar(text("SELECT count(*) FROM session_subscriptions"))
    return count


async def test_a_feed_runs_from_the_first_start_to_the_last_end(
    trader: Any, connect: Any, upstream: Any, feed: ManualFeed, platform: Platform
) -> None:
    ada, bob = await trader(), await trader()
    market = MarketDataServiceStub(connect(upstream, ada.user_id))
    feed.push("AAA", prices(10, 20))
    first = await ada.create(at_prices(10), "AAA", settings=TICKS)
    assert "AAA" not in feed.resumed
    await ada.start(first)
    assert (await ada.at_tick(first, 2)).quantity == "500"
    await ada.start(first)  # again: it is one subscription
    second = await bob.started(at_prices(10), "AAA", settings=TICKS)
    assert await wanting(platform) == 2

    # What its user subscribes to, and no longer, takes nothing from the session.
    subscribed = await market.Subscribe(market_pb.SubscribeRequest(symbol="AAA"))
    assert subscribed.subscription.subscribers == 1
    await market.Unsubscribe(market_pb.UnsubscribeRequest(symbol="AAA"))
    await ada.stop(first, pb.STOP_MODE_KEEP)
    feed.push("AAA", prices(30, first=2))
    await bob.at_tick(second, 3)
    await bob.stop(second, pb.STOP_MODE_FLATTEN)
    await sees(market, "AAA", lambda one: one.feed_state == STALE)
    assert await wanting(platform) == 0

    records = await platform.bus.read(SYMBOL_SUBSCRIPTIONS, 0, 0, 100)
    changes = [SymbolSubscriptionChange.FromString(record.payload) for record in records]
    told = sorted((one.session_id, one.subscribed, one.symbol) for one in changes if one.session_id)
    ids = (first.session_id, second.session_id)
    assert told == sorted((session_id, state, "AAA") for session_id in ids for state in (True, False))


async def test_it_survives_a_restart_of_the_feeds(
    serve: Any, trader: Any, connect: Any, feed: ManualFeed, platform: Platform
) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    again = ManualFeed("AAA", "BBB", live=False, on_demand=["AAA"])
    await serve(partial(build_market_data, feeds=[again]))
    again.push("AAA", prices(25, first=2))
    assert (await ada.at_tick(session, 3)).last_price == "25"


async def test_a_session_wants_its_symbol_until_it_is_sold_out(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    """Stopping with a position, it still needs the tick that sells it."""
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    await ada.stop(session, pb.STOP_MODE_FLATTEN)
    assert await wanting(platform) == 1
    feed.push("AAA", prices(30, first=2))
    await ada.reached(session, lambda found: found.status == pb.SESSION_STATUS_STOPPED)
    assert await wanting(platform) == 0
    await ada.sessions.DeleteSession(pb.DeleteSessionRequest(session_id=session.session_id))
