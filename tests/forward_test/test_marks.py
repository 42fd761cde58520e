"""Marks on realtime-updates: of sessions whose owners watch, the newest, no more often than is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from graphs import at_prices
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.engine import fixed
from algotrade.forward_test import marks
from algotrade.platform.bus import Message
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.platform.topics import REALTIME_UPDATES
from algotrade.v1 import events_pb2
from algotrade.v1 import forward_test_service_pb2 as pb

START = 1_700_000_000 * SECOND
PATIENCE = 30
TICKS = {"interval": "tick", "fee_bps": "0"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"realtime_seconds": 0.02})


@pytest.fixture
def watch(platform: Platform) -> Callable[[str], Awaitable[Any]]:
    """Return ``await watch(user_id)``: say that a user watches."""

    async def say(user_id: str) -> None:
        update = events_pb2.RealtimeUpdate(interest=events_pb2.RealtimeInterest(user_id=user_id))
        await platform.bus.publish(REALTIME_UPDATES, [Message(user_id, update.SerializeToString())])

    return say


async def told(platform: Platform) -> AsyncIterator[events_pb2.SessionMarkUpdate]:
    """Yield every mark that is told."""
    async for records in platform.bus.subscribe(REALTIME_UPDATES, {0: 0}, 100):
        for record in records:
            for mark in events_pb2.RealtimeUpdate.FromString(record.payload).marks.marks:
                yield mark


def push(feed: ManualFeed, first: int, *prices: int) -> None:
    ticks = ((START + (first + i) * SECOND, price * fixed.SCALE) for i, price in enumerate(prices))
    feed.push("AAA", made(*ticks))


async def test_what_is_watched_is_told_and_nothing_else(
    trader: Any, feed: ManualFeed, platform: Platform, watch: Any
) -> None:
    ada, bob = await trader(), await trader()
    mine = await ada.started(at_prices(10), "AAA", settings=TICKS)
    theirs = await bob.started(at_prices(10), "AAA", settings=TICKS)
    push(feed, 0, 10, 20, 25)
    await ada.at_tick(mine, 3)
    await bob.at_tick(theirs, 3)
    assert await platform.bus.read(REALTIME_UPDATES, 0, 0, 10) == [], "nobody watches"
    await watch(ada.user_id)
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for mark in told(platform):
            seen.append(mark)
            if mark.mark.last_price == "40":
                break
            if len(seen) == 1:
                push(feed, 3, 30, 40)
    assert {mark.session_id for mark in seen} == {mine.session_id}
    last = seen[-1]
    assert (last.user_id, last.status) == (ada.user_id, pb.SESSION_STATUS_RUNNING)
    assert (last.cash, last.quantity, last.mark.equity, last.mark.unrealized_pnl) == ("0", "500", "20000", "10000")
    assert [mark.mark.event_time.ToNanoseconds() for mark in seen] == sorted(
        {mark.mark.event_time.ToNanoseconds() for mark in seen}
    ), "each mark once"


async def test_a_turn_is_bounded_and_nobody_is_left_out(
    trader: Any, feed: ManualFeed, platform: Platform, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks.limits, "MAX_MARKS_A_TURN", 2)
    ada = await trader()
    graph = at_prices(10)
    sessions = [await ada.started(graph, "AAA", settings=TICKS) for _ in range(5)]
    push(feed, 0, 10, 20)
    for session in sessions:
        await ada.at_tick(session, 2)
    await watch(ada.user_id)
    seen: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for mark in told(platform):
            seen.append(mark.session_id)
            if len(seen) == 5:
                break
    assert sorted(seen) == sorted(session.session_id for session in sessions)
    records = await platform.bus.read(REALTIME_UPDATES, 0, 0, 10)
    sizes = [len(events_pb2.RealtimeUpdate.FromString(record.payload).marks.marks) for record in records]
    assert sizes == [0, 2, 2, 1]
