"""StreamSession: a snapshot, then every event once, whoever reads, wherever it begins, however often it is cut."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from graphs import at_prices, drawing
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.engine import fixed
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.session import Event, Session
from algotrade.platform.errors import info
from algotrade.platform.settings import Settings
from algotrade.v1 import forward_test_service_pb2 as pb

START = 1_700_000_000 * SECOND
PATIENCE = 30
TICKS = {"interval": "tick", "fee_bps": "0"}
# An event at every tick: a purchase first, then rejections.
EAGER = drawing({"p": "price", "c": ("compare", {"op": ">", "value": 0}), "b": "buy"}, "p>c.a c>b")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_seconds": 0.05})


def push(feed: ManualFeed, first: int, *prices: float) -> None:
    feed.push("AAA", made(*((START + (first + i) * SECOND, round(p * fixed.SCALE)) for i, p in enumerate(prices))))


async def read(stream: Any, *kinds: str) -> pb.StreamSessionResponse:
    """Return the next message of some kind, passing over others."""
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            if message.WhichOneof("payload") in kinds:
                return message
    raise AssertionError("the stream ended")


async def test_a_snapshot_comes_first_and_events_follow(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICKS)
    push(feed, 0, 10, 20, 30)
    await ada.at_tick(session, 3)
    stream = ada.stream(session)
    first = await stream.read()
    assert first.snapshot == await ada.get(session)
    assert first.sequence == first.snapshot.last_sequence > 0
    push(feed, 3, 40)
    event = await read(stream, "event")
    assert event.sequence == event.event.sequence == first.sequence + 1
    stream.cancel()


async def test_what_is_news_is_not_read_from_the_store(
    trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_from, events = [], PostgresSessionStore.events

    async def counted(self: PostgresSessionStore, session: Session, after: int, count: int) -> list[Event]:
        read_from.append(after)
        return await events(self, session, after, count)

    monkeypatch.setattr(PostgresSessionStore, "events", counted)
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICKS)
    push(feed, 0, 10, 20)
    await ada.at_tick(session, 2)
    stream = ada.stream(session)
    last = (await read(stream, "snapshot")).sequence
    for number in range(2, 6):
        push(feed, number, 10)
        assert (await read(stream, "event")).sequence == last + number - 1
    stream.cancel()
    assert read_from == []
    again = ada.stream(session, last)
    assert [(await read(again, "event")).sequence for _ in range(4)] == [last + number for number in range(1, 5)]
    again.cancel()
    assert read_from == [last]


async def test_a_cut_stream_goes_on_from_its_cursor(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICKS)
    ticks = 120

    async def follow() -> list[int]:
        """Read with a cut after every seventh event."""
        seen: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while len(seen) < ticks - 1:
                stream = ada.stream(session, seen[-1] if seen else 0)
                async for message in stream:
                    if message.HasField("event"):
                        seen.append(message.event.sequence)
                        if len(seen) % 7 == 0 or len(seen) >= ticks - 1:
                            break
                stream.cancel()
        return seen

    followers = [asyncio.create_task(follow()) for _ in range(4)]
    for first in range(0, ticks, 6):
        push(feed, first, *range(10, 16))
        await ada.at_tick(session, first + 6)
    last = (await ada.get(session)).last_sequence
    for follower in followers:
        seen = await follower
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) <= last


async def test_a_cursor_past_the_newest_event(trader: Any) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICKS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ada.stream(session, 1).read()
    assert (caught.value.code(), info(caught.value).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD")
    assert info(caught.value).metadata["last_sequence"] == "0"


async def test_silence_is_broken_by_heartbeats(trader: Any) -> None:
    ada = await trader()
    session = await ada.create(EAGER, "AAA", settings=TICKS)
    stream = ada.stream(session)
    assert (await stream.read()).HasField("snapshot")
    for _ in range(2):
        message = await stream.read()
        assert message.HasField("heartbeat")
        assert message.sequence == 0
        assert message.heartbeat.time.seconds > 0
    stream.cancel()


async def test_marks_tell_what_a_session_is_worth(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    push(feed, 0, 10, 20)
    await ada.at_tick(session, 2)
    stream = ada.stream(session)
    assert (await stream.read()).HasField("snapshot")
    mark = (await read(stream, "mark")).mark
    assert (mark.last_price, mark.equity, mark.unrealized_pnl, mark.bars) == ("20", "10000", "0", 2)
    push(feed, 2, 25)
    mark = (await read(stream, "mark")).mark
    assert (mark.last_price, mark.equity, mark.unrealized_pnl, mark.bars) == ("25", "12500", "2500", 3)
    assert mark.event_time.ToNanoseconds() == START + 2 * SECOND
    stream.cancel()


async def test_the_stream_of_a_session_that_ends_ends(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.create(at_prices(10), "AAA", settings=TICKS)
    stream = ada.stream(session)
    statuses, events = [], []

    async def follow() -> None:
        async with asyncio.timeout(PATIENCE):
            async for message in stream:
                if message.HasField("snapshot"):
                    statuses.append(message.snapshot.status)
                elif message.HasField("event"):
                    events.append(message.event.kind)

    following = asyncio.create_task(follow())
    await ada.start(session)
    push(feed, 0, 10, 20)
    await ada.at_tick(session, 2)
    await ada.stop(session, pb.STOP_MODE_FLATTEN)
    push(feed, 2, 30)
    await following
    assert statuses[0] == pb.SESSION_STATUS_CREATED
    assert statuses[-1] == pb.SESSION_STATUS_STOPPED
    assert statuses == sorted(statuses)
    assert events == [pb.SESSION_EVENT_KIND_ENTRY, pb.SESSION_EVENT_KIND_EXIT]
    assert await stream.code() == grpc.StatusCode.OK

    again = [message.WhichOneof("payload") async for message in ada.stream(session, 1)]
    assert again == ["snapshot", "event"]
