"""The event bus over a table of the database: the embedded default.

Offsets come from a counter row a partition, locked until the writer's transaction ends, so that order of offset is
order of commit and a rolled-back publish leaves no hole. Records just written stay in memory for the readers at the
tail; every other read asks the table. Readers sleep until a publish wakes them and look again after a while anyway,
for what another process or an unannounced transaction wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.platform import limits, tracing
from algotrade.platform.background import background
from algotrade.platform.bus import (
    Bounds,
    Message,
    OffsetOutOfRange,
    Receipt,
    Record,
    TopicMismatch,
    UnknownPartition,
    check,
    partition_of,
)
from algotrade.platform.bus_tail import Tail, Waiter
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import TOPICS, Topic

log = logger(__name__)

_APPEND: Final = text("""
    WITH counter AS (
        UPDATE bus_partitions SET next_offset = next_offset + :count
        WHERE topic = :topic AND partition = :partition
        RETURNING next_offset - :count AS base
    )
    INSERT INTO bus_log (topic, partition, "offset", key, payload, headers)
    SELECT :topic, :partition, counter.base + message.position - 1, message.key, message.payload, message.headers::jsonb
    FROM counter, unnest(CAST(:keys AS text[]), CAST(:payloads AS bytea[]), CAST(:headers AS text[]))
        WITH ORDINALITY AS message (key, payload, headers, position)
    RETURNING "offset", write_time
""")
_READ: Final = text("""
    SELECT "offset", key, payload, headers::text, write_time FROM bus_log
    WHERE topic = :topic AND partition = :partition AND "offset" >= :offset
    ORDER BY "offset" LIMIT :limit
""")
_BOUNDS: Final = text(
    "SELECT earliest_offset, next_offset FROM bus_partitions WHERE topic = :topic AND partition = :partition"
)
_ENDS: Final = text("SELECT partition, next_offset FROM bus_partitions WHERE topic = :topic")
_TRIM: Final = text("""
    WITH oldest AS (
        SELECT "offset", write_time FROM bus_log WHERE topic = :topic AND partition = :partition
        ORDER BY "offset" LIMIT :limit
    ), bound AS (
        SELECT greatest(counter.earliest_offset, least(
            greatest(
                (SELECT max("offset") + 1 FROM oldest
                    WHERE write_time < clock_timestamp() - make_interval(secs => :age)),
                least(counter.next_offset - :records, (SELECT max("offset") + 1 FROM oldest))
            ),
            -- What a reader holds is kept, but not for ever: so many records again, should it never come.
            greatest(
                (SELECT min(next_offset) FROM bus_holds WHERE topic = :topic AND partition = :partition),
                CASE WHEN EXISTS (SELECT FROM bus_holds WHERE topic = :topic AND partition = :partition)
                    THEN counter.next_offset - 2 * :records END
            )
        )) AS earliest
        FROM bus_partitions AS counter WHERE topic = :topic AND partition = :partition
    ), moved AS (
        UPDATE bus_partitions SET earliest_offset = bound.earliest FROM bound
        WHERE topic = :topic AND partition = :partition AND earliest_offset < bound.earliest
        RETURNING bound.earliest
    )
    DELETE FROM bus_log USING moved
    WHERE bus_log.topic = :topic AND bus_log.partition = :partition AND bus_log."offset" < moved.earliest
