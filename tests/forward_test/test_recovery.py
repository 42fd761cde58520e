"""A worker that dies, fails or is passed over loses nothing and does nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graphs import drawing
from market_data.feeds import SECOND, ManualFeed
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from algotrade.engine import fixed
from algotrade.engine.compile import compile_strategy
from algotrade.engine.native import TrapError
from algotrade.engine.records import TICK, Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import Trade, TradeBook
from algotrade.forward_test import follow, lane
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.follow import Worker
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.postgres_archive import PostgresArchive
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.postgres_proofs import PostgresProofs
from algotrade.forward_test.postgres_roster import PostgresRoster
from algotrade.forward_test.session import Applied, Commit, Event, Held, Progress, shard_of
from algotrade.forward_test.shards import SHARDS
from algotrade.forward_test.source import Source
from algotrade.forward_test.store import Fenced
from algotrade.forward_test.verify import Verdict, Verifier
from algotrade.platform import limits
from algotrade.platform.bus import Message
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.process import Platform
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1 import forward_test_service_pb2 as pb

START = 1_700_000_000 * SECOND
PATIENCE = 30
TICK_SETTINGS = {"interval": "tick"}
# Wants to buy at every tick, so that every tick has an event; sells where the means cross.
EAGER = drawing(
    {
        "p": "price",
        "always": ("compare", {"op": ">", "value": 0}),
        "b": "buy",
        "f": ("sma", {"timeperiod": 2}),
        "s": ("sma", {"timeperiod": 5}),
        "dn": "crossunder",
        "x": "sell",
    },
    "p>always.a always>b p>f.input p>s.input f>dn.a s>dn.b dn>x",
)


class BrittleLedger(PostgresLedger):
    """Breaks at one commit: before it, or after it so that nobody knows of it."""

    def __init__(self, engine: Any, at: int, *, after: bool, error: Exception | None = None) -> None:
        super().__init__(engine)
        self._left = at
        self._after = after
        self._error = error
        self.broken = asyncio.Event()
        self.mended = asyncio.Event()

    async def commit(self, epochs: Mapping[int, int], commit: Commit) -> None:
        self._left -= 1
        if self._left != 0:
            await super().commit(epochs, commit)
            return
        if self._after:
            await super().commit(epochs, commit)
        self.broken.set()
        if self._error is not None:
            raise self._error
        await self.mended.wait()
        if not self._after:
            await super().commit(epochs, commit)


def new_worker(
    platform: Platform, ledger: PostgresLedger, checkpoint_seconds: float = 0, name: str | None = None
) -> Worker:
    """Return a worker that takes the place of the platform's own, or beside it one of another name."""
    return Worker(
        ledger,
        PostgresRoster(platform.database, name or platform.settings.worker_name),
        platform.bus,
        Changes(),
        platform.clock,
        platform.metrics,
        checkpoint_seconds=checkpoint_seconds,
        poll_seconds=0.02,
        lease_seconds=platform.settings.worker_lease_seconds,
    )


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker once it has shards; at the end of the context it is killed, wherever it is."""
    task = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                if worker.shards or task.done():
                    break
                await asyncio.sleep(0.01)
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def walk(seed: int, count: int) -> Records:
    """A jagged walk of prices, a tick a second."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(count, TICK)
    ticks["ts"] = START + np.arange(count) * SECOND
    ticks["price"] = np.rint((100 + np.cumsum(rng.normal(0, 1, count)).clip(-90)) * fixed.SCALE)
    ticks["size"] = 1.0
    return ticks


def expected(ticks: Records) -> tuple[Records, list[Trade]]:
    """What the engine alone makes of ticks: events, and closed trades with the open one last."""
    artefact = compile_strategy(EAGER).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    sessions.add(RunSettings.parse(TICK_SETTINGS))
    numbered = ticks.copy()
    numbered["seq"] = np.arange(1, len(ticks) + 1)
    events = sessions.step(numbered)
    book = TradeBook(artefact.manifest.nodes)
    book.apply(events)
    return events, book.closed + ([book.open] if book.open else [])


