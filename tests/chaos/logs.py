"""What the bus holds, read without the bus: from its table, or from Kafka by a consumer of the test's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.platform.topics import MARKET_DATA_UPDATES, PORTFOLIO_UPDATES, STRATEGY_SIGNALS, TRADE_EXECUTIONS, Topic

READ: Final = (MARKET_DATA_UPDATES, TRADE_EXECUTIONS, STRATEGY_SIGNALS, PORTFOLIO_UPDATES)
FETCH_MS: Final = 5_000


class Logged(NamedTuple):
    """A record."""

    partition: int
    offset: int
    key: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """All records of some topics, each partition in order."""

    topics: Mapping[str, Sequence[Logged]]
    once: bool  # whether what is told of a transaction is there once, and what an old writer writes is not there at all


class LogReader(Protocol):
    """Where the log is."""

    async def contents(self, connection: AsyncConnection) -> Contents:
        """Read it whole."""
        ...

    async def ends(self, connection: AsyncConnection) -> Mapping[int, int]:
        """Return the next offset of each partition of market data."""
        ...


class TableLog:
    """The log in the database."""

    async def contents(self, connection: AsyncConnection) -> Contents:
        query = text("""
            SELECT partition, "offset", key, payload FROM bus_log WHERE topic = :topic ORDER BY partition, "offset"
        """)
        topics = {}
        for topic in READ:
            found = await connection.execute(query, {"topic": topic.name})
            topics[topic.name] = [Logged(*row[:3], bytes(row.payload)) for row in found]
        return Contents(topics, once=True)

    async def ends(self, connection: AsyncConnection) -> Mapping[int, int]:
        query = text("SELECT partition, next_offset FROM bus_partitions WHERE topic = :topic")
        found = await connection.execute(query, {"topic": MARKET_DATA_UPDATES.name})
        return {row.partition: row.next_offset for row in found}


class KafkaLog:
    """The log in Kafka."""

    def __init__(self, servers: str) -> None:
        """Take where it is."""
        self._servers = servers

    async def contents(self, connection: AsyncConnection) -> Contents:
        del connection
        return Contents({topic.name: await self._read(topic) for topic in READ}, once=False)

    async def ends(self, connection: AsyncConnection) -> Mapping[int, int]:
        del connection
        async with self._consumer() as consumer:
            ends = await consumer.end_offsets(_places(MARKET_DATA_UPDATES))
        return {place.partition: end for place, end in ends.items()}

    async def _read(self, topic: Topic) -> list[Logged]:
        found: list[Logged] = []
        places = _places(topic)
        async with self._consumer() as consumer:
            ends = await consumer.end_offsets(places)
            for place in places:
                if ends[place]:
                    consumer.assign([place])
                    await consumer.seek_to_beginning(place)
                while await consumer.position(place) < ends[place] if ends[place] else False:
                    got = await consumer.getmany(place, timeout_ms=FETCH_MS)
                    found += [
                        Logged(one.partition, one.offset, (one.key or b"").decode(), one.value or b"")
                        for one in got.get(place, ())
                    ]
        return found

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(bootstrap_servers=self._servers, group_id=None, enable_auto_commit=False)


def _places(topic: Topic) -> list[TopicPartition]:
    return [TopicPartition(topic.name, partition) for partition in range(topic.partitions)]
