"""The event bus over Kafka: for a mesh of many processes.

A publish is one batch a partition, so its records stay together; the producer is idempotent and waits for every
replica. Readers at the end of a partition share one consumer and find its newest records in memory; every other read is
a fetch from an explicit offset. Nothing is committed to Kafka. What tells of a transaction waits in the database until
that commits (`bus_outbox`).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import stamina
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.platform import limits, tracing
from algotrade.platform.bus import (
    Bounds,
    BusAway,
    Message,
    Receipt,
    Record,
    UnknownPartition,
    check,
    partition_of,
)
from algotrade.platform.bus_outbox import BusOutbox
from algotrade.platform.kafka import Cluster, kafka_errors
from algotrade.platform.kafka_readers import Follower, Seekers
from algotrade.platform.kafka_topics import count_partitions, ensure_topics
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import Topic

log = logger(__name__)

READ_ATTEMPTS: Final = 5
STOP_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 5.0  # a reader that nothing wakes looks whether it has missed something


@dataclass(frozen=True, slots=True)
class KafkaReceipt:
    """What a publish in a transaction wrote; of one that waits for the commit, nothing yet."""

    records: tuple[Record, ...] = ()
    waits: bool = False


class KafkaBus:
    """The port `TransactionalBus` over Kafka; made by `kafka_bus`."""

    def __init__(self, cluster: Cluster, metrics: Metrics, outbox: BusOutbox) -> None:
        """Take where Kafka is, and where messages wait for a commit."""
        self._cluster = cluster
        self._metrics = metrics
        self._outbox = outbox
        self._seekers = Seekers(cluster)
        self._follower = Follower(cluster, self._seekers)
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()
        self._sending: defaultdict[TopicPartition, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._partitions: dict[str, int] = {}
        self._ends: dict[TopicPartition, int] = {}  # behind the newest record that this process knows of

    @property
    def in_database(self) -> bool:
        """It is not."""
        return False

    async def close(self) -> None:
        """Send what is on its way and close every connection."""
        await self._follower.close()
        await self._seekers.close()
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """Make topics exist; TopicMismatch if one exists with another number of partitions."""
        await ensure_topics(self._cluster, topics)
        self._partitions |= {topic.name: topic.partitions for topic in topics}

    async def ping(self) -> None:
        """Ask Kafka for anything at all. Raises BusAway."""
        name = next(iter(self._partitions))
        async with asyncio.timeout(self._cluster.seconds):
            await self._seekers.ends([self._cluster.place(name, 0)])

    # ------------------------------------------------------------------ writing

    async def publish(self, topic: Topic, messages: Sequence[Message]) -> Sequence[Record]:
        """Append messages, each to the partition of its key; return them as logged. See the port for BusAway."""
        check(topic, messages)
        of_key = {key: partition_of(key, topic.partitions) for key in {message.key for message in messages}}
        by_partition: dict[int, list[int]] = {}
        for index, message in enumerate(messages):
            by_partition.setdefault(of_key[message.key], []).append(index)
        for partition in by_partition:
            await self._check(topic, partition)
        logged: dict[int, Record] = {}
        written = self._cluster.written(topic, messages)

        async def append(partition: int, indexes: Sequence[int]) -> None:
            records = await self._append(
                self._cluster.place(topic.name, partition),
                [messages[index] for index in indexes],
                [written[index] for index in indexes],
            )
            logged.update(zip(indexes, records, strict=True))

        told = tracing.messages(tracing.Kind.PRODUCER, topic.name, (message.headers for message in messages))
        with told, self._metrics.bus_seconds.labels(topic.name).time(), kafka_errors(topic.name):
            async with asyncio.timeout(self._cluster.seconds):
                await asyncio.gather(*(append(partition, indexes) for partition, indexes in by_partition.items()))
        self._metrics.bus_records.labels(topic.name).inc(len(messages))
        return [logged[index] for index in range(len(messages))]

    async def _append(
        self, partition: TopicPartition, messages: Sequence[Message], written: Sequence[Message]
    ) -> list[Record]:
        producer = await self._producing()
        now_ms = time.time_ns() // 1_000_000  # the broker puts its own in its place
        futures: list[tuple[Any, Sequence[Message]]] = []
        sent = 0
        async with self._sending[partition]:  # the batches of one publish follow each other
            while sent < len(written):
                batch, start = producer.create_batch(), sent
                while sent < len(written) and _add(batch, written[sent], now_ms):
                    sent += 1
                batch.close()
                future = await producer.send_batch(batch, partition.topic, partition=partition.partition)
                futures.append((future, messages[start:sent]))
        records: list[Record] = []
        try:
            for future, part in futures:
                records += self._logged(partition, await future, part)
        except Exception:
            await self._renew(producer)  # one that has failed once fails for ever
            raise
        return records

    def _logged(self, partition: TopicPartition, where: Any, messages: Sequence[Message]) -> list[Record]:
        if where.offset < 0:  # the broker has it from an earlier try, and no longer knows where
            raise BusAway(f"{partition.topic}[{partition.partition}]: written, nobody knows where")
        end = where.offset + len(messages)
        self._ends[partition] = max(self._ends.get(partition, 0), end)
        written_ns = where.timestamp * 1_000_000
        topic = partition.topic.removeprefix(self._cluster.prefix)
        return [
            Record(topic, partition.partition, offset, one.key, one.payload, one.headers, written_ns)
            for offset, one in enumerate(messages, where.offset)
        ]

    async def publish_in(self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]) -> Receipt:
        """Store messages in the caller's transaction; they are sent after its commit."""
        check(topic, messages)
        with self._metrics.bus_append_seconds.labels(topic.name).time():
            await self._outbox.add(connection, topic, messages)
        return KafkaReceipt(waits=True)

    async def publish_ahead(self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]) -> Receipt:
        """Publish now, while the caller's transaction is open."""
        del connection
        with self._metrics.bus_append_seconds.labels(topic.name).time():
            return KafkaReceipt(tuple(await self.publish(topic, messages)))

    def announce(self, receipt: Receipt) -> None:
        """Send what has waited for the commit. What is in Kafka wakes its readers by itself."""
        if isinstance(receipt, KafkaReceipt) and receipt.waits:
            self._outbox.wake()

    async def _producing(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._cluster.options(),
                    acks="all",
                    enable_idempotence=True,
                    compression_type="zstd",
                    max_batch_size=limits.MAX_BATCH_BYTES,
                    max_request_size=limits.MAX_LOGGED_BATCH_BYTES,
                )
                await producer.start()
                self._producer = producer
            return self._producer

    async def _renew(self, failed: AIOKafkaProducer) -> None:
        async with self._opening:
            if self._producer is not None and self._producer is failed:
                self._producer = None
                await _stop(failed)

    # ------------------------------------------------------------------ reading

    async def read(self, topic: Topic, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Return up to ``limit`` records from an offset on, none at the end; OffsetOutOfRange outside the log.

        It may be fewer though there are more, where they are large.
        """
        limit = min(limit, limits.MAX_READ_RECORDS)
        place = self._cluster.place(topic.name, partition)
        if (followed := self._follower.tail(place)) is not None:
            tail, end = followed
            found = tail.read(offset, limit)
            if found is None and offset == end >= self._ends.get(place, 0):
                found = []
            if found is not None:
                self._metrics.bus_reads.labels(topic.name, "memory").inc()
                return found
        await self._check(topic, partition)
        self._metrics.bus_reads.labels(topic.name, "kafka").inc()
        with self._metrics.bus_read_seconds.labels(topic.name).time():
            return await self._fetch(place, offset, limit)

    @stamina.retry(on=BusAway, attempts=READ_ATTEMPTS, timeout=None, wait_max=1.0)
    async def _fetch(self, place: TopicPartition, offset: int, limit: int) -> Sequence[Record]:
        records, end = await self._seekers.read(place, offset, limit)
        self._ends[place] = max(self._ends.get(place, 0), end)
        return records

    @stamina.retry(on=BusAway, attempts=READ_ATTEMPTS, timeout=None, wait_max=1.0)
    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Return what a partition holds now."""
        await self._check(topic, partition)
        place = self._cluster.place(topic.name, partition)
        found = await self._seekers.bounds(place)
        self._ends[place] = max(self._ends.get(place, 0), found.end)
        return found

    @stamina.retry(on=BusAway, attempts=READ_ATTEMPTS, timeout=None, wait_max=1.0)
    async def ends(self, topic: Topic) -> dict[int, int]:
        """Return for each partition the offset behind its newest record."""
        await self._check(topic, topic.partitions - 1)
        places = {self._cluster.place(topic.name, partition): partition for partition in range(topic.partitions)}
        found = await self._seekers.ends(places)
        for place, end in found.items():
            self._ends[place] = max(self._ends.get(place, 0), end)
        return {partition: found[place] for place, partition in places.items()}

    async def subscribe(
        self, topic: Topic, positions: Mapping[int, int], limit: int = limits.MAX_READ_RECORDS
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield batches of one partition each, for ever, from explicit positions {partition: offset}."""
        position = dict(positions)
        places = {partition: self._cluster.place(topic.name, partition) for partition in position}
        for partition in position:
            await self._check(topic, partition)
        with self._follower.waiting(list(places.values())) as waiter:
            due = set(position)
            while True:
                await self._follower.joined(list(places.values()))
                for partition in sorted(due):
                    records = await self.read(topic, partition, position[partition], limit)
                    if records:
                        position[partition] = records[-1].offset + 1
                        yield records
                    if position[partition] >= self._end(places[partition]):
                        due.discard(partition)  # the next write wakes us
                if not due:
                    woken = await waiter.wait(LOOK_SECONDS)
                    if woken is None:
                        woken = {p for p, place in places.items() if position[p] < self._end(place)}
                    due = woken & position.keys()

    def _end(self, place: TopicPartition) -> int:
        """Return the offset behind the newest record that this process knows of."""
        followed = self._follower.tail(place)
        return max(self._ends.get(place, 0), followed[1] if followed else 0)

    async def _check(self, topic: Topic, partition: int) -> None:
        if topic.name not in self._partitions:
            self._partitions |= await count_partitions(self._cluster, [topic.name])
        if not 0 <= partition < self._partitions.get(topic.name, 0):
            raise UnknownPartition(f"{topic.name}[{partition}] does not exist")


async def _stop(producer: Any) -> None:
    """Close a producer; what it cannot send in a while is given up, as after a crash."""
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(STOP_SECONDS):
            await producer.stop()


def _add(batch: Any, message: Message, now_ms: int) -> bool:
    """Add a message to a batch; tell whether it had room."""
    headers = [(name, value.encode()) for name, value in message.headers.items()] if message.headers else []
    key = message.key.encode()
    return batch.append(key=key, value=message.payload, timestamp=now_ms, headers=headers) is not None


@asynccontextmanager
async def kafka_bus(cluster: Cluster, metrics: Metrics, outbox: BusOutbox) -> AsyncIterator[KafkaBus]:
    """Yield a bus once Kafka answers, and send the outbox meanwhile. Raises BusRefused, BusAway."""
    await cluster.reach()
    bus = KafkaBus(cluster, metrics, outbox)
    try:
        async with outbox.sending(bus.publish):
            yield bus
    finally:
        await bus.close()