async def assert_as_expected(ada: Any, session: pb.Session, ticks: Records) -> None:
    events, trades = expected(ticks)
    assert len(trades) > 5
    got = await ada.events(session, len(events))
    assert [(e.sequence, e.tick_sequence, e.kind, e.cash) for e in got] == [
        (int(e["number"]), int(e["tick_seq"]), int(e["kind"]), fixed.text(e["cash"])) for e in events
    ]
    assert [(t.quantity, t.entry_price, t.exit_price, t.pnl) for t in await ada.trades(session)] == [
        (
            fixed.text(t.quantity),
            fixed.text(t.entry_price),
            "" if t.exit_price is None else fixed.text(t.exit_price),
            "" if t.pnl is None else fixed.text(t.pnl),
        )
        for t in trades
    ]
    now = await ada.get(session)
    assert now.last_sequence == len(events)
    assert now.total_trades == sum(t.pnl is not None for t in trades)
    assert now.realized_pnl == fixed.text(sum(t.pnl or 0 for t in trades))


async def run_out(platform: Platform, ada: Any, session: pb.Session, ticks: int) -> None:
    """Let a sound worker come to the end of the log, and stop it in order."""
    worker = new_worker(platform, PostgresLedger(platform.database))
    async with working(worker) as task:
        await ada.at_tick(session, ticks)
        worker.stop()
        async with asyncio.timeout(PATIENCE):
            await task


@pytest.mark.parametrize("checkpoint_seconds", [0, 3600], ids=["rows always", "rows with events only"])
async def test_killed_again_and_again_it_loses_and_repeats_nothing(
    trader: Any, feed: ManualFeed, platform: Platform, checkpoint_seconds: float
) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    other = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    ticks = walk(1, 300)
    random_of_test = random.Random(2)
    done = 0
    while done < len(ticks):
        ledger = BrittleLedger(platform.database, random_of_test.randint(1, 3), after=random_of_test.random() < 0.5)
        async with working(new_worker(platform, ledger, checkpoint_seconds)):
            async with asyncio.timeout(PATIENCE):
                while not ledger.broken.is_set() and done < len(ticks):
                    size = random_of_test.randint(1, 9)
                    feed.push("AAA", ticks[done : done + size])
                    done += size
                    await logged(platform, min(done, len(ticks)))
    await run_out(platform, ada, session, len(ticks))
    await assert_as_expected(ada, session, ticks)
    await assert_as_expected(ada, other, ticks)


async def logged(platform: Platform, sequence: int) -> None:
    """Return when a tick is in the log."""
    query = text("SELECT last_sequence FROM symbol_leases WHERE symbol = 'AAA'")
    async with asyncio.timeout(PATIENCE):
        while True:
            async with platform.database.connect() as connection:
                if (await connection.scalar(query) or 0) >= sequence:
                    return


@pytest.mark.parametrize("after", [False, True], ids=["not committed", "committed, unknown"])
async def test_a_failed_commit_is_replayed_from_the_rows(
    trader: Any, feed: ManualFeed, platform: Platform, after: bool
) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    ticks = walk(3, 120)
    lost = OperationalError("COMMIT", None, ConnectionError("the connection is lost"))
    ledger = BrittleLedger(platform.database, 3, after=after, error=lost)
    async with working(new_worker(platform, ledger)):
        for start in range(0, len(ticks), 10):
            feed.push("AAA", ticks[start : start + 10])
            await ada.at_tick(session, start + 10)
        assert ledger.broken.is_set()
    await assert_as_expected(ada, session, ticks)


