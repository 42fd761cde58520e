"""Readers of Kafka's log: one that follows the ends of partitions for the whole process, some that read elsewhere.

None of them is in a group or commits an offset: positions are explicit, and their owners keep them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from algotrade.platform import limits
from algotrade.platform.background import end
from algotrade.platform.bus import Bounds, BusAway, OffsetOutOfRange, Record
from algotrade.platform.bus_tail import Tail, Waiter
from algotrade.platform.kafka import Cluster, kafka_errors
from algotrade.platform.log import logger

log = logger(__name__)

RETRY_SECONDS: Final = 1.0
LONG_POLL_MS: Final = 250  # a request without news; a partition that is joined waits for it to end


class Seekers:
    """Reads from anywhere in the log, a few at a time."""

    def __init__(self, cluster: Cluster) -> None:
        """Begin without a connection."""
        self._cluster = cluster
        self._room = asyncio.Semaphore(limits.KAFKA_READERS)
        self._idle: list[_Seeker] = []
        self._asker: AIOKafkaConsumer | None = None
        self._opening = asyncio.Lock()

    async def bounds(self, partition: TopicPartition) -> Bounds:
        """Return what a partition, which must exist, holds now."""
        with kafka_errors(f"{partition.topic}[{partition.partition}]"):
            asker = await self._asking()
            first, end = await asyncio.gather(asker.beginning_offsets([partition]), asker.end_offsets([partition]))
        return Bounds(first[partition], end[partition])

    async def ends(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the offsets behind the newest records."""
        with kafka_errors("the ends of topics"):
            asker = await self._asking()
            found: Mapping[TopicPartition, int] = await asker.end_offsets(list(partitions))
        return found

    async def read(self, partition: TopicPartition, offset: int, limit: int) -> tuple[list[Record], int]:
        """Return up to so many records, and where the log ends now. Raises OffsetOutOfRange, BusAway."""
        async with self._room:
            seeker = self._take(partition, offset)
            if seeker is None:
                with kafka_errors("Kafka"):
                    seeker = _Seeker(self._cluster, await _consumer(self._cluster, limits.MAX_PAYLOAD_BYTES))
            try:
                end = seeker.known_end(partition, offset)
                if end is None:
                    bounds = await self.bounds(partition)
                    if not bounds.earliest <= offset <= bounds.end:
                        raise self._outside(partition, offset, bounds)
                    end = bounds.end
                records = await seeker.read(partition, offset, min(limit, end - offset))
            except OffsetOutOfRangeError:  # trimmed while we read
                bounds = await self.bounds(partition)
                raise self._outside(partition, offset, bounds) from None
            finally:
                self._idle.append(seeker)
            return records, end

    def _outside(self, partition: TopicPartition, offset: int, bounds: Bounds) -> OffsetOutOfRange:
        topic = partition.topic.removeprefix(self._cluster.prefix)
        return OffsetOutOfRange(topic, partition.partition, offset, bounds)

    async def close(self) -> None:
        """Close every connection."""
        for consumer in [seeker.consumer for seeker in self._idle] + ([self._asker] if self._asker else []):
            await consumer.stop()
        self._idle, self._asker = [], None

    def _take(self, partition: TopicPartition, offset: int) -> _Seeker | None:
        """Take the reader that stands at a place already, or else the one that has rested for longest."""
        for seeker in self._idle:
            if seeker.place == (partition, offset):
                self._idle.remove(seeker)
                return seeker
        return self._idle.pop(0) if len(self._idle) >= limits.KAFKA_READERS else None

    async def _asking(self) -> AIOKafkaConsumer:
        async with self._opening:
            if self._asker is None:
                self._asker = await _consumer(self._cluster, limits.MAX_PAYLOAD_BYTES)
            return self._asker


class _Seeker:
    """A consumer of one partition at a time, and the place it stands at."""

    def __init__(self, cluster: Cluster, consumer: AIOKafkaConsumer) -> None:
        self._cluster = cluster
        self.consumer = consumer
        self.place: tuple[TopicPartition, int] | None = None

    def known_end(self, partition: TopicPartition, offset: int) -> int | None:
        """Return an end of the log behind an offset if it is known without asking."""
        if self.place != (partition, offset):
            return None
        end: int | None = self.consumer.highwater(partition)
        return end if end is not None and end > offset else None

    async def read(self, partition: TopicPartition, offset: int, count: int) -> list[Record]:
        """Return so many records, or fewer where they are large. Raises OffsetOutOfRangeError, BusAway."""
        if count and self.place != (partition, offset):
            self.consumer.assign([partition])
            self.consumer.seek(partition, offset)
        found: list[Record] = []
        size = 0
        self.place = None  # until it is known again, should this be cut short
        while len(found) < count and size < limits.MAX_FETCH_BYTES:
            with kafka_errors(f"{partition.topic}[{partition.partition}]"):
                got = await self.consumer.getmany(
                    partition, timeout_ms=self._cluster.milliseconds, max_records=count - len(found)
                )
            if not (records := got.get(partition)):
                raise BusAway(f"{partition.topic}[{partition.partition}]: Kafka does not give what it has")
            found += self._cluster.records(records)
            size += sum(len(one.value) for one in records)
        if found:
            self.place = (partition, found[-1].offset + 1)
        return found


