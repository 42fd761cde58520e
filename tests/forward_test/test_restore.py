"""What a worker does beside the ticks does not hold them up: artefacts compile apart, checkpoints take turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import wasmtime
from forward_test.test_recovery import (
    EAGER,
    PATIENCE,
    START,
    TICK_SETTINGS,
    assert_as_expected,
    new_worker,
    run_out,
    walk,
    working,
)
from graphs import sma_cross, threshold
from market_data.feeds import SECOND, ManualFeed
from sqlalchemy.exc import OperationalError

from algotrade.engine import native
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.postgres_roster import PostgresRoster
from algotrade.forward_test.session import Progress
from algotrade.forward_test.shards import Shards
from algotrade.platform.process import Platform

MS = SECOND // 1000
STRATEGIES = [EAGER, sma_cross(2, 5), sma_cross(3, 7), threshold(102, 99), threshold(103, 98)]


async def test_artefacts_compile_off_the_event_loop(
    trader: Any, feed: ManualFeed, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await trader()
    sessions = [await ada.started(graph, "AAA", settings=TICK_SETTINGS) for graph in STRATEGIES]
    ticks = walk(1, 60)
    feed.push("AAA", ticks[:30])
    for session in sessions:
        await ada.at_tick(session, 30)
    compiled: list[threading.Thread] = []

    class Watched(wasmtime.Module):
        def __init__(self, engine: wasmtime.Engine, raw: bytes | str) -> None:
            if isinstance(raw, bytes):  # the fleet's own, in text, are small
                compiled.append(threading.current_thread())
            super().__init__(engine, raw)

    native.MODULES._kept.clear()  # as in a process that has just begun
    monkeypatch.setattr(wasmtime, "Module", Watched)
    feed.push("AAA", ticks[30:])
    await run_out(platform, ada, sessions[0], len(ticks))
    assert len(compiled) == len(STRATEGIES)
    assert threading.current_thread() not in compiled
    await assert_as_expected(ada, sessions[0], ticks)


class Unreachable(PostgresLedger):
    """Cannot read artefacts at first."""

    failures = 2

    async def module(self, artefact_hash: str) -> bytes:
        if self.failures:
            self.failures -= 1
            raise OperationalError("SELECT", None, ConnectionError("the connection is lost"))
        return await super().module(artefact_hash)


async def test_a_database_that_fails_during_a_restore_is_one_failure_and_tried_again(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    ada = await trader()
    sessions = [await ada.started(graph, "AAA", settings=TICK_SETTINGS) for graph in STRATEGIES]
    ticks = walk(2, 60)
    feed.push("AAA", ticks[:30])
    for session in sessions:
        await ada.at_tick(session, 30)
    ledger = Unreachable(platform.database)
    worker = new_worker(platform, ledger)
    async with working(worker):
        feed.push("AAA", ticks[30:])
        await ada.at_tick(sessions[0], len(ticks))
    assert ledger.failures == 0
    await assert_as_expected(ada, sessions[0], ticks)


class ByHand:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.ns = START

    def now_ns(self) -> int:
        return self.ns

    async def sleep_until(self, ts_ns: int) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(("commit_ms", "apart_ms"), [(0, 250), (150, 750), (1_000, 5_000)])
async def test_checkpoints_take_a_fifth_of_the_time_at_most(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, commit_ms: int, apart_ms: int
) -> None:
    """A round takes 50 ms, a commit as long as the case says; every row is due again after four seconds."""
    clock, begun = ByHand(), list[int]()
    ledger = PostgresLedger(platform.database)
    roster = PostgresRoster(platform.database, "worker")
    shards = Shards(ledger, roster, Changes(), clock, platform.metrics, checkpoint_seconds=4, stored=lambda: None)

    async def commit(progress: Sequence[Progress]) -> None:
        begun.append(clock.ns)
        clock.ns += commit_ms * MS

    monkeypatch.setattr(shards.lanes, "due", lambda before_ns, limit: [object()])
    monkeypatch.setattr(shards, "commit", commit)
    while clock.ns < START + 60 * SECOND:
        await shards.checkpoint()
        clock.ns += 50 * MS
    assert {later - one for one, later in pairwise(begun)} == {apart_ms * MS}


@pytest.mark.parametrize(("sessions", "most"), [(3, 10), (200, 25), (100_000, 500)])
async def test_checkpoints_come_in_parts_of_all(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, sessions: int, most: int
) -> None:
    """So each has had its turn after half of the time, and ticks wait for a few of them only."""
    counts = list[int]()
    ledger, roster = PostgresLedger(platform.database), PostgresRoster(platform.database, "worker")
    shards = Shards(ledger, roster, Changes(), ByHand(), platform.metrics, checkpoint_seconds=4, stored=lambda _: None)
    monkeypatch.setattr(type(shards.lanes), "sessions", sessions)
    monkeypatch.setattr(shards.lanes, "due", lambda before_ns, limit: counts.append(limit) or [])
    await shards.checkpoint()
    assert counts == [most]


async def test_the_rows_that_are_due_first_are_those_stored_longest_ago(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    ada = await trader()
    sessions = [await ada.started(graph, "AAA", settings=TICK_SETTINGS) for graph in STRATEGIES]
    ticks = walk(3, 60)
    ticks["price"][30:] = ticks["price"][30]  # nothing happens any more
    feed.push("AAA", ticks[:30])
    for session in sessions:
        await ada.at_tick(session, 30)
    worker = new_worker(platform, PostgresLedger(platform.database), checkpoint_seconds=3600)
    lanes = worker._shards.lanes
    async with working(worker), asyncio.timeout(PATIENCE):
        for tick in range(30, 60):
            feed.push("AAA", ticks[tick : tick + 1])
        while True:
            if lanes.sessions == len(sessions) and all(lane.last_tick[1] == len(ticks) for lane in lanes):
                break
            await asyncio.sleep(0.01)
    due = lanes.due(platform.clock.now_ns())
    stored = [lanes._members[one.session.session_id].stored_ns for one in due]
    assert len(due) > 1
    assert stored == sorted(stored)
    assert [one.session for one in lanes.due(platform.clock.now_ns(), 1)] == [due[0].session]
    assert lanes.due(stored[0] - 1) == []
    lanes.keep(due[0])
    assert [one.session for one in lanes.due(platform.clock.now_ns())] == [one.session for one in due[1:]]
