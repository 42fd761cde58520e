"""What a session notes of its feed: that the exchange is closed, and whose ticks it is fed."""

from __future__ import annotations

import asyncio
from typing import Any

from forward_test.test_lifecycle import START, TICKS, prices
from graphs import at_prices
from market_data.feeds import ManualFeed

from algotrade.market_data.feed import FeedChange, FeedState
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.market_data_service_pb2 import GetWindowRequest
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub


async def test_nothing_is_opened_while_closed_and_stops_still_fill(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    graph = at_prices(10, stop_loss={"percent": 50})
    session = await ada.started(graph, "AAA", settings=TICKS)
    feed.push("AAA", prices(9))
    await ada.at_tick(session, 1)
    feed.say("AAA", FeedChange(FeedState.CLOSED, START, "until tomorrow"))
    feed.push("AAA", prices(10, 20, first=1))
    found = await ada.at_tick(session, 3)
    assert (found.feed_state, found.quantity) == (types_pb2.FEED_STATE_CLOSED, "0")
    feed.say("AAA", FeedChange(FeedState.LIVE, START, "open"))
    feed.push("AAA", prices(10, 20, first=3))
    found = await ada.at_tick(session, 5)
    assert (found.feed_state, found.quantity) == (types_pb2.FEED_STATE_LIVE, "500")
    feed.say("AAA", FeedChange(FeedState.CLOSED, START, "until the day after"))
    feed.push("AAA", prices(9, first=5))
    found = await ada.at_tick(session, 6)
    assert found.quantity == "0", "the stop"
    events = await ada.events(session, found.last_sequence)
    feeds = [event.reason for event in events if event.kind == pb.SESSION_EVENT_KIND_FEED]
    assert feeds == ["closed", "live", "closed"]
    refused = [event.reason for event in events if event.kind == pb.SESSION_EVENT_KIND_REJECTION]
    assert refused == ["stale_data"]
    assert found.source == "manual"
    found = await ada.sessions.VerifyParity(pb.VerifyParityRequest(session_id=session.session_id))
    assert found.certificate.verdict == pb.PARITY_VERDICT_IDENTICAL


async def test_a_session_that_is_fed_by_several_says_so(
    trader: Any, connect: Any, upstream: Any, feed: ManualFeed
) -> None:
    ada = await trader()
    market = MarketDataServiceStub(connect(upstream, ada.user_id))
    feed.push("AAA", prices(9))
    feed.say("AAA", FeedChange(FeedState.GAP, START, "away", "other"))
    feed.say("AAA", FeedChange(FeedState.LIVE, START, "there", "other"))
    feed.push("AAA", prices(9, first=1))
    session = await ada.create(at_prices(10), "AAA", settings=TICKS)
    assert session.source == "manual", "what its symbol was announced with"
    async with asyncio.timeout(20):
        while (await market.GetWindow(GetWindowRequest(symbol="AAA"))).last_sequence < 2:
            pass
    await ada.start(session)
    feed.push("AAA", prices(9, first=2))
    assert (await ada.at_tick(session, 3)).source == "other", "whose ticks there are when it begins"
    for source in ("manual", "other"):
        feed.say("AAA", FeedChange(FeedState.GAP, START, "away", source))
        feed.say("AAA", FeedChange(FeedState.LIVE, START, "there", source))
    feed.push("AAA", prices(9, first=3))
    assert (await ada.at_tick(session, 4)).source == "other+manual"