class Follower:
    """Follows the ends of partitions that somebody waits at, with one consumer, and keeps their newest records."""

    def __init__(self, cluster: Cluster, seekers: Seekers) -> None:
        """Begin with nobody waiting."""
        self._cluster = cluster
        self._seekers = seekers
        self._tails: dict[TopicPartition, Tail] = {}
        self._positions: dict[TopicPartition, int] = {}  # of those that are followed: what is read next
        self._changed = asyncio.Event()
        self._joined = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None

    def tail(self, partition: TopicPartition) -> tuple[Tail, int] | None:
        """Return the newest records of a partition that is followed, and the offset behind them."""
        if partition not in self._positions:
            return None
        return self._tails[partition], self._positions[partition]

    @contextmanager
    def waiting(self, partitions: Sequence[TopicPartition]) -> Iterator[Waiter]:
        """Have partitions followed while the context is open; see `joined`."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="kafka-follower")
        waiter = Waiter()
        for partition in partitions:
            self._tails.setdefault(partition, Tail(limits.KAFKA_TAIL_RECORDS)).waiters.add(waiter)
        self._changed.set()
        try:
            yield waiter
        finally:
            for partition in partitions:
                tail = self._tails[partition]
                tail.waiters.discard(waiter)
                if not tail.waiters:
                    del self._tails[partition]
                    self._positions.pop(partition, None)
                    self._changed.set()

    async def joined(self, partitions: Sequence[TopicPartition]) -> None:
        """Return when partitions are followed: what is written from now on wakes. Raises BusAway."""
        try:
            async with asyncio.timeout(2 * self._cluster.seconds):
                while not all(partition in self._positions for partition in partitions):
                    self._joined.clear()
                    await self._joined.wait()
        except TimeoutError:
            raise BusAway(f"{partitions[0].topic}: cannot be followed: {self.failure or 'no answer'}") from None

    async def close(self) -> None:
        """Follow nothing any more."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:
                self.failure = error
                log.warning("kafka.follower_failed", error=repr(error))
                self._forget(self._tails)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        with kafka_errors("Kafka"):
            consumer = await _consumer(self._cluster, limits.MAX_FETCH_BYTES)
        changing: asyncio.Task[bool] = asyncio.create_task(self._changed.wait())
        fetching: asyncio.Task[Mapping[TopicPartition, list[ConsumerRecord]]] | None = None
        try:
            while True:
                if changing.done():
                    self._changed.clear()
                    changing = asyncio.create_task(self._changed.wait())
                    if fetching is not None:
                        fetching.cancel()  # it only waits: what has come stays with the consumer
                        fetching = None
                    await self._assign(consumer)
                if fetching is None and self._positions:
                    fetching = asyncio.create_task(consumer.getmany(timeout_ms=self._cluster.milliseconds))
                tasks = {task for task in (changing, fetching) if task is not None}
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if fetching is not None and fetching.done():
                    try:
                        self._take(fetching.result())
                    except OffsetOutOfRangeError as error:  # the log has been cut: its readers find out by themselves
                        self._forget(error.args[0])
                        self._changed.set()
                    fetching = None
        finally:
            for task in (changing, fetching):
                if task is not None:
                    task.cancel()
            await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        """Follow what is waited for and nothing else; begin where the log of what is new ends now."""
        new = [partition for partition in self._tails if partition not in self._positions]
        if new:
            ends = await self._seekers.ends(new)
            for partition in new:
                if partition in self._tails:
                    self._positions[partition] = ends[partition]
        consumer.assign(list(self._positions))
        for partition, offset in self._positions.items():
            consumer.seek(partition, offset)
        self.failure = None
        self._joined.set()

    def _take(self, got: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for partition, records in got.items():
            if partition in self._positions and records[0].offset >= self._positions[partition]:
                tail = self._tails[partition]
                tail.extend(self._cluster.records(records))
                self._positions[partition] = records[-1].offset + 1
                tail.wake(partition.partition)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Have partitions joined anew, and those who wait look for themselves."""
        for partition in partitions:
            self._positions.pop(partition, None)
            if partition in self._tails:
                self._tails[partition].clear()
                self._tails[partition].wake(partition.partition)
        self._changed.set()


async def _consumer(cluster: Cluster, partition_bytes: int) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        **cluster.options(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=LONG_POLL_MS,
        fetch_max_bytes=limits.MAX_FETCH_BYTES,
        max_partition_fetch_bytes=partition_bytes,
    )
    await consumer.start()
    return consumer
