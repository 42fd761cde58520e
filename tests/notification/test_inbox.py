"""What comes into an inbox, once, whatever is delivered twice, cut off or unreadable."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from algotrade.notification import postgres_intake
from algotrade.notification.audience import Audience
from algotrade.notification.build import build
from algotrade.notification.collect import Collector
from algotrade.notification.compose import TOPICS
from algotrade.notification.postgres_intake import PostgresIntake
from algotrade.platform import limits
from algotrade.platform.bus import CORRELATION, Message, Record
from algotrade.platform.cache import MemoryCache
from algotrade.platform.caller import CORRELATION_ID
from algotrade.platform.errors import info, violations
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.topics import DEAD_LETTERS, STRATEGY_SIGNALS, TRADE_EXECUTIONS, USER_NOTIFICATIONS
from algotrade.v1 import forward_test_service_pb2 as sessions
from algotrade.v1 import notification_service_pb2 as pb
from algotrade.v1.events_pb2 import UserNotification

PATIENCE = 30


async def failure(awaitable: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_every_kind_comes_with_what_it_tells(reader: Any, trading: Any) -> None:
    ada = await reader()
    session = trading(ada)
    await session.compiled(1, errors=2)
    await ada.inbox(1)  # topics are read side by side: what is said is waited for, so that the order is one
    await session.compiled(2)
    await ada.inbox(2)
    await session.entry()
    await ada.inbox(3)
    await session.exit("trailing_stop")
    await session.exit("close")
    await ada.inbox(5)
    await session.rejection()
    await session.halt()
    await ada.inbox(7)
    await session.stopped()
    found = await ada.inbox(8)
    assert [one.sequence for one in found] == list(range(1, 9))
    assert [pb.NotificationKind.Name(one.kind).removeprefix("NOTIFICATION_KIND_") for one in found] == [
        "COMPILATION_FAILED",
        "COMPILATION_SUCCEEDED",
        "ENTRY",
        "STOP",
        "EXIT",
        "REJECTION",
        "HALT",
        "SESSION_ENDED",
    ]
    assert [one.severity for one in found] == [2, 1, 1, 2, 1, 2, 3, 1]
    failed, _, entry, stop, _, rejection, halt, ended = found
    assert (failed.title, failed.body) == ("drawing: version 1 does not compile: 2 errors", "no such node")
    assert (entry.title, entry.price, entry.quantity, entry.pnl) == ("mine: bought 5 AAA at 20", "20", "5", "")
    assert (stop.title, stop.reason, stop.pnl) == ("mine: trailing_stop: sold 5 AAA at 30", "trailing_stop", "50")
    assert (rejection.node_id, rejection.reason, rejection.count) == ("b", "already_long", 1)
    assert halt.title == "mine: halted: trap"
    assert {one.session_id for one in (entry, stop, rejection, halt, ended)} == {session.session_id}
    assert {one.strategy_id for one in found} == {session.strategy_id}
    assert entry.event_time.seconds == 1_700_000_001
    assert all(one.HasField("create_time") and not one.HasField("read_time") for one in found)


async def test_a_strategy_says_what_its_notify_node_says(reader: Any, trading: Any) -> None:
    ada = await reader()
    session = trading(ada)
    await session.notice("volatility is high")
    (found,) = await ada.inbox(1)
    assert (found.kind, found.severity) == (pb.NOTIFICATION_KIND_NOTICE, pb.NOTIFICATION_SEVERITY_INFO)
    assert (found.title, found.node_id) == ("mine: AAA: volatility is high", "n")


async def test_what_is_delivered_twice_is_there_once(reader: Any, trading: Any) -> None:
    ada = await reader()
    session = trading(ada)
    for _ in range(2):
        await session.entry(sequence=1, times=3)
    for sequence in (2, 3, 2, 3, 4):
        await session.rejection(sequence=sequence)
    await session.stopped()
    await session.stopped()
    await session.compiled(1)
    await session.compiled(1, errors=1)
    session.sequence = 9
    await session.entry()
    found = await ada.inbox(5)
    kinds = [one.kind for one in found]
    assert sorted(kinds) == [1, 1, 4, 6, 7]
    async with asyncio.timeout(PATIENCE):
        while (rejection := next(one for one in found if one.kind == 4)).count < 3:
            found = (await ada.page()).notifications
    assert rejection.count == 3, "a repeated rejection is not counted again"


async def test_a_flood_of_rejections_is_one_entry_a_cause(
    reader: Any, trading: Any, serve: Any, platform: Platform
) -> None:
    ada = await reader()
    session = trading(ada)
    for _ in range(120):
        await session.rejection("b", "already_long")
        await session.rejection("c", "already_long")
    await session.rejection("b", "insufficient_cash")
    async with asyncio.timeout(PATIENCE):
        while True:
            found = (await ada.page()).notifications
            if sorted(one.count for one in found) == [1, 120, 120]:
                break
    assert [one.sequence for one in found] == [3, 2, 1]
    assert (await ada.page()).unread_count == 3


async def test_rejections_are_told_again_after_a_while(platform: Platform, open_account: Any, trading: Any) -> None:
    user_id = await open_account()
    session = trading(type("User", (), {"user_id": user_id}))
    intake = PostgresIntake(platform.database, platform.clock, together_seconds=0)
    collector = Collector(intake, platform.bus, platform.cache, Audience(), Metrics(), lambda: None)
    for _ in range(3):
        await session.rejection()
    await collected(collector, intake, platform)
    assert await counts(platform) == [1, 1, 1]


async def collected(collector: Collector, intake: PostgresIntake, platform: Platform) -> None:
    """Collect all that there is on the bus, from the beginning if it was not begun."""
    for topic in TOPICS:
        for partition in range(topic.partitions):
            await intake.begin(topic.name, partition, 0)
            place = (await intake.positions(topic.name))[partition]
            if records := await platform.bus.read(topic, partition, place, 1000):
                await collector.take(topic, records)


async def counts(platform: Platform) -> list[int]:
    async with platform.database.connect() as connection:
        return list((await connection.execute(text("SELECT count FROM notifications ORDER BY sequence"))).scalars())


class BrokenError(Exception):
    pass


async def test_a_crash_at_any_point_loses_and_repeats_nothing(
    platform: Platform, open_account: Any, trading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = trading(type("User", (), {"user_id": await open_account()}))
    await session.entry()
    await session.rejection()
    await session.rejection()
    intake = PostgresIntake(platform.database, platform.clock, together_seconds=3600)
    told: list[str] = []

    class Bus:
        def __getattr__(self, name: str) -> Any:
            return getattr(platform.bus, name)

        async def publish(self, topic: Any, messages: Sequence[Message]) -> Sequence[Record]:
            told.extend(message.key for message in messages)
            raise BrokenError

    collector = Collector(intake, Bus(), MemoryCache(Metrics()), Audience(), Metrics(), lambda: None)  # type: ignore[arg-type]
    statement = postgres_intake._MOVE
    for broken in ("_ADD", "_MOVE"):  # before anything is stored, and before the place is
        with monkeypatch.context() as patch:
            patch.setattr(postgres_intake, broken, text("SELECT 1 / 0"))
            with pytest.raises(Exception, match="division"):
                await collected(collector, intake, platform)
        assert await counts(platform) == []
    assert statement is postgres_intake._MOVE
    await collected(collector, intake, platform)  # the publish fails: what is stored is stored
    assert sorted(await counts(platform)) == [1, 2]
    assert told
    await collected(collector, intake, platform)
    assert sorted(await counts(platform)) == [1, 2]
    async with platform.database.begin() as connection:  # as if no place had ever been kept
        await connection.execute(text("UPDATE notification_positions SET next_offset = 0"))
    await collected(collector, intake, platform)
    assert sorted(await counts(platform)) == [1, 2]


async def test_notices_are_counted_and_remarks_are_no_news(reader: Any, trading: Any, platform: Platform) -> None:
    ada = await reader()
    session = trading(ada)
    for _ in range(3):
        await session.signal(sessions.SESSION_EVENT_KIND_NOTICE, "look")
        await session.signal(sessions.SESSION_EVENT_KIND_FEED, "stale")
        await session.signal(sessions.SESSION_EVENT_KIND_AMBIGUOUS, "")
    await session.signal(sessions.SESSION_EVENT_KIND_LOST, "position_lost")
    message, lost = await ada.inbox(2)
    assert (message.kind, message.count, message.title) == (pb.NOTIFICATION_KIND_NOTICE, 3, "mine: AAA: look")
    assert (lost.kind, lost.severity, lost.reason) == (pb.NOTIFICATION_KIND_TICKS_LOST, 3, "position_lost")
    assert platform.metrics.notification_records_unreadable.labels(STRATEGY_SIGNALS.name)._value.get() == 0


async def test_what_is_unreadable_is_passed_over(reader: Any, trading: Any, platform: Platform) -> None:
    ada = await reader()
    session = trading(ada)
    await session.entry()
    for payload in (b"\xff\xff\xff", b"", b"\x0a\x03abc"):
        await platform.bus.publish(TRADE_EXECUTIONS, [Message(session.session_id, payload)])
    stranger = replace(session, user_id=str(uuid.uuid4()))
    await stranger.entry()  # of an account that is gone
    await session.entry()
    found = await ada.inbox(2)
    assert len(found) == 2
    unreadable = platform.metrics.notification_records_unreadable.labels(TRADE_EXECUTIONS.name)
    assert unreadable._value.get() == 3
    letters = await platform.bus.read(DEAD_LETTERS, 0, 0, 10)
    assert [(letter.payload, letter.headers["dead-topic"], letter.key) for letter in letters] == [
        (payload, TRADE_EXECUTIONS.name, session.session_id) for payload in (b"\xff\xff\xff", b"", b"\x0a\x03abc")
    ]
    assert {letter.headers["dead-reader"] for letter in letters} == {"notification"}
    assert all(letter.headers["dead-reason"] and letter.headers["dead-offset"].isdecimal() for letter in letters)


async def test_a_place_outside_the_log_is_given_up(reader: Any, trading: Any, platform: Platform, serve: Any) -> None:
    async with platform.database.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO notification_positions
                SELECT 'trade-executions', partition, 1000000 FROM generate_series(0, 3) AS partition
                ON CONFLICT (topic, partition) DO UPDATE SET next_offset = 1000000
            """)
        )
    server = await serve(build)
    ada = await reader(on=server)
    session = trading(ada)
    await session.entry()
    assert len(await ada.inbox(1)) == 1
    assert platform.metrics.notification_places_lost.labels(TRADE_EXECUTIONS.name)._value.get() >= 1


