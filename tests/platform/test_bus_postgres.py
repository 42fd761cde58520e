"""What only the adapter over the database can do: publish within a transaction, and trim."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.bus import Bounds, Message, OffsetOutOfRange, murmur2, partition_of
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import HOUR, TOPICS, Topic

KEEPS_FIVE = Topic("keeps-five", 1, HOUR, retention_records=5)


def batch(count: int) -> list[Message]:
    return [Message("k", str(number).encode()) for number in range(count)]


@pytest.fixture
async def log(database: AsyncEngine) -> PostgresBus:
    bus = PostgresBus(database, Metrics(), poll_seconds=0.02)
    await bus.create_topics([KEEPS_FIVE])
    return bus


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_the_hash_of_a_key_is_kafkas(key: str, expected: int) -> None:
    assert murmur2(key.encode()) == expected & 0xFFFFFFFF


def test_the_partition_of_a_key_is_for_ever() -> None:
    assert [partition_of(symbol, 8) for symbol in ("BTC-USD", "ETH-USD", "AAPL", "")] == [1, 0, 1, 1]


def test_topics_have_distinct_names() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS) == 10


async def test_a_publish_inside_a_transaction_lives_and_dies_with_it(log: PostgresBus, database: AsyncEngine) -> None:
    async with database.connect() as connection:
        await connection.begin()
        await log.publish_in(connection, KEEPS_FIVE, batch(2))
        await connection.rollback()
    assert await log.bounds(KEEPS_FIVE, 0) == Bounds(0, 0)
    async with database.begin() as connection:
        receipt = await log.publish_in(connection, KEEPS_FIVE, batch(2))
    log.announce(receipt)
    assert [record.offset for record in receipt.records] == [0, 1]
    assert list(await log.read(KEEPS_FIVE, 0, 0, 9)) == list(receipt.records)


async def test_an_unannounced_commit_is_found_all_the_same(log: PostgresBus, database: AsyncEngine) -> None:
    await log.publish(KEEPS_FIVE, [Message("k", b"first")])
    async with asyncio.timeout(20), aclosing(log.subscribe(KEEPS_FIVE, {0: 0})) as batches:
        assert [record.payload for record in await anext(batches)] == [b"first"]
        async with database.begin() as connection:
            await log.publish_in(connection, KEEPS_FIVE, [Message("k", b"second")])
        assert [record.payload for record in await anext(batches)] == [b"second"]
        await log.publish(KEEPS_FIVE, [Message("k", b"third")])
        assert [record.payload for record in await anext(batches)] == [b"third"]


async def test_an_uncommitted_record_is_not_seen(log: PostgresBus, database: AsyncEngine) -> None:
    async with database.connect() as connection:
        await connection.begin()
        await log.publish_in(connection, KEEPS_FIVE, batch(1))
        assert list(await log.read(KEEPS_FIVE, 0, 0, 9)) == []
        await connection.commit()
    assert len(await log.read(KEEPS_FIVE, 0, 0, 9)) == 1


async def test_trimming_keeps_the_newest_records(log: PostgresBus, database: AsyncEngine) -> None:
    await log.publish(KEEPS_FIVE, batch(12))
    assert await log.trim([KEEPS_FIVE]) == 7
    assert await log.bounds(KEEPS_FIVE, 0) == Bounds(7, 12)
    assert await log.trim([KEEPS_FIVE]) == 0
    fresh = PostgresBus(database, Metrics())
    assert [record.offset for record in await fresh.read(KEEPS_FIVE, 0, 7, 9)] == [7, 8, 9, 10, 11]
    with pytest.raises(OffsetOutOfRange) as caught:
        await fresh.read(KEEPS_FIVE, 0, 6, 9)
    assert caught.value.bounds == Bounds(7, 12)
    [next_record] = await log.publish(KEEPS_FIVE, batch(1))
    assert next_record.offset == 12


async def test_trimming_drops_what_is_too_old(log: PostgresBus, database: AsyncEngine) -> None:
    await log.publish(KEEPS_FIVE, batch(4))
    async with database.begin() as connection:
        await connection.execute(
            text("""UPDATE bus_log SET write_time = write_time - interval '2 hours'
                    WHERE topic = 'keeps-five' AND "offset" < 3""")
        )
    assert await log.trim([KEEPS_FIVE]) == 3
    assert await log.bounds(KEEPS_FIVE, 0) == Bounds(3, 4)
