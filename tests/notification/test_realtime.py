"""StreamUpdates: one stream of all that a screen shows, from a snapshot or from a cursor, in any process."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import grpc
import pytest
from collector import collecting
from graphs import drawing
from market_data.feeds import SECOND, ManualFeed, made
from sqlalchemy import text

from algotrade.cli.serve import fixed_addresses
from algotrade.engine import fixed
from algotrade.forward_test.build import build as build_sessions
from algotrade.market_data.build import build as build_market
from algotrade.notification.build import build
from algotrade.notification.build_realtime import build_realtime
from algotrade.notification.hub import PLACES
from algotrade.notification.show import CALL
from algotrade.platform import limits, paging, tracing
from algotrade.platform.bus import Message, partition_of
from algotrade.platform.caller import PRINCIPAL, Principal
from algotrade.platform.channel import open_channel
from algotrade.platform.errors import info
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.platform.topics import STRATEGY_SIGNALS, TRADE_EXECUTIONS
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import forward_test_service_pb2 as sessions_pb
from algotrade.v1 import realtime_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1 import types_pb2
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

START = 1_700_000_000 * SECOND
PATIENCE = 30
# An event at every tick: a purchase first, then rejections.
EAGER = drawing({"p": "price", "c": ("compare", {"op": ">", "value": 0}), "b": "buy"}, "p>c.a c>b")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changed = {"heartbeat_seconds": 0.1, "screen_seconds": 0.0, "realtime_seconds": 0.02, "checkpoint_seconds": 0}
    return fixed_addresses(settings.model_copy(update=changed))


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("AAA", "BBB", live=False)


@pytest.fixture
async def server(serve: Any, feed: ManualFeed) -> Any:
    return await serve(build_strategy, partial(build_market, feeds=[feed]), build_sessions, build, build_realtime)


@dataclass
class Seen:
    """What came on streams, put together."""

    events: list[int] = field(default_factory=list)
    notifications: list[int] = field(default_factory=list)
    sessions: dict[str, pb.SessionUpdate] = field(default_factory=dict)
    symbols: dict[str, pb.SymbolUpdate] = field(default_factory=dict)
    cursor: str | None = None
    snapshots: list[pb.RealtimeSnapshot] = field(default_factory=list)

    def take(self, message: pb.StreamUpdatesResponse) -> None:
        self.cursor = message.cursor
        if message.HasField("snapshot"):
            self.snapshots.append(message.snapshot)
        self.events += [one.event.sequence for one in message.changes.events]
        self.notifications += [one.sequence for one in message.changes.notifications]
        self.sessions |= {one.session_id: one for one in message.changes.sessions}
        self.symbols |= {one.symbol: one for one in message.changes.symbols}


@dataclass
class Viewer:
    """A user with stubs."""

    user_id: str
    strategies: Any
    sessions: Any
    realtime: Any

    async def started(self) -> sessions_pb.Session:
        graph = strategy_pb.CreateStrategyRequest(graph=json.dumps(EAGER))
        strategy = (await self.strategies.CreateStrategy(graph)).strategy
        request = sessions_pb.CreateSessionRequest(
            strategy_id=strategy.strategy_id,
            symbol="AAA",
            settings=types_pb2.RunSettings(interval="tick", fee_bps="0"),
        )
        session = (await self.sessions.CreateSession(request)).session
        await self.sessions.StartSession(sessions_pb.StartSessionRequest(session_id=session.session_id))
        return session

    def stream(self, **fields: Any) -> Any:
        return self.realtime.StreamUpdates(pb.StreamUpdatesRequest(**fields))

    async def watch(self, seen: Seen, until: Callable[[Seen], bool], most: int = 10**6, **fields: Any) -> None:
        """Read on from where it has seen, until something holds or so many messages came; then cut."""
        stream = self.stream(cursor=seen.cursor, **fields)
        count = 0
        async with asyncio.timeout(PATIENCE):
            async for message in stream:
                count += 1
                assert message.sequence == count
                seen.take(message)
                if until(seen) or count == most:
                    break
        stream.cancel()


@pytest.fixture
def viewer(connect: Any, open_account: Any, server: Any) -> Any:
    """Return ``await viewer()``: a new user with stubs; ``on`` names another server of realtime."""

    async def make(on: Any = None, user_id: str | None = None) -> Viewer:
        user_id = user_id or await open_account()
        here = connect(server, user_id)
        there = connect(on, user_id) if on else here
        return Viewer(user_id, StrategyServiceStub(here), ForwardTestServiceStub(here), RealtimeServiceStub(there))

    return make


def push(feed: ManualFeed, first: int, *prices: int, symbol: str = "AAA") -> None:
    ticks = ((START + (first + i) * SECOND, price * fixed.SCALE) for i, price in enumerate(prices))
    feed.push(symbol, made(*ticks))


def token(viewer: Viewer, *numbers: int) -> str:
    """Write a cursor as the service would for a user."""
    before = PRINCIPAL.set(Principal(viewer.user_id, "", 0, ""))
    try:
        return paging.write_token(CALL, *numbers)
    finally:
        PRINCIPAL.reset(before)


async def failure(stream: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    return caught.value


async def test_a_snapshot_comes_first_and_then_what_changes(viewer: Any, feed: ManualFeed) -> None:
    ada, bob = await viewer(), await viewer()
    session, theirs = await ada.started(), await bob.started()
    push(feed, 0, 10, 20)
    seen = Seen()
    await ada.watch(
        seen, lambda s: s.notifications == [1], most=1, all_sessions=True, symbols=["AAA"], notifications=True
    )
    (snapshot,) = seen.snapshots
    assert snapshot.cause == pb.SNAPSHOT_CAUSE_BEGIN
    assert [one.session_id for one in snapshot.sessions] == [session.session_id]
    assert [one.symbol for one in snapshot.symbols] == ["AAA"]

    def done(now: Seen) -> bool:
        mine = now.sessions.get(session.session_id)
        priced = now.symbols.get("AAA")
        return (
            bool(now.events)
            and now.events[-1] == 5
            and mine is not None
            and mine.value.mark.last_price == "40"
            and priced is not None
            and priced.last_price == "40"
        )

    watching = asyncio.create_task(ada.watch(seen, done, all_sessions=True, symbols=["AAA"], notifications=True))
    push(feed, 2, 30, 40, 40)
    push(feed, 0, 7, symbol="BBB")
    await watching
    assert set(seen.sessions) == {session.session_id}
    assert theirs.session_id not in seen.sessions
    assert set(seen.symbols) == {"AAA"}
    mine = seen.sessions[session.session_id]
    assert (mine.status, mine.value.quantity, mine.value.cash) == (sessions_pb.SESSION_STATUS_RUNNING, "500", "0")
    assert (mine.value.mark.equity, mine.value.mark.unrealized_pnl) == ("20000", "10000")
    stop = sessions_pb.StopSessionRequest(session_id=session.session_id, mode=sessions_pb.STOP_MODE_KEEP)
    await ada.sessions.StopSession(stop)
    stopped = sessions_pb.SESSION_STATUS_STOPPED
    await ada.watch(seen, lambda now: now.sessions[session.session_id].status == stopped, all_sessions=True)


async def test_a_trace_leads_from_a_commit_to_the_screen(viewer: Any, feed: ManualFeed, platform: Platform) -> None:
    async with collecting() as collector, asyncio.timeout(PATIENCE):
        on = platform.settings.model_copy(update={"otlp_endpoint": collector.endpoint})
        async with tracing.tracing(on, "test"):
            ada, seen = await viewer(), Seen()
            await ada.started()
            await ada.watch(seen, lambda now: True, all_sessions=True)
            push(feed, 0, 10, 20, 30)
            await ada.watch(seen, lambda now: len(now.events) > 1, all_sessions=True)
            await collector.until_came("updates.send", "session.commit")


async def test_a_cut_stream_goes_on_in_another_process_without_a_hole(
    viewer: Any, feed: ManualFeed, serve: Any, platform: Platform, server: Any
) -> None:
    ada = await viewer()
    session = await ada.started()
    other_platform = replace(
        platform,
        settings=platform.settings.model_copy(update={"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0"}),
    )
    channel = open_channel(f"127.0.0.1:{server.port}")
    other = await serve(partial(build_realtime, upstream=channel), on=other_platform)
    there = await viewer(on=other, user_id=ada.user_id)
    seen = Seen()
    chosen = {"session_ids": [session.session_id], "notifications": True}
    await ada.watch(seen, lambda _: True, **chosen)
    ticks = 60

    async def follow() -> None:
        turn = 0
        while not seen.events or seen.events[-1] < ticks:
            turn += 1
            await (ada, there)[turn % 2].watch(seen, lambda s: s.events[-1:] == [ticks], most=3, **chosen)

    following = asyncio.create_task(follow())
    for first in range(0, ticks, 6):
        push(feed, first, *range(10, 16))
    async with asyncio.timeout(PATIENCE):
        await following
    assert sorted(seen.events) == list(range(1, ticks + 1)), "each event, and each once"
    assert len(seen.snapshots) == 1
    await ada.watch(seen, lambda s: len(s.notifications) >= 2, **chosen)
    assert seen.notifications == sorted(set(seen.notifications)), "each notification once and in order"
    await channel.close()


async def test_what_a_relay_tells_again_is_shown_once(viewer: Any, feed: ManualFeed, platform: Platform) -> None:
    """Where the log is not in the database, a relay that dies between the two has everything of a turn told again."""
    ada = await viewer()
    session = await ada.started()
    seen, begun, told = Seen(), asyncio.Event(), asyncio.Event()

    def all_seen(seen: Seen) -> bool:
        begun.set()
        if len(seen.events) >= 6:
            told.set()
        return len(seen.events) >= 12

    watching = asyncio.create_task(ada.watch(seen, all_seen, session_ids=[session.session_id]))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        push(feed, 0, *range(10, 16))
        await told.wait()
    for topic in (TRADE_EXECUTIONS, STRATEGY_SIGNALS):
        partition = partition_of(session.session_id, topic.partitions)
        records = await platform.bus.read(topic, partition, 0, 100)
        assert records
        await platform.bus.publish(topic, [Message(one.key, one.payload, one.headers) for one in records])
    push(feed, 6, *range(10, 16))
    await watching
    assert sorted(seen.events) == list(range(1, 13))


async def test_a_cursor_that_is_too_old_gives_a_snapshot_that_says_so(
    viewer: Any, feed: ManualFeed, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await viewer()
    await ada.started()
    seen = Seen()
    await ada.watch(seen, lambda s: bool(s.snapshots), all_sessions=True)
    push(feed, 0, *range(10, 20))
    # How far a cursor is behind is told by how far the hub has read.
    await ada.watch(Seen(cursor=seen.cursor), lambda s: len(s.events) == 10, all_sessions=True)
    await ada.watch(fresh := Seen(), lambda s: bool(s.snapshots), all_sessions=True)
    ahead = token(ada, *(10**9 for _ in PLACES), -1)
    await ada.watch(far := Seen(cursor=ahead), lambda s: bool(s.snapshots), all_sessions=True)
    monkeypatch.setattr(limits, "MAX_RESUMED_RECORDS", 0)
    await ada.watch(old := Seen(cursor=seen.cursor), lambda s: bool(s.snapshots), all_sessions=True)
    causes = [one.snapshots[0].cause for one in (fresh, far, old)]
    assert causes == [pb.SNAPSHOT_CAUSE_BEGIN, *[pb.SNAPSHOT_CAUSE_CURSOR_TOO_OLD] * 2]
    assert old.snapshots[0].sessions[0].last_sequence == 10
    monkeypatch.undo()
    async with platform.database.begin() as connection:  # the log was trimmed past it
        await connection.execute(text("UPDATE bus_partitions SET earliest_offset = next_offset WHERE next_offset > 0"))
        await connection.execute(text("DELETE FROM bus_log"))
    for tail in platform.bus._tails.values():  # type: ignore[attr-defined]
        tail.records.clear()
    await ada.watch(trimmed := Seen(cursor=seen.cursor), lambda s: bool(s.snapshots), all_sessions=True)
    assert trimmed.snapshots[0].cause == pb.SNAPSHOT_CAUSE_CURSOR_TOO_OLD


async def test_foreign_and_unknown_things_and_bad_cursors(viewer: Any) -> None:
    ada, bob = await viewer(), await viewer()
    session = await ada.started()
    seen = Seen()
    await ada.watch(seen, lambda s: True, all_sessions=True)
    for fields, code, reason in (
        ({"session_ids": [session.session_id]}, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        ({"session_ids": [str(uuid.uuid4())]}, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        ({"symbols": ["NONE"]}, grpc.StatusCode.NOT_FOUND, "SYMBOL_NOT_FOUND"),
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        ({"session_ids": ["x"]}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        *(
            ({"all_sessions": True, "cursor": cursor}, grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID")
            for cursor in ("", "x", token(bob, 1), token(bob, *[-1] * (len(PLACES) + 1)), seen.cursor)
        ),
    ):
        error = await failure(bob.stream(**fields))
        assert (error.code(), info(error).reason) == (code, reason), fields


async def test_silence_is_broken_by_heartbeats(viewer: Any) -> None:
    ada = await viewer()
    stream = ada.stream(notifications=True)
    kinds = [(await stream.read()).WhichOneof("payload") for _ in range(3)]
    assert kinds == ["snapshot", "heartbeat", "heartbeat"]
    stream.cancel()


async def test_who_does_not_keep_up_is_ended_and_comes_back(
    viewer: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await viewer()
    await ada.started()
    seen = Seen()
    await ada.watch(seen, lambda s: bool(s.snapshots), all_sessions=True)
    monkeypatch.setattr(limits, "MAX_EVENTS_A_SCREEN", 3)
    stream = ada.stream(all_sessions=True, cursor=seen.cursor)
    push(feed, 0, *range(10, 40))
    code = None
    try:
        async with asyncio.timeout(PATIENCE):
            async for message in stream:
                seen.take(message)
    except grpc.aio.AioRpcError as error:
        code = (error.code(), info(error).reason)
    assert code == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CONSUMER_TOO_SLOW")
    monkeypatch.undo()
    await ada.watch(seen, lambda s: 30 in s.events, all_sessions=True)
    assert sorted(seen.events) == list(range(1, 31))
    assert len(seen.snapshots) == 1
