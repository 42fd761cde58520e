"""The event bus: topics of partitions, each an ordered log that readers read from positions of their own.

A record's offset is dense and final: within a partition, order of offset is order of commit, and a reader that sees
offset n has seen or can still read every one before it. Nothing is pushed: readers pull batches at their own speed,
so a slow reader costs only itself.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.platform import limits
from algotrade.platform.caller import CORRELATION_ID, TRACEPARENT, TRACEPARENT_KEY
from algotrade.platform.topics import PROTOBUF, Topic

CONTENT_TYPE: Final = "content-type"
CORRELATION: Final = "correlation-id"


@dataclass(frozen=True, slots=True)
class Message:
    """What a producer hands over. Messages of one key stay in order."""

    key: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: protobuf_headers())


class Record(NamedTuple):
    """A message in the log. A tuple, since a hundred thousand of them are made in a second."""

    topic: str
    partition: int
    offset: int
    key: str
    payload: bytes
    headers: Mapping[str, str]
    write_time_ns: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a partition holds: offsets from ``earliest`` up to but not including ``end``."""

    earliest: int
    end: int


class BusError(Exception):
    """The bus cannot do what was asked."""


class OffsetOutOfRange(BusError):
    """A position is older than what is kept, or newer than what was written."""

    def __init__(self, topic: str, partition: int, offset: int, bounds: Bounds) -> None:
        """Say what was asked and what there is."""
        super().__init__(f"{topic}[{partition}] holds offsets {bounds.earliest} to {bounds.end}, not {offset}")
        self.topic, self.partition, self.offset, self.bounds = topic, partition, offset, bounds


class UnknownPartition(BusError):
    """There is no such topic or partition."""


class TopicMismatch(BusError):
    """A topic exists with another number of partitions."""


class BusRefused(BusError):
    """The bus does not let this program in, or not do this: trying again does not help."""


class BusAway(BusError, ConnectionError):
    """The bus does not answer. What was to be published may be in the log all the same."""


class Receipt(Protocol):
    """Proof of a publish in a caller's transaction, to be announced after its commit."""

    @property
    def records(self) -> Sequence[Record]:
        """The records as they stand in the log, in the order given; none where they are yet to come there."""
        ...


class Bus(Protocol):
    """The port."""

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """Make topics exist; TopicMismatch if one exists with another number of partitions."""
        ...

    async def publish(self, topic: Topic, messages: Sequence[Message]) -> Sequence[Record]:
        """Append messages, each to the partition of its key; return them as logged.

        Those of one partition stay together, all or none. After BusAway nobody knows which are in the log: who tries
        again may append them twice, one after the other.
        """
        ...

    async def read(self, topic: Topic, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Return up to ``limit`` records from an offset on, none at the end; OffsetOutOfRange outside the log."""
        ...

    async def bounds(self, topic: Topic, partition: int) -> Bounds:
        """Return what a partition holds now."""
        ...

    async def ends(self, topic: Topic) -> dict[int, int]:
        """Return for each partition the offset behind its newest record: where a reader of what is new begins."""
        ...

    def subscribe(
        self, topic: Topic, positions: Mapping[int, int], limit: int
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield batches of one partition each, for ever, from explicit positions {partition: offset}."""
        ...


class TransactionalBus(Bus, Protocol):
    """A bus that can tell of a transaction."""

    @property
    def in_database(self) -> bool:
        """Whether the log lies in the database, so that the two can never differ."""
        ...

    async def publish_in(self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]) -> Receipt:
        """Have messages in the log once the caller's transaction commits, and never if it does not.

        Where the log is in the database they are there with the commit, once. Where it is not they are there soon
        after, at least once, in the order of the commits that hold the same lock.
        """
        ...

    async def publish_ahead(self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]) -> Receipt:
        """Append as the last act of the caller's transaction before its commit.

        Where the log is not in the database they are there whether or not it commits then: the caller must find out,
        or tell the same again, and readers must know what they have seen by what is in it.
        """
        ...

    def announce(self, receipt: Receipt) -> None:
        """Wake the readers, after the commit. Forgetting it costs them a poll interval, nothing else."""
        ...


def protobuf_headers() -> dict[str, str]:
    """Return the headers of a protobuf payload, with the running call's correlation id and trace."""
    return caused_by(CORRELATION_ID.get(), TRACEPARENT.get())


def caused_by(correlation_id: str, traceparent: str = "") -> dict[str, str]:
    """Return the headers of a protobuf payload that tells of what a call with this id has brought about."""
    headers = {CONTENT_TYPE: PROTOBUF, CORRELATION: correlation_id, TRACEPARENT_KEY: traceparent}
    return {name: value for name, value in headers.items() if value}


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key: Kafka's choice (murmur2 of its UTF-8 bytes), the same for ever and everywhere."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of bytes, unsigned, with the seed Kafka's producers use."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        value = value * multiplier & mask ^ word
    if tail := data[whole:]:
        value = (value ^ int.from_bytes(tail, "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return value ^ value >> 15


def check(topic: Topic, messages: Sequence[Message]) -> None:
    """Refuse messages no adapter would take; ValueError names the first."""
    for index, message in enumerate(messages):
        if len(message.key.encode()) > limits.MAX_KEY_BYTES:
            raise ValueError(f"{topic.name}: message {index}: the key is longer than {limits.MAX_KEY_BYTES} bytes")
        if len(message.payload) > limits.MAX_PAYLOAD_BYTES:
            raise ValueError(f"{topic.name}: message {index}: the payload is over {limits.MAX_PAYLOAD_BYTES} bytes")
