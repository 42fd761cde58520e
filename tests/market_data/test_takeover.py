"""The writer where the log is not in the database: what it finds there, what comes twice, what comes too late."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from market_data.feeds import SECOND, ManualClock, ManualFeed, made, ramp
from market_data.test_ingest import A, Writer, logged
from sqlalchemy import text

from algotrade.engine.records import Records
from algotrade.market_data import tick_log
from algotrade.market_data.postgres import PostgresLeases
from algotrade.market_data.store import Advance, Fenced
from algotrade.platform import failpoints
from algotrade.platform.bus import Message
from algotrade.platform.failpoints import FailpointError
from algotrade.platform.process import Platform
from algotrade.platform.ticks import to_batch
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1.events_pb2 import MarketDataUpdate

START = 1_700_000_000 * SECOND


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


def numbered(first: int, *prices: int) -> Records:
    ticks = made(*((START + (first + index) * SECOND, price) for index, price in enumerate(prices)))
    ticks["seq"] = np.arange(first, first + len(prices))
    return ticks


async def log_as(platform: Platform, epoch: int, ticks: Records) -> None:
    """Log ticks as a writer of an epoch does, without proof."""
    update = MarketDataUpdate(symbol=A, epoch=epoch, ticks=to_batch(ticks))
    await platform.bus.publish(MARKET_DATA_UPDATES, [Message(A, update.SerializeToString())])


async def test_a_writer_goes_on_where_the_last_one_ended(kafka_platform: Platform) -> None:
    for turn in range(2):
        writer = Writer(kafka_platform, ManualFeed(A, live=False))
        async with writer.running():
            assert writer.feed.resumed == {} or writer.feed.resumed[A].sequence == 5 * turn
            writer.feed.push(A, ramp(START + turn * 10 * SECOND, 5))
            await writer.reached(5 * turn + 5)
    assert (await logged(kafka_platform.bus, A))["seq"].tolist() == list(range(1, 11))


async def test_ticks_that_were_logged_before_a_crash_and_never_committed_count(
    kafka_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Writer(kafka_platform, ManualFeed(A, live=False))
    async with first.running():
        first.feed.push(A, ramp(START, 2))
        await first.reached(2)
    await log_as(kafka_platform, 1, numbered(3, 30, 40))  # and the lease knows nothing of it
    second = Writer(kafka_platform, ManualFeed(A, live=False))
    async with second.running():
        second.feed.push(A, made((START + 60 * SECOND, 77)))
        await second.reached(5)
        resume = second.feed.resumed[A]
    assert (resume.epoch, resume.sequence, resume.price) == (2, 4, 40)
    assert (await logged(kafka_platform.bus, A))["price"].tolist() == [1_000_000, 2_000_000, 30, 40, 77]
    third = Writer(kafka_platform, ManualFeed(A, live=False))
    async with third.running():
        third.feed.push(A, made((START + 90 * SECOND, 78)))
        await third.reached(6)


async def test_what_a_frozen_writer_logs_after_it_was_passed_over_is_dropped(kafka_platform: Platform) -> None:
    first = Writer(kafka_platform, ManualFeed(A, live=False))
    async with first.running():
        first.feed.push(A, ramp(START, 2))
        await first.reached(2)
    second = Writer(kafka_platform, ManualFeed(A, live=False))
    async with second.running():
        await log_as(kafka_platform, 1, numbered(3, 30, 40))  # the first one wakes, behind the second one's mark
        second.feed.push(A, made((START + 60 * SECOND, 77)))
        await second.reached(3)
    third = Writer(kafka_platform, ManualFeed(A, live=False))
    async with third.running():
        third.feed.push(A, made((START + 90 * SECOND, 78)))
        await third.reached(4)
    assert (await logged(kafka_platform.bus, A))["price"].tolist() == [1_000_000, 2_000_000, 77, 78]


async def test_a_writer_that_was_passed_over_shows_nothing_of_what_it_logs(kafka_platform: Platform) -> None:
    """It finds out behind the log, where it has logged some more: readers drop that, and its window never has it."""
    old, new = (Writer(kafka_platform, ManualFeed(A, live=False)) for _ in range(2))
    async with old.running() as old_task:
        old.feed.push(A, ramp(START, 2))
        await old.reached(2)
        async with new.running():
            old.feed.push(A, ramp(START + 10 * SECOND, 3))
            with pytest.raises(Fenced):
                await old_task
            new.feed.push(A, made((START + 10 * SECOND, 77)))
            await new.reached(3)
    assert (await logged(kafka_platform.bus, A))["price"].tolist() == [1_000_000, 2_000_000, 77]
    assert (await old.windows.newest(A, 99))["seq"].tolist() == [1, 2]


@pytest.mark.parametrize("point", ["ingest.before_commit", "ingest.committed"])
async def test_a_proof_that_fails_or_nobody_knows_of_is_given_again(kafka_platform: Platform, point: str) -> None:
    writer = Writer(kafka_platform, ManualFeed(A, live=False))
    async with writer.running():
        writer.feed.push(A, ramp(START, 3))
        await writer.reached(3)
        failpoints.arm(f"{point}:1:raise")
        try:
            writer.feed.push(A, ramp(START + 10 * SECOND, 2))
            await writer.reached(5)
        finally:
            failpoints.arm("")
    assert (await logged(kafka_platform.bus, A))["seq"].tolist() == [1, 2, 3, 4, 5]
    async with kafka_platform.database.connect() as connection:
        assert await connection.scalar(text("SELECT last_sequence FROM symbol_leases WHERE symbol = 'AAA'")) == 5


async def test_leases_learn_of_several_turns_at_once(kafka_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is away ticks go into the log, and wait to be shown."""
    leases, away = PostgresLeases(kafka_platform.database), asyncio.Event()
    proven = list[Advance]()

    async def advance(connection: Any, advances: Mapping[str, Advance]) -> bool:
        await away.wait()
        proven.append(advances[A])
        return await PostgresLeases.advance(leases, connection, advances)

    monkeypatch.setattr(leases, "advance", advance)
    writer = Writer(kafka_platform, ManualFeed(A, live=False), leases=leases)
    async with writer.running():
        for number in range(4):
            writer.feed.push(A, ramp(START + number * 10 * SECOND, 2))
            async with asyncio.timeout(20):
                while len(await logged(kafka_platform.bus, A)) < 2 * (number + 1):  # noqa: ASYNC110  (it reads Kafka)
                    await asyncio.sleep(0.01)
        assert len(await writer.windows.newest(A, 99)) == 0
        away.set()
        await writer.reached(8)
    assert [(one.before, one.after.sequence) for one in proven] == [(0, 2), (2, 8)]


