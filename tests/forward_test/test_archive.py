"""What a session has seen outlives the log: it is replayed, and gone on with, from the archive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from forward_test.test_recovery import (
    EAGER,
    TICK_SETTINGS,
    assert_as_expected,
    logged,
    new_worker,
    run_out,
    walk,
    working,
)
from market_data.feeds import ManualFeed
from sqlalchemy import text

from algotrade.forward_test.archive import Archivist
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.postgres_archive import PostgresArchive
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.postgres_proofs import PostgresProofs
from algotrade.forward_test.source import Source
from algotrade.forward_test.verify import Certificate, Verdict, Verifier
from algotrade.platform import limits
from algotrade.platform.bus import partition_of
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1 import forward_test_service_pb2 as pb

PARTITION = partition_of("AAA", MARKET_DATA_UPDATES.partitions)
Push = Callable[[int, int], Any]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Leave the archive to the tests."""
    return settings.model_copy(update={"archive_poll_seconds": 3600.0})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a block be four records."""
    monkeypatch.setattr(limits, "ARCHIVED_RECORDS", 4)


@pytest.fixture
def fresh(platform: Platform) -> PostgresBus:
    """Return the bus without records in memory."""
    return PostgresBus(platform.database, platform.metrics, 0.02)


@pytest.fixture
def archivist(platform: Platform) -> Archivist:
    archive = PostgresArchive(platform.database)
    return Archivist(archive, platform.bus, platform.clock, after_seconds=0, every_seconds=1)


@pytest.fixture
def push(feed: ManualFeed, platform: Platform) -> Push:
    """Return ``await push(first, end)``: log these ticks of the walk, one a record."""
    ticks = walk(11, 400)

    async def one_by_one(first: int, end: int) -> None:
        for index in range(first, end):
            feed.push("AAA", ticks[index : index + 1])
            await logged(platform, index + 1)

    return one_by_one


async def archived(archivist: Archivist) -> None:
    while await archivist.turn(PARTITION):
        pass


async def segments(platform: Platform) -> list[tuple[str, int, int, int]]:
    query = text("SELECT symbol, first_offset, end_offset, ticks FROM tick_segments ORDER BY symbol, first_offset")
    async with platform.database.connect() as connection:
        return [(row[0], row[1], row[2], row[3]) for row in await connection.execute(query)]


async def certificate_of(platform: Platform, fresh: PostgresBus, ada: Any, session: pb.Session) -> Certificate:
    source = Source(fresh, PostgresArchive(platform.database))
    verifier = Verifier(PostgresProofs(platform.database), source, seconds=30, at_once=1)
    stored = await PostgresSessionStore(platform.database).get(ada.user_id, session.session_id)
    assert stored is not None
    return await verifier.verify(stored)


async def trim(bus: PostgresBus, records: int) -> int:
    await bus.trim([replace(MARKET_DATA_UPDATES, retention_records=records)])
    return (await bus.bounds(MARKET_DATA_UPDATES, PARTITION)).earliest


async def test_a_session_is_verified_when_the_log_holds_nothing_of_it(
    trader: Any, push: Push, platform: Platform, fresh: PostgresBus, archivist: Archivist
) -> None:
    ada = await trader()
    probe = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    await push(0, 20)
    await ada.at_tick(probe, 20)
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)  # it has the first 20 for its warm-up
    await push(20, 60)
    await ada.at_tick(session, 60)
    await ada.stop(session, pb.STOP_MODE_KEEP)
    before = await certificate_of(platform, fresh, ada, session)
    await archived(archivist)
    assert [one[1:] for one in await segments(platform)] == [(at, at + 4, 4) for at in range(0, 60, 4)]
    assert await trim(fresh, 1) == 59
    certificate = await certificate_of(platform, fresh, ada, session)
    assert certificate.verdict is Verdict.IDENTICAL, certificate
    assert certificate == before
    assert (certificate.segments[0].ticks, certificate.segments[0].first_tick[0]) == (60, 1)

    async with platform.database.begin() as connection:  # without a piece of it there is no proof
        await connection.execute(text("DELETE FROM tick_segments WHERE first_offset = 8"))
    assert (await certificate_of(platform, fresh, ada, session)).verdict is Verdict.INCOMPLETE


async def test_a_session_goes_on_from_the_archive_and_misses_nothing(
    trader: Any, push: Push, platform: Platform, fresh: PostgresBus, archivist: Archivist
) -> None:
    """No worker runs while the log forgets what follows the session's row: the archive has it."""
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    await push(0, 18)
    await run_out(platform, ada, session, 18)
    await push(18, 80)
    await archived(archivist)
    assert await trim(fresh, 3) == 77
    worker = new_worker(replace(platform, bus=fresh), PostgresLedger(platform.database))
    worker._source = Source(fresh, PostgresArchive(platform.database))
    async with working(worker):
        session = await ada.at_tick(session, 80)
    assert (session.status, session.segment) == (pb.SESSION_STATUS_RUNNING, 1)
    await assert_as_expected(ada, session, walk(11, 400)[:80])
    assert (await certificate_of(platform, fresh, ada, session)).verdict is Verdict.IDENTICAL


