"""What a session does is told on the bus: in its order, each thing at least once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest
from graphs import at_prices
from market_data.feeds import SECOND, ManualFeed, made
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.engine import fixed
from algotrade.forward_test.postgres_outbox import LOCK, PostgresOutbox, add_outgoing
from algotrade.forward_test.relay import Relay
from algotrade.forward_test.session import Outgoing
from algotrade.platform import failpoints, topics
from algotrade.platform.background import end
from algotrade.platform.bus import Record, partition_of
from algotrade.platform.process import Platform
from algotrade.v1 import events_pb2
from algotrade.v1 import forward_test_service_pb2 as pb

START = 1_700_000_000 * SECOND
PATIENCE = 30


class OwnFailpoint(failpoints.Failpoint):
    """One for the task that makes it: other servers of the process may have relays too."""

    @classmethod
    def arm(cls, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
        armed = cls(point, action=failpoints.Action.RAISE)
        armed.task = asyncio.current_task()
        monkeypatch.setattr(failpoints, "_armed", armed)

    def reach(self) -> None:
        if asyncio.current_task() is self.task:
            super().reach()


async def told(platform: Platform, topic: topics.Topic, key: str, count: int) -> Sequence[Record]:
    """Return a key's records once there are so many."""
    mine: list[Record] = []
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(platform.bus.subscribe(topic, dict.fromkeys(range(topic.partitions), 0), 100)) as log,
    ):
        async for records in log:
            mine += [record for record in records if record.key == key]
            if len(mine) >= count:
                return mine
    raise AssertionError("the log has no end")


async def test_fills_balances_and_rejections_are_told(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10, 12), "AAA", settings={"interval": "tick", "fee_bps": "0"})
    prices = [10, 20, 10, 12, 25]  # buys at 20, is refused a second time, sells at 25
    feed.push("AAA", made(*((START + i * SECOND, p * fixed.SCALE) for i, p in enumerate(prices))))
    session = await ada.at_tick(session, 5)
    key = session.session_id

    entry, leaving = [
        events_pb2.TradeExecution.FromString(record.payload)
        for record in await told(platform, topics.TRADE_EXECUTIONS, key, 2)
    ]
    assert (entry.user_id, entry.symbol, entry.artefact_hash) == (ada.user_id, "AAA", session.artefact_hash)
    assert (entry.strategy_id, entry.session_name) == (session.strategy_id, session.name)
    assert (entry.event.sequence, entry.event.price, entry.HasField("trade")) == (1, "20", False)
    assert (leaving.event.sequence, leaving.trade.pnl) == (3, "2500")
    assert leaving.trade == (await ada.trades(session))[0]

    (signal,) = await told(platform, topics.STRATEGY_SIGNALS, key, 1)
    refused = events_pb2.StrategySignal.FromString(signal.payload).event
    assert (refused.sequence, refused.reason, refused.node_id) == (2, "already_long", "b")

    updates = [
        events_pb2.PortfolioUpdate.FromString(record.payload)
        for record in await told(platform, topics.PORTFOLIO_UPDATES, key, 2)
    ]
    assert [(u.sequence, u.cash, u.quantity, u.average_price, u.equity, u.realized_pnl) for u in updates] == [
        (1, "0", "500", "20", "10000", "0"),
        (3, "12500", "0", "0", "12500", "2500"),
    ]


async def test_commands_are_told_under_the_callers_correlation_id(trader: Any, platform: Platform) -> None:
    ada = await trader()
    session = await ada.create(at_prices(10), "AAA")
    request = pb.StartSessionRequest(session_id=session.session_id)
    await ada.sessions.StartSession(request, metadata=(("x-correlation-id", "from-a-test"),))
    await ada.stop(session, pb.STOP_MODE_KEEP)
    start, stop, _ = await told(platform, topics.FORWARD_TEST_EVENTS, session.session_id, 3)
    assert start.headers["correlation-id"] == "from-a-test"
    assert start.headers["content-type"] == "application/protobuf"
    command = events_pb2.ForwardTestEvent.FromString(start.payload)
    assert command.WhichOneof("command") == "start"
    assert command.shard == start.partition == partition_of(session.session_id, topics.FORWARD_TEST_EVENTS.partitions)
    assert events_pb2.ForwardTestEvent.FromString(stop.payload).stop.mode == pb.STOP_MODE_KEEP


async def test_where_a_session_stands_is_told(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings={"interval": "tick", "fee_bps": "0"})
    feed.push("AAA", made((START, 10 * fixed.SCALE), (START + SECOND, 20 * fixed.SCALE)))
    await ada.at_tick(session, 2)
    await ada.sessions.PauseSession(pb.PauseSessionRequest(session_id=session.session_id))
    await ada.sessions.PauseSession(pb.PauseSessionRequest(session_id=session.session_id))
    await ada.stop(session, pb.STOP_MODE_FLATTEN)
    feed.push("AAA", made((START + 2 * SECOND, 30 * fixed.SCALE)))
    ended = await ada.reached(session, lambda found: found.status == pb.SESSION_STATUS_STOPPED)

    records = await told(platform, topics.FORWARD_TEST_EVENTS, session.session_id, 7)
    changes = [
        event.status
        for event in (events_pb2.ForwardTestEvent.FromString(record.payload) for record in records)
        if event.HasField("status")
    ]
    assert [change.status for change in changes] == [
        pb.SESSION_STATUS_PAUSED,
        pb.SESSION_STATUS_STOPPING,
        pb.SESSION_STATUS_STOPPED,
    ]
    last = changes[-1]
    assert last.event_time.ToNanoseconds() == START + 2 * SECOND
    assert (last.last_sequence, last.symbol, last.session_name) == (ended.last_sequence, "AAA", session.name)


