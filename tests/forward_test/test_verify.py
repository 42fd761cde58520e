"""A certificate says whether what is stored is what the ticks give, and names the first thing that is not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
import numpy as np
import pytest
from graphs import drawing
from market_data.feeds import SECOND, ManualFeed
from sqlalchemy import text

from algotrade.engine import fixed
from algotrade.engine.records import TICK, Records
from algotrade.forward_test.follow import Worker
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.postgres_archive import PostgresArchive
from algotrade.forward_test.postgres_proofs import PostgresProofs
from algotrade.forward_test.source import Source
from algotrade.forward_test.verify import Verdict, Verifier
from algotrade.platform.bus import Message
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.errors import ResourceExhausted, info
from algotrade.platform.process import Platform
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1.events_pb2 import MarketDataUpdate

START = 1_700_000_000 * SECOND
TICKS = {"interval": "tick"}
CROSS = drawing(
    {
        "p": "price",
        "f": ("sma", {"timeperiod": 2}),
        "s": ("sma", {"timeperiod": 5}),
        "up": "crossover",
        "dn": "crossunder",
        "b": "buy",
        "x": "sell",
    },
    "p>f.input p>s.input f>up.a s>up.b f>dn.a s>dn.b up>b dn>x",
)
Alter = Callable[..., Awaitable[None]]


def walk(seed: int, count: int, first: int = 0) -> Records:
    """Return ticks ``first`` and on of a jagged walk of prices, a tick a second."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(first + count, TICK)
    ticks["ts"] = START + np.arange(first + count) * SECOND
    ticks["price"] = np.rint((100 + np.cumsum(rng.normal(0, 1, first + count)).clip(-90)) * fixed.SCALE)
    ticks["size"] = 1.0
    return ticks[first:]


async def certify(ada: Any, session: pb.Session) -> pb.ParityCertificate:
    """Ask for a certificate."""
    response = await ada.sessions.VerifyParity(pb.VerifyParityRequest(session_id=session.session_id))
    certificate: pb.ParityCertificate = response.certificate
    return certificate


@pytest.fixture
def alter(platform: Platform) -> Alter:
    """Return ``await alter(statement, session)``: change what is stored of a session, which ``:id`` names."""

    async def run(statement: str, session: pb.Session) -> None:
        async with platform.database.begin() as connection:
            changed = await connection.execute(text(statement), {"id": session.session_id})
            assert changed.rowcount == 1

    return run


@pytest.fixture
async def traded(trader: Any, feed: ManualFeed) -> tuple[Any, pb.Session]:
    """Return a trader, and a session that has traded over 200 ticks after a warm-up of 40, and been steered."""
    ada = await trader()
    probe = await ada.started(CROSS, "AAA", settings=TICKS)
    feed.push("AAA", walk(1, 40))
    await ada.at_tick(probe, 40)
    session = await ada.started(CROSS, "AAA", settings=TICKS | {"slippage_bps": "2"})
    for start, verb in ((40, "Pause"), (80, "Resume"), (120, "Flatten"), (160, ""), (200, "")):
        feed.push("AAA", walk(1, 40, start))
        session = await ada.at_tick(session, start + 40)
        if verb:
            request = getattr(pb, f"{verb}SessionRequest")(session_id=session.session_id)
            await getattr(ada.sessions, f"{verb}Session")(request)
    assert session.total_trades > 5
    return ada, await ada.get(session)


async def test_a_session_is_what_its_ticks_make_of_it(traded: tuple[Any, pb.Session]) -> None:
    ada, session = traded
    certificate = await certify(ada, session)
    assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
    assert not certificate.HasField("divergence")
    (segment,) = certificate.segments
    assert (segment.reason, segment.ticks, segment.first_tick_sequence, segment.last_tick_sequence) == (
        "begin",
        240,
        1,
        240,
    )
    assert (segment.events, segment.trades, segment.bars) == (session.last_sequence, session.total_trades, session.bars)
    assert segment.last_tick_time.ToNanoseconds() == START + 239 * SECOND
    assert certificate.artefact_hash == session.artefact_hash
    ticks = walk(1, 240)
    ticks["seq"] = np.arange(1, 241)
    assert certificate.data_hash == hashlib.sha256(ticks.tobytes()).hexdigest()


