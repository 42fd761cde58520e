"""What is particular to the log in Kafka: who is let in, what waits for a commit, a broker that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import stamina
from aiokafka import AIOKafkaConsumer
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.bus import BusAway, BusRefused, Message, TopicMismatch
from algotrade.platform.bus_kafka import KafkaBus, kafka_bus
from algotrade.platform.bus_outbox import BusOutbox
from algotrade.platform.kafka import Cluster
from algotrade.platform.kafka_topics import Difference, make_topics
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import HOUR, PORTFOLIO_UPDATES, TOPICS, TRADE_EXECUTIONS, Topic
from algotrade.stack.certificates import make_certificates
from algotrade.stack.kafka import Login, kafka
from algotrade.stack.process import free_ports, running
from algotrade.v1 import events_pb2

TOPIC = Topic("of-kafka", 1, HOUR)


@pytest.fixture
async def bus(kafka: Cluster, database: AsyncEngine) -> AsyncIterator[KafkaBus]:
    async with kafka_bus(kafka, Metrics(), BusOutbox(database, 0.02)) as bus:
        await bus.create_topics([TOPIC])
        yield bus


def batch(*payloads: str) -> list[Message]:
    return [Message("k", payload.encode()) for payload in payloads]


async def taken(bus: KafkaBus, count: int) -> list[str]:
    """Return the first payloads of the log once there are so many."""
    found: list[str] = []
    async with asyncio.timeout(30), aclosing(bus.subscribe(TOPIC, {0: 0}, 100)) as batches:
        async for records in batches:
            found += [record.payload.decode() for record in records]
            if len(found) >= count:
                return found
    raise AssertionError("the log has no end")


async def test_a_publish_in_a_transaction_is_there_after_the_commit_or_never(
    bus: KafkaBus, database: AsyncEngine
) -> None:
    connection = await database.connect()
    await bus.publish_in(connection, TOPIC, batch("lost"))
    await connection.rollback()
    await connection.close()
    async with database.begin() as connection:
        receipt = await bus.publish_in(connection, TOPIC, batch("a", "b"))
    bus.announce(receipt)
    assert await taken(bus, 2) == ["a", "b"]


async def test_what_another_process_left_in_the_outbox_is_sent(bus: KafkaBus, database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await bus.publish_in(connection, TOPIC, batch("left"))  # and nobody announces it
    assert await taken(bus, 1) == ["left"]


async def test_what_could_not_be_sent_is_sent_again_in_order(database: AsyncEngine) -> None:
    outbox = BusOutbox(database, 60)
    async with database.begin() as connection:
        await outbox.add(connection, TOPIC, batch("a", "b"))
        await outbox.add(connection, TOPICS[0], batch("c"))
    sent: list[tuple[str, list[bytes]]] = []

    async def publish(topic: Topic, messages: Sequence[Message]) -> None:
        sent.append((topic.name, [message.payload for message in messages]))
        if len(sent) == 2:
            raise BusAway("gone")

    with pytest.raises(BusAway):
        await outbox.drain(publish)
    assert await outbox.drain(publish) == 3
    assert await outbox.drain(publish) == 0
    once = [("of-kafka", [b"a", b"b"]), (TOPICS[0].name, [b"c"])]
    assert sent == once + once, "all of a turn is told again, in the same order"


async def test_one_process_sends_at_a_time(database: AsyncEngine) -> None:
    outbox = BusOutbox(database, 60)
    async with database.begin() as connection:
        await outbox.add(connection, TOPIC, batch("a"))

    async def meanwhile(_topic: Topic, _messages: Sequence[Message]) -> None:
        assert await BusOutbox(database, 60).drain(meanwhile) == 0

    assert await outbox.drain(meanwhile) == 1


async def test_who_reads_from_outside_may_have_json_and_who_reads_in_here_sees_no_difference(
    kafka: Cluster, database: AsyncEngine
) -> None:
    told = events_pb2.TradeExecution(session_id="s", user_id="ada", symbol="BTC-USD")
    told.event.sequence, told.event.price = 2**60, "0.00000001"
    told.event.event_time.FromNanoseconds(1_700_000_000_000_000_001)
    message = Message("s", told.SerializeToString())
    telling = replace(kafka, json_topics=frozenset({TRADE_EXECUTIONS.name}))
    async with (
        kafka_bus(kafka, Metrics(), BusOutbox(database, 60)) as plain,
        kafka_bus(telling, Metrics(), BusOutbox(database, 60)) as bus,
    ):
        await bus.create_topics([TRADE_EXECUTIONS, PORTFOLIO_UPDATES])
        [before] = await plain.publish(TRADE_EXECUTIONS, [message])
        [logged] = await bus.publish(TRADE_EXECUTIONS, [message])
        await bus.publish(PORTFOLIO_UPDATES, [Message("s", b"")])
        for reader in (plain, bus):
            read = await reader.read(TRADE_EXECUTIONS, before.partition, before.offset, 10)
            assert [one.payload for one in read] == [message.payload] * 2
            assert read[1] == logged
    written = await raw(kafka, TRADE_EXECUTIONS, logged.partition)
    assert [dict(one.headers)["content-type"] for one in written] == [b"application/protobuf", b"application/json"]
    assert orjson.loads(written[1].value) == {
        "session_id": "s",
        "user_id": "ada",
        "symbol": "BTC-USD",
        "event": {"sequence": str(2**60), "price": "0.00000001", "event_time": "2023-11-14T22:13:20.000000001Z"},
    }
    [other] = await raw(kafka, PORTFOLIO_UPDATES, logged.partition)
    assert dict(other.headers)["content-type"] == b"application/protobuf"


async def raw(kafka: Cluster, topic: Topic, partition: int) -> list[Any]:
    """Return all records of a partition as any client of Kafka's gets them."""
    place = kafka.place(topic.name, partition)
    consumer = AIOKafkaConsumer(**kafka.options(), group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        found: list[Any] = []
        async with asyncio.timeout(30):
            while len(found) < end:
                found += (await consumer.getmany(place, timeout_ms=1000)).get(place, [])
        return found
    finally:
        await consumer.stop()


async def test_topics_are_made_once_and_what_differs_is_told(kafka: Cluster) -> None:
    first = await make_topics(kafka, TOPICS)
    assert len(first.created) == len(TOPICS) == 10
    assert first.differences == ()
    again = await make_topics(kafka, TOPICS)
    assert (again.created, again.differences) == ((), ())
    other = [replace(TOPICS[0], partitions=3, retention_seconds=60)]
    name = kafka.prefix + TOPICS[0].name
    assert (await make_topics(kafka, other)).differences == (
        Difference(name, "partitions", "8", "3"),
        Difference(name, "retention.ms", "86400000", "60000"),
    )


async def test_a_bus_of_another_shape_is_refused(kafka: Cluster, database: AsyncEngine, bus: KafkaBus) -> None:
    async with kafka_bus(kafka, Metrics(), BusOutbox(database, 60)) as other:
        with pytest.raises(TopicMismatch, match="has 1 partitions, not 2"):
            await other.create_topics([replace(TOPIC, partitions=2)])


async def test_encrypted_and_with_a_password(data_dir: Path, database: AsyncEngine) -> None:
    certificates = make_certificates(data_dir / "kafka-tls")
    (port,) = free_ports(1)
    login = Login("ada", "s3cret", certificates, port)
    good = Cluster(f"127.0.0.1:{port}", user="ada", password="s3cret", tls=True, authority=certificates.authority)
    server, _ = kafka(data_dir / "kafka-secure", login=login)
    async with running(server):
        async with kafka_bus(good, Metrics(), BusOutbox(database, 60)) as bus:
            await bus.create_topics([TOPIC])
            async for attempt in stamina.retry_context(on=BusAway, attempts=3):  # it has only just begun
                with attempt:
                    await bus.publish(TOPIC, batch("secret"))
            assert set(await taken(bus, 1)) == {"secret"}
        with pytest.raises(BusRefused, match=r"refuses the user 'ada'.*ALGOTRADE_KAFKA_USER"):
            await replace(good, password="guessed").reach()
        other = make_certificates(data_dir / "other-tls").authority
        with pytest.raises(BusRefused, match=r"certificate is not good.*ALGOTRADE_KAFKA_CA"):
            await replace(good, authority=other).reach()
    with pytest.raises(BusRefused, match="ALGOTRADE_KAFKA_CA"):
        replace(good, authority=data_dir / "none.pem").options()


@pytest.mark.nightly
async def test_a_broker_that_is_killed_loses_and_repeats_nothing(data_dir: Path, database: AsyncEngine) -> None:
    """One producer tells numbers all the while; who is told that a number is not known to be there says it again."""
    server, address = kafka(data_dir / "kafka-killed")
    async with running(server), kafka_bus(Cluster(address, seconds=60), Metrics(), BusOutbox(database, 60)) as bus:
        await bus.create_topics([TOPIC])
        reading = asyncio.create_task(taken(bus, 300))
        begun, again = asyncio.Event(), asyncio.Event()

        async def write() -> None:
            for number in range(300):
                await bus.publish(TOPIC, batch(str(number)))
                if number == 100:
                    begun.set()
                    await again.wait()

        writing = asyncio.create_task(write())
        await begun.wait()
        await server.kill()
        again.set()  # it writes while nobody answers
        await server.start()
        await writing
        assert await reading == [str(number) for number in range(300)]