def message(number: int, shard: int = 0) -> Outgoing:
    return Outgoing(shard, topics.TRADE_EXECUTIONS.name, "s", str(number).encode(), {"content-type": "text/plain"})


async def test_what_could_not_be_sent_is_sent_again(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await add_outgoing(connection, [message(number) for number in range(5)])
    outbox = PostgresOutbox(database)
    tried: list[bytes] = []

    async def fail(_connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
        tried.extend(one.payload for one in messages)
        raise ConnectionError("the bus is away")

    with pytest.raises(ConnectionError):
        await outbox.drain([0], fail, 3, wait=False)
    assert tried == [b"0", b"1", b"2"]
    sent: list[bytes] = []

    async def send(_connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
        sent.extend(one.payload for one in messages)

    assert [await outbox.drain([0], send, 3, wait=False) for _ in range(3)] == [3, 2, 0]
    assert sent == [b"0", b"1", b"2", b"3", b"4"]
    assert await outbox.oldest_seconds() == 0


async def test_one_relay_a_shard_at_a_time(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await add_outgoing(connection, [message(1, shard=0), message(2, shard=1)])
    outbox = PostgresOutbox(database)

    async def meanwhile(_connection: AsyncConnection, _messages: Sequence[Outgoing]) -> None:
        assert await outbox.drain([0], never, 10, wait=False) == 0  # somebody sends this shard
        assert await outbox.drain([1], nothing, 10, wait=False) == 1

    async def never(_connection: AsyncConnection, _messages: Sequence[Outgoing]) -> None:
        raise AssertionError("sent twice at once")

    async def nothing(_connection: AsyncConnection, _messages: Sequence[Outgoing]) -> None:
        pass

    assert await outbox.drain([0], meanwhile, 10, wait=False) == 1


async def test_what_is_stored_while_another_relay_has_the_shard_goes_out_when_that_one_is_done(
    platform: Platform, database: AsyncEngine
) -> None:
    async with database.begin() as connection:
        await add_outgoing(connection, [message(0)])
    outbox = PostgresOutbox(database)
    relay = Relay(outbox, platform.bus, range(4), poll_seconds=3600)

    async def meanwhile(_connection: AsyncConnection, _messages: Sequence[Outgoing]) -> None:
        async with database.begin() as connection:
            await add_outgoing(connection, [message(1)])
        relay.wake([0])
        relaying.append(asyncio.create_task(relay.run()))
        async with database.connect() as connection:  # until it waits for the lock
            waits = text(
                f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCK} AND NOT granted"
            )
            while not await connection.scalar(waits):
                await connection.rollback()

    relaying: list[asyncio.Task[None]] = []
    try:
        assert await outbox.drain([0], meanwhile, 10, wait=False) == 1
        [record] = await told(platform, topics.TRADE_EXECUTIONS, "s", 1)
        assert record.payload == b"1"
    finally:
        await end(*relaying)


async def test_what_was_published_and_not_forgotten_is_not_on_the_bus(
    platform: Platform, database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that dies between the two leaves nothing on the bus that would come again."""
    async with database.begin() as connection:
        await add_outgoing(connection, [message(number) for number in range(3)])
    relay = Relay(PostgresOutbox(database), platform.bus, range(4), poll_seconds=0.02)
    for point in ("outbox.sent", "outbox.forgotten"):
        OwnFailpoint.arm(monkeypatch, point)
        with pytest.raises(failpoints.FailpointError):
            await relay.drain()
    assert await relay.drain() == 3
    records = await told(platform, topics.TRADE_EXECUTIONS, "s", 3)
    assert [record.payload for record in records] == [b"0", b"1", b"2"]


async def test_what_was_published_to_kafka_and_not_forgotten_is_told_again_in_the_same_order(
    kafka_platform: Platform, database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.begin() as connection:
        await add_outgoing(connection, [message(number) for number in range(3)])
    relay = Relay(PostgresOutbox(database), kafka_platform.bus, range(4), poll_seconds=0.02)
    OwnFailpoint.arm(monkeypatch, "outbox.sent")
    with pytest.raises(failpoints.FailpointError):
        await relay.drain()
    async with database.begin() as connection:
        await add_outgoing(connection, [message(3)])
    assert await relay.drain() == 4
    assert await relay.drain() == 0
    records = await told(kafka_platform, topics.TRADE_EXECUTIONS, "s", 7)
    assert [record.payload for record in records] == [b"0", b"1", b"2", b"0", b"1", b"2", b"3"]


async def test_the_relay_publishes_in_order(platform: Platform, database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await add_outgoing(connection, [message(number) for number in range(700)])
        await connection.execute(text("UPDATE outbox SET create_time = now() - interval '1 hour' WHERE position = 1"))
    relay = Relay(PostgresOutbox(database), platform.bus, range(4), poll_seconds=0.02)
    assert await PostgresOutbox(database).oldest_seconds() >= 3600
    assert [await relay.drain() for _ in range(3)] == [500, 200, 0]
    records = await told(platform, topics.TRADE_EXECUTIONS, "s", 100)
    assert [record.payload for record in records[:100]] == [str(number).encode() for number in range(100)]
