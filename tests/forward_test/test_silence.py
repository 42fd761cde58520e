"""A session that falls silent is told of once, and when it is heard again, whoever should have stepped it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from forward_test.test_lifecycle import START, TICKS, prices
from graphs import at_prices
from market_data.feeds import ManualClock, ManualFeed

from algotrade.forward_test import silence
from algotrade.forward_test.build import build
from algotrade.forward_test.postgres_silences import PostgresSilences
from algotrade.forward_test.silence import Watch
from algotrade.market_data.feed import FeedChange, FeedState
from algotrade.notification.build import build as build_notification
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform, serving
from algotrade.platform.settings import Settings
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import notification_service_pb2 as notification_pb
from algotrade.v1 import types_pb2
from algotrade.v1.notification_service_pb2_grpc import NotificationServiceStub

SECONDS = 300
SILENT, HEARD = notification_pb.NOTIFICATION_KIND_SILENT, notification_pb.NOTIFICATION_KIND_HEARD_AGAIN
QUIET = at_prices(1000)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"marker_interval_seconds": 1e9, "venue_stale_seconds": 1e9})


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("AAA", "BBB", live=True)


class Watched:
    """Sessions that are watched as several processes do, with one clock."""

    def __init__(self, database: Any, trader: Any, feed: ManualFeed) -> None:
        self.trader, self.feed = trader, feed
        self.database = database
        self.clock = ManualClock()
        self.ticks = 0
        self.watches = [self.watch(), self.watch()]

    def watch(self) -> Watch:
        return Watch(PostgresSilences(self.database), self.clock, Metrics(), seconds=SECONDS)

    async def tick(self, session: pb.Session) -> None:
        self.feed.push("AAA", prices(9, first=self.ticks))
        self.ticks += 1
        await self.trader.at_tick(session, self.ticks)

    async def passes(self, seconds: float) -> int:
        """Let time go by, looked at as it does; return how often something was told."""
        step, told = SECONDS / silence.LOOKS, 0
        while seconds > 0:
            self.clock.turn(min(step, seconds))
            seconds -= step
            told += sum(await asyncio.gather(*(watch.look() for watch in self.watches)))
        return told


@pytest.fixture
async def watched(trader: Any, feed: ManualFeed, database: Any) -> Watched:
    return Watched(database, await trader(), feed)


@pytest.fixture
async def inbox(serve: Any, connect: Any, watched: Watched) -> Any:
    server = await serve(build_notification)
    stub = NotificationServiceStub(connect(server, watched.trader.user_id))

    async def kinds(count: int) -> list[notification_pb.Notification]:
        async with asyncio.timeout(30):
            while True:
                found = (await stub.ListNotifications(notification_pb.ListNotificationsRequest())).notifications
                told = [one for one in found if one.kind in (SILENT, HEARD)]
                if len(told) >= count:
                    return told[::-1]

    return kinds


async def test_a_silence_is_told_once_and_so_is_its_end(watched: Watched, inbox: Any) -> None:
    session = await watched.trader.create(QUIET, "AAA", name="mine", settings=TICKS)
    await watched.trader.start(session)
    await watched.tick(session)
    await watched.passes(1)
    assert await watched.passes(SECONDS - 30) == 0
    await watched.tick(session)
    assert await watched.passes(SECONDS - 30) == 0
    assert await watched.passes(90) == 1
    assert await watched.passes(3 * SECONDS) == 0
    watched.watches.append(watched.watch())  # a process that has just begun
    assert await watched.passes(2 * SECONDS) == 0
    await watched.tick(session)
    assert await watched.passes(60) == 1
    assert await watched.passes(2 * SECONDS) == 1
    first, over, second = await inbox(3)
    assert [one.kind for one in (first, over, second)] == [SILENT, HEARD, SILENT]
    assert first.title == "mine: silent: no tick of AAA for 0:05:00"
    assert first.severity == notification_pb.NOTIFICATION_SEVERITY_CRITICAL
    assert (first.session_id, first.symbol, first.event_sequence) == (session.session_id, "AAA", 1)
    assert "number 2." in first.body
    assert over.title == "mine: heard again after 0:31:00"
    assert (over.event_sequence, second.event_sequence) == (1, 2)
    assert len({one.notification_id for one in (first, over, second)}) == 3


async def test_a_worker_that_is_gone_is_a_silence_too(
    watched: Watched, platform: Platform, upstream: Any, open_channel_to: Any
) -> None:
    session = await watched.trader.started(QUIET, "AAA", settings=TICKS)
    heir = partial(build, upstream=open_channel_to(upstream))
    async with serving(platform, [heir]):  # of the same name, so the first worker ends
        await watched.tick(session)
    watched.feed.push("AAA", prices(9, first=1))
    assert await watched.passes(2 * SECONDS) == 1
    async with serving(platform, [heir]):
        await watched.trader.at_tick(session, 2)
    assert await watched.passes(30) == 1


async def test_a_market_that_is_closed_is_no_silence(watched: Watched) -> None:
    session = await watched.trader.started(QUIET, "AAA", settings=TICKS)
    await watched.tick(session)
    watched.feed.say("AAA", FeedChange(FeedState.CLOSED, START + 10**9, "until tomorrow"))
    closed = types_pb2.FEED_STATE_CLOSED
    await watched.trader.reached(session, lambda found: found.feed_state == closed)
    assert await watched.passes(3 * SECONDS) == 0
    watched.feed.say("AAA", FeedChange(FeedState.LIVE, START + 2 * 10**9, "open"))
    await watched.trader.reached(session, lambda found: found.feed_state == types_pb2.FEED_STATE_LIVE)
    assert await watched.passes(SECONDS - 30) == 0, "it counts from the opening"
    assert await watched.passes(60) == 1


async def test_what_has_not_begun_or_has_ended_is_not_silent(watched: Watched) -> None:
    await watched.trader.create(QUIET, "AAA", settings=TICKS)
    ended = await watched.trader.started(QUIET, "AAA", settings=TICKS)
    await watched.tick(ended)
    assert await watched.passes(2 * SECONDS) == 1
    await watched.trader.stop(ended, pb.STOP_MODE_KEEP)
    assert await watched.passes(2 * SECONDS) == 0


async def test_time_in_which_nobody_looked_does_not_count(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await watched.trader.started(QUIET, "AAA", settings=TICKS)
    await watched.tick(session)
    await watched.passes(30)
    watched.clock.turn(10 * SECONDS)  # the machine slept
    assert sum([await watch.look() for watch in watched.watches]) == 0
    assert await watched.passes(SECONDS + 30) == 1


async def test_more_sessions_than_one_look_reads(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SESSIONS_A_LOOK", 2)
    for _ in range(5):
        await watched.trader.started(QUIET, "AAA", settings=TICKS)
    assert await watched.passes(2 * SECONDS) == 5