""")


@dataclass(frozen=True, slots=True)
class PostgresReceipt:
    """What a publish inside a transaction wrote."""

    topic: Topic
    records: tuple[Record, ...]


class PostgresBus:
    """The port `TransactionalBus` over tables bus_log and bus_partitions."""

    def __init__(self, engine: AsyncEngine, metrics: Metrics, poll_seconds: float = 0.5) -> None:
        """Take the database; ``poll_seconds`` bounds how late a reader learns of an unannounced write."""
        self._engine = engine
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._tails: dict[tuple[str, int], Tail] = {}

    @property
    def in_database(self) -> bool:
        """It is."""
        return True

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """Make topics exist; TopicMismatch if one exists with another number of partitions."""
        async with self._engine.begin() as connection:
            for topic in topics:
                await connection.execute(
                    text("""
                        INSERT INTO bus_partitions (topic, partition)
                        SELECT :topic, generate_series(0, :count - 1) WHERE NOT EXISTS
                            (SELECT FROM bus_partitions WHERE topic = :topic)
                        ON CONFLICT DO NOTHING
                    """),
                    {"topic": topic.name, "count": topic.partitions},
                )
                count = await connection.scalar(
                    text("SELECT count(*) FROM bus_partitions WHERE topic = :topic"), {"topic": topic.name}
                )
                if count != topic.partitions:
                    raise TopicMismatch(f"{topic.name} has {count} partitions, not {topic.partitions}")

    async def publish(self, topic: Topic, messages: Sequence[Message]) -> Sequence[Record]:
        """Append messages, all or none, each to the partition of its key; return them as logged."""
        with self._metrics.bus_seconds.labels(topic.name).time():
            async with self._engine.begin() as connection:
                receipt = await self.publish_in(connection, topic, messages)
        self.announce(receipt)
        return receipt.records

    async def publish_in(
        self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]
    ) -> PostgresReceipt:
        """Append within the caller's transaction. Readers see it when that commits; see `announce`.

        The partitions' counters are locked in ascending order, so two publishes cannot wait for each other; a
        transaction that publishes more than once should keep to one order of topics.
        """
        check(topic, messages)
        told = tracing.messages(tracing.Kind.PRODUCER, topic.name, (message.headers for message in messages))
        with told, self._metrics.bus_append_seconds.labels(topic.name).time():
            return await self._append_all(connection, topic, messages)

    async def publish_ahead(
        self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]
    ) -> PostgresReceipt:
        """Append within the caller's transaction: here nothing is ahead of it."""
        return await self.publish_in(connection, topic, messages)

    async def _append_all(
        self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]
    ) -> PostgresReceipt:
        by_partition: dict[int, list[int]] = {}
        for index, message in enumerate(messages):
            by_partition.setdefault(partition_of(message.key, topic.partitions), []).append(index)
        logged: list[Record | None] = [None] * len(messages)
        for partition in sorted(by_partition):
            indexes = by_partition[partition]
            batch = [messages[index] for index in indexes]
            for index, record in zip(indexes, await self._append(connection, topic, partition, batch), strict=True):
                logged[index] = record
        return PostgresReceipt(topic, tuple(record for record in logged if record is not None))

    async def _append(
        self, connection: AsyncConnection, topic: Topic, partition: int, messages: Sequence[Message]
    ) -> list[Record]:
        result = await connection.execute(
            _APPEND,
            {
                "topic": topic.name,
                "partition": partition,
                "count": len(messages),
                "keys": [message.key for message in messages],
                "payloads": [message.payload for message in messages],
                "headers": [orjson.dumps(dict(message.headers)).decode() for message in messages],
            },
        )
        rows = sorted((row.offset, row.write_time) for row in result)
        if not rows:
            raise UnknownPartition(f"{topic.name}[{partition}] does not exist")
        return [
            Record(topic.name, partition, offset, message.key, message.payload, message.headers, _ns(write_time))
            for message, (offset, write_time) in zip(messages, rows, strict=True)
        ]

    def announce(self, receipt: Receipt) -> None:
        """Wake the readers, after the commit. Forgetting it costs them a poll interval, nothing else."""
        touched = set()
        for record in receipt.records:
            key = (record.topic, record.partition)
            self._tail(key).append(record)
            touched.add(key)
            self._metrics.bus_records.labels(record.topic).inc()
        for key in touched:
            self._tails[key].wake(key[1])

    async def read(self, topic: Topic, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Return up to ``limit`` records from an offset on, none at the end; OffsetOutOfRange outside the log."""
        limit = min(limit, limits.MAX_READ_RECORDS)
        if (found := self._tail((topic.name, partition)).read(offset, limit)) is not None:
            self._metrics.bus_reads.labels(topic.name, "memory").inc()
            return found
        self._metrics.bus_reads.labels(topic.name, "table").inc()
        with self._metrics.bus_read_seconds.labels(topic.name).time():
            return await self._read_table(topic, partition, offset, limit)

    async def _read_table(self, topic: Topic, partition: int, offset: int, limit: int) -> list[Record]:
        where = {"topic": topic.name, "partition": partition}
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_READ, {**where, "offset": offset, "limit": limit})).all()
            if not rows or rows[0].offset != offset:
                bounds = await self._bounds(connection, topic, partition)
                if not bounds.earliest <= offset <= bounds.end:
                    raise OffsetOutOfRange(topic.name, partition, offset, bounds)
        return [
            Record(topic.name, partition, at, key, payload, orjson.loads(headers), _ns(write_time))
            for at, key, payload, headers, write_time in rows
        ]

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Return what a partition holds now."""
        async with self._engine.connect() as connection:
            return await self._bounds(connection, topic, partition)

    async def ends(self, topic: Topic) -> dict[int, int]:
        """Return for each partition the offset behind its newest record."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(_ENDS, {"topic": topic.name})
            found = {row.partition: row.next_offset for row in rows}
        if found.keys() != set(range(topic.partitions)):
            raise UnknownPartition(f"{topic.name} does not have {topic.partitions} partitions")
        return found

    async def _bounds(self, connection: AsyncConnection, topic: Topic, partition: int) -> Bounds:
        row = (await connection.execute(_BOUNDS, {"topic": topic.name, "partition": partition})).one_or_none()
        if row is None:
            raise UnknownPartition(f"{topic.name}[{partition}] does not exist")
        return Bounds(row.earliest_offset, row.next_offset)

    async def subscribe(
        self, topic: Topic, positions: Mapping[int, int], limit: int = limits.MAX_READ_RECORDS
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield batches of one partition each, for ever, from explicit positions {partition: offset}."""
        position = dict(positions)
        waiter = Waiter()
        tails = [self._tail((topic.name, partition)) for partition in position]
        for tail in tails:
            tail.waiters.add(waiter)
        try:
            due = set(position)
            while True:
                for partition in sorted(due):
                    records = await self.read(topic, partition, position[partition], limit)
                    if len(records) < limit:
                        due.discard(partition)  # at the end: the next write wakes us
                    if records:
                        position[partition] = records[-1].offset + 1
                        yield records
                if not due:
                    woken = await waiter.wait(self._poll_seconds)
                    due = await self._written_past(topic, position) if woken is None else woken
        finally:
            for tail in tails:
                tail.waiters.discard(waiter)

    async def _written_past(self, topic: Topic, position: Mapping[int, int]) -> set[int]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(_ENDS, {"topic": topic.name})
            return {row.partition for row in rows if row.next_offset > position.get(row.partition, row.next_offset)}

    async def trim(self, topics: Sequence[Topic] = TOPICS) -> int:
        """Delete records past their topic's age or number; return how many. Bounded work a call and partition."""
        deleted = 0
        for topic in topics:
            for partition in range(topic.partitions):
                async with self._engine.begin() as connection:
                    result = await connection.execute(
                        _TRIM,
                        {
                            "topic": topic.name,
                            "partition": partition,
                            "age": float(topic.retention_seconds),
                            "records": topic.retention_records,
                            "limit": limits.MAX_TRIM_RECORDS,
                        },
                    )
                deleted += result.rowcount
        return deleted

    def _tail(self, key: tuple[str, int]) -> Tail:
        return self._tails.setdefault(key, Tail())


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


@asynccontextmanager
async def trimming(bus: PostgresBus, every_seconds: float) -> AsyncIterator[None]:
    """Keep the log within its retention while the context is open."""

    async def trim_for_ever() -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                if deleted := await bus.trim():
                    log.info("bus.trimmed", records=deleted)
            except Exception:
                log.exception("bus.trim_failed")

    async with background(trim_for_ever(), "bus-trim"):
        yield