async def test_a_commit_that_fails_after_the_ticks_were_logged_doubles_nothing(
    kafka_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(kafka_platform, ManualFeed(A, live=False))
    real, failures = kafka_platform.bus.publish, [FailpointError("once")]

    async def fails_once(*arguments: object) -> object:
        receipt = await real(*arguments)  # type: ignore[arg-type]
        if failures:
            raise failures.pop()
        return receipt

    monkeypatch.setattr(kafka_platform.bus, "publish", fails_once)
    async with writer.running():
        writer.feed.push(A, ramp(START, 3))
        await writer.reached(3)
        writer.feed.push(A, ramp(START + 10 * SECOND, 2))
        await writer.reached(5)
    assert (await logged(kafka_platform.bus, A))["seq"].tolist() == [1, 2, 3, 4, 5]
    assert not failures


async def test_a_record_that_is_in_the_log_twice_leads_no_search_astray(
    kafka_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick_log, "READ", 1)
    for first in (1, 3, 5, 7):
        await log_as(kafka_platform, 1, numbered(first, first, first + 1))
    await log_as(kafka_platform, 1, numbered(3, 3, 4))  # again, and late
    await log_as(kafka_platform, 1, numbered(9, 9, 10))
    for after in range(10):
        found = await logged(kafka_platform.bus, A, after)
        assert found["seq"].tolist() == list(range(after + 1, 11)), after
