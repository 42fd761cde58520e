"""What every adapter of the event bus must do. An adapter joins by a line in `make_bus`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform import limits
from algotrade.platform.bus import (
    Bounds,
    Bus,
    Message,
    OffsetOutOfRange,
    Record,
    TopicMismatch,
    UnknownPartition,
    partition_of,
)
from algotrade.platform.bus_kafka import kafka_bus
from algotrade.platform.bus_outbox import BusOutbox
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.kafka import Cluster
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import HOUR, Topic

ONE = Topic("contract-one", 1, HOUR)
MANY = Topic("contract-many", 4, HOUR)

MakeBus = Callable[[], Awaitable[Bus]]


@pytest.fixture(params=["postgres", "kafka"])
def cluster(request: pytest.FixtureRequest) -> Cluster | None:
    """Return how to reach Kafka, or None where the log is a table."""
    return request.getfixturevalue("kafka") if request.param == "kafka" else None


@pytest.fixture
async def make_bus(cluster: Cluster | None, database: AsyncEngine) -> AsyncIterator[MakeBus]:
    """Return a function that opens the log once more, as another process would."""
    async with AsyncExitStack() as stack:

        async def make() -> Bus:
            if cluster is None:
                bus: Bus = PostgresBus(database, Metrics(), poll_seconds=0.02)
            else:
                bus = await stack.enter_async_context(kafka_bus(cluster, Metrics(), BusOutbox(database, 0.02)))
            await bus.create_topics([ONE, MANY])
            return bus

        yield make


@pytest.fixture
async def bus(make_bus: MakeBus) -> Bus:
    return await make_bus()


def messages(*payloads: str, key: str = "k") -> list[Message]:
    return [Message(key, payload.encode()) for payload in payloads]


def payloads(records: object) -> list[str]:
    return [record.payload.decode() for record in records]  # type: ignore[attr-defined]


async def take(bus: Bus, topic: Topic, positions: dict[int, int], count: int, limit: int = 100) -> list[Record]:
    """Return the next ``count`` records of a subscription."""
    found: list[Record] = []
    async with asyncio.timeout(20), aclosing(bus.subscribe(topic, positions, limit)) as batches:
        async for batch in batches:
            found.extend(batch)
            if len(found) >= count:
                return found
    raise AssertionError("the subscription ended")


async def test_a_record_comes_back_as_it_was_published(bus: Bus) -> None:
    sent = Message("BTC-USD", b"\x00\xff", {"content-type": "application/protobuf", "correlation-id": "c-1"})
    [logged] = await bus.publish(ONE, [sent])
    [read] = await bus.read(ONE, 0, 0, 10)
    assert read == logged
    assert (read.topic, read.partition, read.offset) == ("contract-one", 0, 0)
    assert (read.key, read.payload, dict(read.headers)) == (sent.key, sent.payload, dict(sent.headers))
    assert read.write_time_ns > 0


async def test_another_reader_of_the_log_sees_the_same_records(bus: Bus, make_bus: MakeBus) -> None:
    logged = await bus.publish(ONE, messages("a", "b", "c"))
    other = await make_bus()
    assert list(await other.read(ONE, 0, 0, 10)) == list(logged)


async def test_offsets_are_dense_and_in_order_of_publishing(bus: Bus) -> None:
    for text in "abc":
        await bus.publish(ONE, messages(text))
    await bus.publish(ONE, messages("d", "e"))
    records = await bus.read(ONE, 0, 0, 100)
    assert [record.offset for record in records] == [0, 1, 2, 3, 4]
    assert payloads(records) == ["a", "b", "c", "d", "e"]
    assert await bus.bounds(ONE, 0) == Bounds(0, 5)
    assert await bus.ends(ONE) == {0: 5}


async def test_a_key_always_falls_into_its_own_partition(bus: Bus) -> None:
    keys = [f"key-{number}" for number in range(40)]
    logged = await bus.publish(MANY, [Message(key, key.encode()) for key in keys])
    assert [record.key for record in logged] == keys
    assert [record.partition for record in logged] == [partition_of(key, MANY.partitions) for key in keys]
    assert {record.partition for record in logged} == {0, 1, 2, 3}
    for partition in range(MANY.partitions):
        mine = [key for key in keys if partition_of(key, MANY.partitions) == partition]
        assert payloads(await bus.read(MANY, partition, 0, 100)) == mine
        assert (await bus.ends(MANY))[partition] == len(mine)


async def test_reading_starts_anywhere_and_stops_at_the_limit(bus: Bus) -> None:
    await bus.publish(ONE, messages(*"abcdef"))
    assert payloads(await bus.read(ONE, 0, 2, 3)) == ["c", "d", "e"]
    assert payloads(await bus.read(ONE, 0, 5, 3)) == ["f"]
    assert list(await bus.read(ONE, 0, 6, 3)) == []


async def test_records_older_than_the_tail_in_memory_are_still_there(bus: Bus) -> None:
    count = limits.TAIL_RECORDS + 50
    await bus.publish(ONE, messages(*(str(number) for number in range(count))))
    assert payloads(await bus.read(ONE, 0, 10, 3)) == ["10", "11", "12"]
    found = await take(bus, ONE, {0: 0}, count)
    assert payloads(found) == [str(number) for number in range(count)]


@pytest.mark.parametrize("offset", [-1, 4, 1000])
async def test_a_position_outside_the_log_is_an_error(bus: Bus, offset: int) -> None:
    await bus.publish(ONE, messages("a", "b", "c"))
    with pytest.raises(OffsetOutOfRange) as caught:
        await bus.read(ONE, 0, offset, 10)
    assert caught.value.bounds == Bounds(0, 3)


async def test_an_unknown_topic_or_partition_is_an_error(bus: Bus) -> None:
    absent = Topic("absent", 1, HOUR)
    with pytest.raises(UnknownPartition):
        await bus.publish(absent, messages("a"))
    with pytest.raises(UnknownPartition):
        await bus.bounds(absent, 0)
    with pytest.raises(UnknownPartition):
        await bus.ends(absent)
    with pytest.raises(UnknownPartition):
        await bus.read(ONE, 1, 0, 1)


async def test_topics_are_made_once_and_never_change_their_partitions(bus: Bus) -> None:
    await bus.publish(ONE, messages("a"))
    await bus.create_topics([ONE])
    assert await bus.bounds(ONE, 0) == Bounds(0, 1)
    with pytest.raises(TopicMismatch):
        await bus.create_topics([Topic(ONE.name, 2, HOUR)])


@pytest.mark.parametrize(
    "message",
    [Message("k", b"x" * (limits.MAX_PAYLOAD_BYTES + 1)), Message("k" * (limits.MAX_KEY_BYTES + 1), b"")],
    ids=["payload", "key"],
)
async def test_one_oversized_message_refuses_the_whole_publish(bus: Bus, message: Message) -> None:
    with pytest.raises(ValueError, match="message 1"):
        await bus.publish(ONE, [*messages("a"), message])
    assert await bus.bounds(ONE, 0) == Bounds(0, 0)


async def test_a_subscription_gives_what_is_there_and_then_what_comes(bus: Bus) -> None:
    await bus.publish(ONE, messages("a", "b"))
    reader = asyncio.create_task(take(bus, ONE, {0: 1}, 4))
    await bus.publish(ONE, messages("c"))
    await bus.publish(ONE, messages("d", "e"))
    assert payloads(await reader) == ["b", "c", "d", "e"]


async def test_a_subscription_learns_what_another_process_wrote(bus: Bus, make_bus: MakeBus) -> None:
    other = await make_bus()
    await bus.publish(ONE, messages("a"))
    reader = asyncio.create_task(take(bus, ONE, {0: 0}, 3))
    await other.publish(ONE, messages("b"))
    await bus.publish(ONE, messages("c"))
    assert payloads(await reader) == ["a", "b", "c"]


async def test_a_subscription_reads_only_the_partitions_it_names(bus: Bus) -> None:
    keys = [f"key-{number}" for number in range(40)]
    logged = await bus.publish(MANY, [Message(key, key.encode()) for key in keys])
    expected = [record for record in logged if record.partition in (1, 3)]
    found = await take(bus, MANY, {1: 0, 3: 0}, len(expected), limit=2)
    assert {record.partition for record in found} == {1, 3}
    for partition in (1, 3):
        assert [record for record in found if record.partition == partition] == [
            record for record in expected if record.partition == partition
        ]


async def test_concurrent_publishers_leave_no_hole_and_no_repeat(bus: Bus, make_bus: MakeBus) -> None:
    others = [bus, await make_bus()]
    reader = asyncio.create_task(take(bus, ONE, {0: 0}, 60))
    await asyncio.gather(
        *(others[number % 2].publish(ONE, messages(f"{number}-0", f"{number}-1")) for number in range(30))
    )
    found = await reader
    assert [record.offset for record in found] == list(range(60))
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first.payload.split(b"-")[0] == second.payload.split(b"-")[0], "a publish was torn apart"
    assert len({record.payload for record in found}) == 60