async def test_an_inbox_keeps_the_newest(reader: Any, trading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NOTIFICATIONS", 5)
    ada = await reader()
    session = trading(ada)
    for _ in range(12):
        await session.entry()
    async with asyncio.timeout(PATIENCE):
        while (page := await ada.page()).last_sequence < 12:
            pass
    assert [one.sequence for one in page.notifications] == [12, 11, 10, 9, 8]
    error = await failure(ada.stream(3).read())
    assert (error.code(), info(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")
    assert info(error).metadata["first_sequence"] == "8"
    stream = ada.stream(0)
    assert (await stream.read()).sequence == 8, "0 is the oldest that is kept"
    stream.cancel()


async def test_pages_and_what_was_read(reader: Any, trading: Any) -> None:
    ada, bob = await reader(), await reader()
    mine, theirs = trading(ada), trading(bob)
    for _ in range(5):
        await mine.entry()
    await theirs.entry()
    found = await ada.inbox(5)
    await bob.inbox(1)
    first = await ada.page(page_size=2)
    second = await ada.page(page_size=2, page_token=first.next_page_token)
    third = await ada.page(page_size=2, page_token=second.next_page_token)
    pages = [[one.sequence for one in page.notifications] for page in (first, second, third)]
    assert (pages, third.next_page_token) == ([[5, 4], [3, 2], [1]], "")
    assert (first.unread_count, first.last_sequence) == (5, 5)

    ids = [found[3].notification_id, str(uuid.uuid4())]
    assert (await ada.stub.MarkRead(pb.MarkReadRequest(notification_ids=ids))).marked == 1
    assert (await bob.stub.MarkRead(pb.MarkReadRequest(notification_ids=ids, up_to_sequence=0))).marked == 0
    marked = await ada.stub.MarkRead(pb.MarkReadRequest(up_to_sequence=2))
    assert (marked.marked, marked.unread_count) == (2, 2)
    assert (await ada.stub.MarkRead(pb.MarkReadRequest(up_to_sequence=2))).marked == 0
    unread = await ada.page(unread=True, page_size=1)
    assert [one.sequence for one in unread.notifications] == [5]
    rest = await ada.page(unread=True, page_size=1, page_token=unread.next_page_token)
    assert [one.sequence for one in rest.notifications] == [3]
    assert (await bob.page()).unread_count == 1

    for token in ("nonsense", second.next_page_token[:-2]):
        error = await failure(ada.page(page_token=token))
        assert info(error).reason == "PAGE_TOKEN_INVALID"
    error = await failure(ada.stub.MarkRead(pb.MarkReadRequest()))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    error = await failure(ada.stub.MarkRead(pb.MarkReadRequest(notification_ids=["x"])))
    assert "notification_ids[0]" in violations(error)


async def test_readers_of_other_processes_are_woken(reader: Any, trading: Any, platform: Platform) -> None:
    ada = await reader()
    CORRELATION_ID.set("what-led-to-it")
    await trading(ada).entry()
    await ada.inbox(1)
    told_here = platform.bus.subscribe(USER_NOTIFICATIONS, {0: 0}, 10)
    async with asyncio.timeout(PATIENCE), aclosing(told_here):
        records = await anext(told_here)
    (record,) = records
    told = UserNotification.FromString(record.payload)
    assert (record.key, told.user_id) == (ada.user_id, ada.user_id)
    assert record.headers[CORRELATION] == "what-led-to-it"
    assert told.notification == (await ada.page()).notifications[0]


async def test_deleting_the_account_deletes_its_inbox(reader: Any, trading: Any, platform: Platform) -> None:
    ada = await reader()
    await trading(ada).entry()
    await ada.inbox(1)
    async with platform.database.begin() as connection:
        await connection.execute(text("DELETE FROM users"))
    assert await counts(platform) == []