async def test_small_steps_and_small_commits_change_nothing(
    trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SESSION_TICKS", 16)
    monkeypatch.setattr(follow, "EVENTS_A_COMMIT", 5)
    ada = await trader()
    sessions = [await ada.started(EAGER, symbol, settings=TICK_SETTINGS) for symbol in ("AAA", "BBB", "AAA")]
    ticks = walk(8, 100)
    for start in range(0, len(ticks), 5):
        for symbol in ("AAA", "BBB"):
            feed.push(symbol, ticks[start : start + 5])
    for session in sessions:
        await ada.at_tick(session, len(ticks))
        await assert_as_expected(ada, session, ticks)


async def test_a_record_that_cannot_be_read_halts_the_sessions_of_its_symbol(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    ada = await trader()
    struck = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    sound = await ada.started(EAGER, "BBB", settings=TICK_SETTINGS)
    ticks = walk(9, 60)
    for symbol in ("AAA", "BBB"):
        feed.push(symbol, ticks[:30])
    await ada.at_tick(struck, 30)
    await platform.bus.publish(MARKET_DATA_UPDATES, [Message("AAA", b"\xff not a message")])
    struck = await ada.reached(struck, lambda found: found.status == pb.SESSION_STATUS_HALTED)
    assert (struck.halt_reason, struck.last_tick_sequence) == ("record_unreadable", 30)
    feed.push("BBB", ticks[30:])
    await ada.at_tick(sound, 60)
    await assert_as_expected(ada, sound, ticks)


async def test_a_worker_that_was_passed_over_changes_nothing(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    """The old worker freezes before a commit, a new one takes the shards; then the old one goes on."""
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    ticks = walk(4, 60)
    frozen = BrittleLedger(platform.database, 1, after=False)
    async with working(new_worker(platform, frozen)) as old:
        feed.push("AAA", ticks[:40])
        async with asyncio.timeout(PATIENCE):
            await frozen.broken.wait()
        async with working(new_worker(platform, PostgresLedger(platform.database))):
            await ada.at_tick(session, 40)
            frozen.mended.set()
            async with asyncio.timeout(PATIENCE):
                await old  # it finds itself fenced, and ends
            feed.push("AAA", ticks[40:])
            await ada.at_tick(session, 60)
    await assert_as_expected(ada, session, ticks)


async def test_an_old_epoch_is_refused_whole(trader: Any, platform: Platform) -> None:
    ada = await trader()
    session = await ada.create(EAGER, "AAA", settings=TICK_SETTINGS)
    ledger = PostgresLedger(platform.database)
    roster = PostgresRoster(platform.database, platform.settings.worker_name)
    await roster.join()
    held = (await roster.look(None)).shards
    old = await roster.take({shard: held[shard].worker for shard in SHARDS})
    new = await roster.take(dict.fromkeys(SHARDS, roster.name))
    assert all(new[shard] == old[shard] + 1 for shard in SHARDS)
    applied = Commit(applied=(Applied(session.session_id, session.session_id),))
    with pytest.raises(Fenced):
        await ledger.commit(old, applied)
    await ledger.commit(new, applied)


async def two_held(trader: Any, feed: ManualFeed, platform: Platform) -> tuple[list[Held], Mapping[int, int]]:
    """Return two sessions of different shards as they are stored, which no worker steps any more; and the epochs."""
    ada = await trader()
    one = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    other = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    while shard_of(one.session_id) == shard_of(other.session_id):
        other = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    feed.push("AAA", walk(4, 5))
    for session in (one, other):
        await ada.at_tick(session, 5)
    roster = PostgresRoster(platform.database, platform.settings.worker_name)
    await roster.join()
    epochs = await roster.take({shard: owned.worker for shard, owned in (await roster.look(None)).shards.items()})
    held = await PostgresLedger(platform.database).held(list(SHARDS), [one.session_id, other.session_id])
    return held, epochs


def moved(held: Held, **row: Any) -> Progress:
    """Return what is stored of a session of which nothing but its row has changed."""
    session = replace(held.session, **row)
    return Progress(
        session, held.place, held.begin_offset, held.state, held.warmup_events, held.totals, held.open, held.last_trade
    )


async def test_one_old_epoch_has_nothing_stored_of_any_session(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    held, epochs = await two_held(trader, feed, platform)
    ledger = PostgresLedger(platform.database)
    progress = tuple(moved(one, bars=777) for one in held)
    late = held[1].session.shard
    with pytest.raises(Fenced) as fenced:
        await ledger.commit({**epochs, late: epochs[late] - 1}, Commit(progress=progress))
    assert list(fenced.value.shards) == [late]
    ids = [one.session.session_id for one in held]
    assert await ledger.held(list(SHARDS), ids) == held
    await ledger.commit(epochs, Commit(progress=progress))
    assert [one.session.bars for one in await ledger.held(list(SHARDS), ids)] == [777, 777]


async def test_only_what_can_be_replayed_is_stored_before_it_is_on_the_disk(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    (held, _), epochs = await two_held(trader, feed, platform)
    ledger = PostgresLedger(platform.database)
    event = Event(
        held.session.session_id, held.session.last_sequence + 1, 1, START, 5, "b", "", "", 0, 0, 0, 0, None, 0
    )
    noted = (
        "CREATE TABLE commits (how text)",
        """CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO commits VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$""",
        """CREATE CONSTRAINT TRIGGER noted AFTER UPDATE ON forward_test_sessions
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()""",
    )
    removed = ("DROP TRIGGER noted ON forward_test_sessions", "DROP FUNCTION note_commit", "DROP TABLE commits")
    try:
        async with platform.database.begin() as connection:
            for statement in noted:
                await connection.execute(text(statement))
        plain = moved(held, bars=777)
        await ledger.commit(epochs, Commit(progress=(plain,)))
        await ledger.commit(epochs, Commit(progress=(replace(plain, events=(event,)),)))
        async with platform.database.begin() as connection:
            assert (await connection.scalars(text("SELECT how FROM commits"))).all() == ["off", "on"]
            assert await connection.scalar(text("SHOW synchronous_commit")) == "on"
    finally:
        async with platform.database.begin() as connection:
            for statement in removed:
                await connection.execute(text(statement))


async def test_a_trap_halts_its_session_alone(trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is made to trap where a session with a certain cash is stepped over a certain tick."""
    step = Sessions.step

    def trapping(sessions: Sessions, ticks: Records) -> Records:
        poor = any(sessions.state(slot).cash == 777 * fixed.SCALE for slot in sessions.slots)
        if poor and (ticks["seq"] >= 3).any():
            raise TrapError("all fuel consumed")
        return step(sessions, ticks)

    monkeypatch.setattr(Sessions, "step", trapping)
    ada = await trader()
    quiet = drawing({"p": "price", "c": ("compare", {"op": "==", "value": 5}), "b": "buy"}, "p>c.a c>b")
    doomed = await ada.started(quiet, "AAA", settings=TICK_SETTINGS | {"initial_cash": "777"})
    others = [await ada.started(quiet, "AAA", settings=TICK_SETTINGS) for _ in range(3)]
    ticks = walk(5, 20)
    ticks["price"][6] = 5 * fixed.SCALE
    for start in range(0, 20, 2):
        feed.push("AAA", ticks[start : start + 2])
    for other in others:
        other = await ada.at_tick(other, 20)
        assert (other.status, other.quantity != "0") == (pb.SESSION_STATUS_RUNNING, True)
    doomed = await ada.reached(doomed, lambda found: found.status == pb.SESSION_STATUS_HALTED)
    assert (doomed.halt_reason, doomed.cash) == ("trap", "777")
    (event,) = await ada.events(doomed, 1)
    assert (event.kind, event.reason) == (pb.SESSION_EVENT_KIND_HALT, "trap")


async def test_a_session_with_too_many_events_is_halted_alone(
    trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SESSION_EVENTS", 40)
    ada = await trader()
    quiet = drawing({"p": "price", "c": ("compare", {"op": "==", "value": 5}), "b": "buy"}, "p>c.a c>b")
    full = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    other = await ada.started(quiet, "AAA", settings=TICK_SETTINGS)
    ticks = walk(11, 100)
    for start in range(0, len(ticks), 5):
        feed.push("AAA", ticks[start : start + 5])
    other = await ada.at_tick(other, len(ticks))
    assert other.status == pb.SESSION_STATUS_RUNNING
    full = await ada.reached(full, lambda found: found.status == pb.SESSION_STATUS_HALTED)
    *events, last = await ada.events(full, full.last_sequence)
    alone, _ = expected(ticks[: full.last_tick_sequence])
    assert [(e.sequence, e.kind, e.cash) for e in events] == [
        (int(e["number"]), int(e["kind"]), fixed.text(e["cash"])) for e in alone
    ]
    assert 40 <= len(events) < len(ticks)
    assert (last.kind, last.reason, full.halt_reason) == (pb.SESSION_EVENT_KIND_HALT, "event_limit", "event_limit")
    proof = await ada.sessions.VerifyParity(pb.VerifyParityRequest(session_id=full.session_id))
    assert proof.certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, proof


async def test_a_session_whose_row_is_spoilt_is_halted(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    ada = await trader()
    spoilt = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    sound = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    ticks = walk(6, 60)
    feed.push("AAA", ticks[:30])
    await run_out(platform, ada, spoilt, 30)
    async with platform.database.begin() as connection:
        cut = text("UPDATE forward_test_sessions SET state = substr(state, 2) WHERE session_id = CAST(:id AS uuid)")
        await connection.execute(cut, {"id": spoilt.session_id})
    feed.push("AAA", ticks[30:])
    await run_out(platform, ada, sound, 60)
    await assert_as_expected(ada, sound, ticks)
    spoilt = await ada.get(spoilt)
    assert (spoilt.status, spoilt.halt_reason) == (pb.SESSION_STATUS_HALTED, "state_unreadable")
    assert spoilt.last_tick_sequence == 30


async def test_a_session_whose_place_is_no_longer_kept_waits_to_be_resumed(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    """While no worker runs, what follows its last row is trimmed: what it would have done, nobody knows."""
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    ticks = walk(7, 90)
    feed.push("AAA", ticks[:20])
    await run_out(platform, ada, session, 20)
    for start in range(20, 60, 10):
        feed.push("AAA", ticks[start : start + 10])
        await logged(platform, start + 10)
    fresh = PostgresBus(platform.database, platform.metrics, 0.02)  # without records in memory
    await fresh.trim([replace(MARKET_DATA_UPDATES, retention_records=1)])
    worker = new_worker(replace(platform, bus=fresh), PostgresLedger(platform.database))
    async with working(worker):
        session = await ada.at_tick(session, 60)
        assert (session.status, session.segment) == (pb.SESSION_STATUS_PAUSED, 2)
        events, _ = expected(ticks[:20])
        (*before, lost) = (await ada.events(session, len(events) + 1))[: len(events) + 1]
        assert len(before) == len(events)
        assert (lost.kind, lost.reason, lost.sequence, lost.tick_sequence) == (
            pb.SESSION_EVENT_KIND_LOST,
            "position_lost",
            len(events) + 1,
            20,
        )
        while_paused = await ada.events(session, session.last_sequence, after=lost.sequence)
        assert not [event for event in while_paused if event.kind == pb.SESSION_EVENT_KIND_ENTRY]
        assert "halted" in {event.reason for event in while_paused}
        await ada.sessions.ResumeSession(pb.ResumeSessionRequest(session_id=session.session_id))
        feed.push("AAA", ticks[60:])
        session = await ada.at_tick(session, 90)
        assert session.status == pb.SESSION_STATUS_RUNNING
        since = await ada.events(session, session.last_sequence, after=while_paused[-1].sequence)
        assert pb.SESSION_EVENT_KIND_ENTRY in {event.kind for event in since}
        last = await ada.sessions.VerifyParity(pb.VerifyParityRequest(session_id=session.session_id))
    assert last.certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, last  # this process still has the ticks in memory
    first, second = last.certificate.segments
    assert (first.events, first.last_sequence) == (lost.sequence, lost.sequence)
    # The log holds up to twice as many records as it must, of ten ticks each, and may hold one of the feed's state.
    assert (second.reason, second.first_tick_sequence) in {("position_lost", 41), ("position_lost", 51)}
    assert (second.events, second.last_sequence) == (session.last_sequence - lost.sequence, session.last_sequence)
    verifier = Verifier(
        PostgresProofs(platform.database), Source(fresh, PostgresArchive(platform.database)), seconds=30, at_once=1
    )
    stored = await PostgresSessionStore(platform.database).get(ada.user_id, session.session_id)
    assert stored is not None
    certificate = await verifier.verify(stored)
    verdicts = [segment.verdict for segment in certificate.segments]
    assert (verdicts, certificate.verdict) == ([Verdict.INCOMPLETE, Verdict.IDENTICAL], Verdict.INCOMPLETE)