@pytest.mark.parametrize("mode", [pb.STOP_MODE_FLATTEN, pb.STOP_MODE_KEEP])
async def test_a_stopped_session_stays_what_it_was(
    traded: tuple[Any, pb.Session], feed: ManualFeed, mode: pb.StopMode.ValueType
) -> None:
    ada, session = traded
    at = session.last_tick_sequence
    while session.quantity == "0":
        feed.push("AAA", walk(1, 1, at))
        session = await ada.at_tick(session, at := at + 1)
    await ada.stop(session, mode)
    feed.push("AAA", walk(1, 30, at))
    session = await ada.reached(session, lambda found: found.status == pb.SESSION_STATUS_STOPPED)
    certificate = await certify(ada, session)
    assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
    assert certificate.segments[0].last_sequence == session.last_sequence


async def test_a_session_that_was_told_something_while_it_warmed_up(
    trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start is noted at the place where orders begin; what comes before that comes after the start all the same."""
    ada = await trader()
    probe = await ada.started(CROSS, "AAA", settings=TICKS)
    feed.push("AAA", walk(1, 40))
    await ada.at_tick(probe, 40)
    read = Worker._read
    held = True

    async def wait(self: Worker, *arguments: Any) -> Any:
        return None if held else await read(self, *arguments)

    monkeypatch.setattr(Worker, "_read", wait)
    session = await ada.started(CROSS, "AAA", settings=TICKS)
    for verb in ("Pause", "Resume", "Pause"):
        await getattr(ada.sessions, f"{verb}Session")(
            getattr(pb, f"{verb}SessionRequest")(session_id=session.session_id)
        )
    held = False
    feed.push("AAA", walk(1, 60, 40))
    await ada.at_tick(session, 100)
    await ada.sessions.ResumeSession(pb.ResumeSessionRequest(session_id=session.session_id))
    feed.push("AAA", walk(1, 100, 100))
    session = await ada.at_tick(session, 200)
    assert session.total_trades > 2
    certificate = await certify(ada, session)
    assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
    assert certificate.segments[0].ticks == 200


async def test_a_session_that_was_told_something_in_two_warm_ups(
    trader: Any, feed: ManualFeed, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker dies in the warm-up behind a command; the next one begins it anew, and is told something else sooner."""
    ada = await trader()
    probe = await ada.started(CROSS, "AAA", settings=TICKS)
    for first in (0, 20):
        feed.push("AAA", walk(1, 20, first))
        await ada.at_tick(probe, first + 20)
    read, held = Worker._read, True

    async def wait(self: Worker, *arguments: Any) -> Any:
        return None if held else await read(self, *arguments)

    monkeypatch.setattr(Worker, "_read", wait)
    session = await ada.started(CROSS, "AAA", settings=TICKS)
    for verb in ("Pause", "Resume"):
        request = getattr(pb, f"{verb}SessionRequest")(session_id=session.session_id)
        await getattr(ada.sessions, f"{verb}Session")(request)
    async with platform.database.begin() as connection:  # what the first of the workers noted
        moved = text(
            "UPDATE session_commands SET log_offset = log_offset + 1 WHERE session_id = :id AND kind = 'pause'"
        )
        assert (await connection.execute(moved, {"id": UUID(session.session_id)})).rowcount == 1
    held = False
    feed.push("AAA", walk(1, 60, 40))
    session = await ada.at_tick(session, 100)
    assert session.total_trades > 1
    certificate = await certify(ada, session)
    assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate


@asynccontextmanager
async def altered(platform: Platform, table: str, statement: str, session: pb.Session) -> AsyncIterator[None]:
    """Change one row that is stored of a session, and put everything back at the end."""
    key = {"id": session.session_id}
    mine = f"FROM {table} AS t WHERE session_id = CAST(:id AS uuid)"
    async with platform.database.begin() as connection:
        kept = await connection.scalar(text(f"SELECT CAST(jsonb_agg(to_jsonb(t)) AS text) {mine}"), key)
        changed = await connection.execute(text(statement), key)
        assert changed.rowcount == 1
    yield
    async with platform.database.begin() as connection:
        await connection.execute(text(f"DELETE {mine}"), key)
        back = (
            f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(CAST(NULL AS {table}), CAST(:kept AS jsonb))"
        )
        await connection.execute(text(back), {"kept": kept})


async def test_altered_events_and_trades_are_named(traded: tuple[Any, pb.Session], platform: Platform) -> None:
    ada, session = traded
    trades = [trade for trade in await ada.trades(session) if trade.pnl]
    third, last = trades[2], trades[-1]
    (event,) = await ada.events(session, 4, after=3)
    made_up = min(set(range(1, session.last_sequence)) - {trade.sequence for trade in trades})
    mine = "WHERE session_id = CAST(:id AS uuid) AND sequence ="

    async def found(table: str, statement: str) -> pb.ParityDivergence:
        async with altered(platform, table, statement, session):
            certificate = await certify(ada, session)
        assert (certificate.verdict, certificate.segments[0].verdict) == (pb.PARITY_VERDICT_DIVERGED,) * 2
        return certificate.divergence

    got = await found("trades", f"UPDATE trades SET pnl = pnl + 0.00000001 {mine} {third.sequence}")
    assert (got.part, got.sequence, got.node_id) == (pb.PARITY_PART_TRADE, third.sequence, "x")
    assert (got.missing, got.unexpected) == (False, False)
    assert got.event_time == got.bar_time == third.exit_time
    changed = fixed.text(fixed.parse(third.pnl) + 1)
    assert [(d.field, d.expected, d.stored) for d in got.differences] == [("pnl", third.pnl, changed)]

    got = await found("session_events", f"UPDATE session_events SET price = 7 {mine} 4")
    assert (got.part, got.sequence, got.tick_sequence) == (pb.PARITY_PART_EVENT, 4, event.tick_sequence)
    assert got.node_id == event.node_id
    assert [(d.field, d.expected, d.stored) for d in got.differences] == [("price", event.price, "7")]

    got = await found("session_events", f"DELETE FROM session_events {mine} 5")
    assert (got.part, got.sequence, got.missing) == (pb.PARITY_PART_EVENT, 5, True)
    assert {"sequence", "price", "kind"} <= {difference.field for difference in got.differences}

    for gone in (trades[0], last):
        got = await found("trades", f"DELETE FROM trades {mine} {gone.sequence}")
        assert (got.part, got.sequence, got.missing) == (pb.PARITY_PART_TRADE, gone.sequence, True)
        assert {difference.stored for difference in got.differences} == {""}

    columns = "side, quantity, entry_ns, entry_price, exit_ns, exit_price, fees, pnl, exit_reason, ambiguous"
    copied = f"SELECT session_month, session_id, {made_up}, {columns} FROM trades {mine} {third.sequence}"
    got = await found("trades", f"INSERT INTO trades {copied}")
    assert (got.part, got.sequence, got.unexpected) == (pb.PARITY_PART_TRADE, made_up, True)

    assert (await certify(ada, session)).verdict == pb.PARITY_VERDICT_IDENTICAL  # all is as it was


async def test_an_altered_row_is_named(traded: tuple[Any, pb.Session], alter: Alter) -> None:
    ada, session = traded
    session = await ada.stop(session, pb.STOP_MODE_KEEP)
    spoil = "set_byte(state, length(state) - 8, get_byte(state, length(state) - 8) # 1)"
    for column, value, back, field in (
        ("current_balance", "current_balance + 1", "current_balance - 1", "cash"),
        ("winning_trades", "winning_trades + 1", "winning_trades - 1", "totals.winning"),
        ("bars", "bars - 1", "bars + 1", "bars"),
        ("state", spoil, spoil, "state."),
    ):
        change = f"UPDATE forward_test_sessions SET {column} = %s WHERE session_id = CAST(:id AS uuid)"
        await alter(change % value, session)
        found = (await certify(ada, session)).divergence
        assert (found.part, found.sequence) == (pb.PARITY_PART_STATE, session.last_sequence)
        assert [difference.field[: len(field)] for difference in found.differences] == [field]
        await alter(change % back, session)
    assert (await certify(ada, session)).verdict == pb.PARITY_VERDICT_IDENTICAL


async def test_altered_ticks_are_found(traded: tuple[Any, pb.Session], platform: Platform) -> None:
    """The log gets another price than the session saw: its trades are no longer what the ticks give."""
    _, session = traded
    async with platform.database.begin() as connection:
        newest = text('SELECT "offset", payload FROM bus_log WHERE key = \'AAA\' ORDER BY "offset" DESC LIMIT 1')
        row = (await connection.execute(newest)).one()
        update = MarketDataUpdate.FromString(row.payload)
        update.ticks.prices_e8[0] *= 3
        change = text("UPDATE bus_log SET payload = :payload WHERE key = 'AAA' AND \"offset\" = :offset")
        await connection.execute(change, {"payload": update.SerializeToString(), "offset": row.offset})
    fresh = PostgresBus(platform.database, platform.metrics)  # without records in memory
    verifier = Verifier(
        PostgresProofs(platform.database), Source(fresh, PostgresArchive(platform.database)), seconds=30, at_once=1
    )
    stored = await PostgresSessionStore(platform.database).get(traded[0].user_id, session.session_id)
    assert stored is not None
    certificate = await verifier.verify(stored)
    assert certificate.verdict is Verdict.DIVERGED


async def test_a_halted_session_is_verified_up_to_its_halt(
    traded: tuple[Any, pb.Session], platform: Platform, alter: Alter
) -> None:
    ada, session = traded
    await platform.bus.publish(MARKET_DATA_UPDATES, [Message("AAA", b"\xff\xff")])
    session = await ada.reached(session, lambda found: found.status == pb.SESSION_STATUS_HALTED)
    certificate = await certify(ada, session)
    assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
    assert certificate.segments[0].last_sequence == session.last_sequence
    await alter(
        "UPDATE session_events SET reason = 'trap' WHERE session_id = CAST(:id AS uuid)"
        f" AND sequence = {session.last_sequence}",
        session,
    )
    found = (await certify(ada, session)).divergence
    assert [(d.field, d.expected, d.stored) for d in found.differences] == [("reason", "record_unreadable", "trap")]


async def test_it_is_verified_while_it_runs_and_many_times_at_once(
    traded: tuple[Any, pb.Session], feed: ManualFeed
) -> None:
    ada, session = traded
    asked = [asyncio.ensure_future(certify(ada, session)) for _ in range(4)]
    for start in range(240, 320, 8):
        feed.push("AAA", walk(1, 8, start))
        await ada.at_tick(session, start + 8)
    asked.append(asyncio.ensure_future(certify(ada, session)))
    for certificate in await asyncio.gather(*asked):
        assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
    assert certificate.last_tick_sequence == 320


async def test_what_cannot_be_verified(trader: Any, traded: tuple[Any, pb.Session]) -> None:
    ada, session = traded
    eve = await trader()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await certify(eve, session)
    assert (caught.value.code(), info(caught.value).reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    made = await ada.create(CROSS, "AAA", settings=TICKS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await certify(ada, made)
    assert (caught.value.code(), info(caught.value).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STATUS")


async def test_one_that_takes_too_long_is_given_up(
    traded: tuple[Any, pb.Session], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, session = traded
    stored = await PostgresSessionStore(platform.database).get(ada.user_id, session.session_id)
    assert stored is not None
    hung = Source(platform.bus, PostgresArchive(platform.database))
    monkeypatch.setattr(hung, "batch", lambda *args: asyncio.Event().wait())
    verifier = Verifier(PostgresProofs(platform.database), hung, seconds=0.2, at_once=1)
    for _ in range(2):  # the place of the first is free again
        with pytest.raises(ResourceExhausted) as caught:
            await verifier.verify(stored)
        assert (caught.value.reason, caught.value.metadata["limit"]) == ("LIMIT_REACHED", "verify_seconds")