async def test_the_log_keeps_what_is_not_archived_yet_though_not_for_ever(
    trader: Any, push: Push, platform: Platform, fresh: PostgresBus, archivist: Archivist
) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    await push(0, 10)
    await ada.at_tick(session, 10)
    assert await archivist.turn(PARTITION)
    assert await trim(fresh, 5) == 4  # the archive has come to 4; without it the log would begin at 5
    assert await trim(fresh, 4) == 4
    await push(10, 20)
    assert await trim(fresh, 4) == 12  # twice as many as it should keep, no more
    await archived(archivist)  # what was in between is in neither: it begins again where the log does
    assert (await segments(platform))[1:] == [("AAA", 12, 16, 4), ("AAA", 16, 20, 4)]
    assert (await certificate_of(platform, fresh, ada, session)).verdict is Verdict.INCOMPLETE


async def test_only_what_sessions_have_seen_is_kept_and_as_long_as_they_are_there(
    trader: Any, push: Push, feed: ManualFeed, platform: Platform, archivist: Archivist
) -> None:
    ada = await trader()
    await push(0, 12)
    await archived(archivist)
    assert await segments(platform) == []  # nobody has seen it, and the position has passed it
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)  # its warm-up begins at 0
    await push(12, 24)
    await ada.at_tick(session, 24)
    await archived(archivist)
    assert len(await segments(platform)) == 6
    other = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    await push(24, 28)
    await ada.at_tick(other, 28)
    await ada.stop(other, pb.STOP_MODE_KEEP)
    await archived(archivist)
    whole = await segments(platform)
    assert [one[1] for one in whole] == list(range(0, 28, 4))
    await archived(archivist)
    assert (await archivist.tidy(), await segments(platform)) == (0, whole)
    await ada.stop(session, pb.STOP_MODE_KEEP)
    await push(28, 36)
    await archived(archivist)
    assert await segments(platform) == whole  # both have ended before these
    for gone in (session, other):
        await ada.sessions.DeleteSession(pb.DeleteSessionRequest(session_id=gone.session_id))
        removed = await archivist.tidy() + await archivist.tidy()
    assert (removed, await segments(platform)) == (7, [])


async def test_crashes_and_repeats_leave_no_hole(
    trader: Any, push: Push, platform: Platform, fresh: PostgresBus, archivist: Archivist
) -> None:
    """Two archivists at once, the position taken back, ends in the middle: the same segments come of it."""
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    await push(0, 40)
    await ada.at_tick(session, 40)
    second = Archivist(PostgresArchive(platform.database), fresh, platform.clock, after_seconds=0, every_seconds=1)
    rng = np.random.default_rng(5)
    for _ in range(12):
        turns = [asyncio.ensure_future(one.turn(PARTITION)) for one in (archivist, second)]
        if rng.random() < 0.5:
            await asyncio.sleep(0)
            turns[0].cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        if rng.random() < 0.3:
            async with platform.database.begin() as connection:
                back = text("UPDATE bus_holds SET next_offset = greatest(0, next_offset - 6)")
                await connection.execute(back)
    await archived(archivist)
    assert await trim(fresh, 1) == 39
    certificate = await certificate_of(platform, fresh, ada, session)
    assert certificate.verdict is Verdict.IDENTICAL, certificate
