"""While the exchange is closed a session opens nothing, says so, and goes on when it opens."""

from __future__ import annotations

from typing import Any

from forward_test.test_lifecycle import START, TICKS, prices
from graphs import at_prices
from market_data.feeds import ManualFeed

from algotrade.market_data.feed import FeedChange, FeedState
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2


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
    found = await ada.sessions.VerifyParity(pb.VerifyParityRequest(session_id=session.session_id))
    assert found.certificate.verdict == pb.PARITY_VERDICT_IDENTICAL
