"""What must have happened: sessions replayed over the log of ticks by the engine alone, and what is stored beside it.

Nothing of the worker is used. What it needs of the database is the log itself, the strategies as they were saved, and
the places at which commands took effect, since those depend on when somebody gave them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from chaos.logs import Contents
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.records import MARKER, TICK, EventKind, Reason, Records
from algotrade.engine.runtime import EXITS_ONLY, RUNNING, Sessions
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import TradeBook, exit_reason
from algotrade.platform import limits
from algotrade.platform.bus import partition_of
from algotrade.platform.topics import MARKET_DATA_UPDATES, PORTFOLIO_UPDATES, STRATEGY_SIGNALS, TRADE_EXECUTIONS
from algotrade.v1 import events_pb2
from algotrade.v1.events_pb2 import MarketDataUpdate

Row = tuple[Any, ...]
POISON: Final = "POISON"  # the key of records that nobody can read

EVENT_COLUMNS: Final = (
    "sequence, kind, event_ns, tick_sequence, node_id, reason, side, price * 100000000, quantity * 100000000,"
    " amount * 100000000, fee * 100000000, pnl * 100000000, cash * 100000000"
)
TRADE_COLUMNS: Final = (
    "sequence, side, quantity * 100000000, entry_ns, entry_price * 100000000, exit_ns, exit_price * 100000000,"
    " fees * 100000000, pnl * 100000000, exit_reason, ambiguous"
)


@dataclass
class Log:
    """A symbol's ticks with the offset of the record each lies in."""

    ticks: Records
    offsets: Any
    end: int = 0  # behind its partition's last record

    def between(self, first: int, end: int) -> Records:
        """Return the ticks of records from an offset up to another."""
        low, high = np.searchsorted(self.offsets, [first, end])
        return self.ticks[low:high]


@dataclass
class Verdict:
    """What a comparison came to."""

    sessions: int = 0
    events: int = 0
    trades: int = 0
    commands: int = 0
    lost: int = 0
    doubled: int = 0
    redelivered: int = 0
    proven: int = 0  # certificates of VerifyParity that say IDENTICAL
    snapshots: int = 0  # that a screen was given in the place of more events than it takes
    cuts: int = 0  # of streams, after each of which a follower came back from its cursor
    wrong: list[str] = field(default_factory=list)  # everything that is not as it must be

    def check(self, holds: bool, sentence: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.wrong.append(sentence)


async def judge(connection: AsyncConnection, contents: Contents, file: Records | None, replayed: str) -> Verdict:
    """Compare all that is stored with what must be; ``file`` is what the symbol ``replayed`` was read from."""
    verdict = Verdict()
    logs = logged_ticks(contents, verdict)
    if file is not None:
        log = logs[replayed].ticks
        same = len(log) == len(file) and all((log[name] == file[name]).all() for name in ("ts", "price", "size"))
        verdict.check(same, f"the log of {replayed} has {len(log)} ticks and is not the file's {len(file)}")
    told = _told(contents)
    for session in await _sessions(connection):
        verdict.sessions += 1
        await _judge_session(connection, session, logs[session["symbol"]], told, verdict)
    for table in ("outbox", "bus_outbox"):
        unsent = await connection.scalar(text(f"SELECT count(*) FROM {table}"))
        verdict.check(unsent == 0, f"{unsent} messages lie in {table}")
    return verdict


# ---------------------------------------------------------------------- the log


def logged_ticks(contents: Contents, verdict: Verdict) -> dict[str, Log]:
    """Read the log whole: dense offsets, every symbol's ticks numbered without a hole, in order of time, once.

    In Kafka a writer that was passed over may have written, and any may have written twice: who reads leaves out what
    has an older epoch, or a number that was there before.
    """
    parts: dict[str, list[Records]] = defaultdict(list)
    offsets: dict[str, list[int]] = defaultdict(list)
    epochs: dict[str, int] = defaultdict(int)
    numbers: dict[str, int] = defaultdict(int)
    expected: dict[int, int] = defaultdict(int)
    for partition, offset, symbol, payload in contents.topics[MARKET_DATA_UPDATES.name]:
        verdict.check(offset == expected[partition], f"partition {partition} has a hole before {offset}")
        expected[partition] = offset + 1
        if symbol == POISON:
            continue
        update = MarketDataUpdate.FromString(payload)
        old = update.epoch < epochs[symbol]
        verdict.check(not (old and contents.once), f"{symbol}: a writer passed over wrote at {offset}")
        if old:
            continue
        epochs[symbol] = update.epoch
        batch = update.ticks
        ticks = np.zeros(len(batch.times_nanos), TICK)
        ticks["ts"], ticks["price"] = list(batch.times_nanos), list(batch.prices_e8)
        ticks["size"], ticks["flags"] = list(batch.sizes), list(batch.flags)
        ticks["seq"] = batch.first_sequence + np.arange(len(ticks))
        if not contents.once:
            ticks = ticks[ticks["seq"] > numbers[symbol]]
        numbers[symbol] += len(ticks)
        parts[symbol].append(ticks)
        offsets[symbol] += [offset] * len(ticks)
    found = {symbol: Log(np.concatenate(some), np.array(offsets[symbol])) for symbol, some in parts.items()}
    for symbol, log in found.items():
        dense = (log.ticks["seq"] == np.arange(1, len(log.ticks) + 1)).all()
        verdict.check(bool(dense), f"{symbol}: ticks are missing or doubled in the log")
        verdict.check(bool((np.diff(log.ticks["ts"]) >= 0).all()), f"{symbol}: time runs backwards in the log")
        log.end = expected[partition_of(symbol, MARKET_DATA_UPDATES.partitions)]
    return found


# ---------------------------------------------------------------------- what is stored


async def _sessions(connection: AsyncConnection) -> list[dict[str, Any]]:
    query = text("""
        SELECT session_id, session_month, CAST(status AS text) AS status, symbol, from_first_tick, settings, parameters,
            artefact_hash, strategy_snapshot ->> 'graph' AS graph, orders_from, log_partition, log_offset,
            last_sequence, last_tick_sequence, total_trades, winning_trades, bars, halt_reason,
            current_balance * 100000000 AS cash, equity * 100000000 AS equity, total_pnl * 100000000 AS pnl
        FROM forward_test_sessions WHERE status <> 'created' ORDER BY session_id
    """)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def _rows(connection: AsyncConnection, session: Mapping[str, Any], table: str, columns: str) -> list[Row]:
    query = text(f"SELECT {columns} FROM {table} WHERE session_id = :session_id ORDER BY sequence")
    found = await connection.execute(query, {"session_id": session["session_id"]})
    return [tuple(value if isinstance(value, str | bool | None) else int(value) for value in row) for row in found]


async def _commands(connection: AsyncConnection, session: Mapping[str, Any]) -> list[tuple[str, bool, int | None]]:
    query = text("SELECT kind, applied, log_offset FROM session_commands WHERE session_id = :id ORDER BY position")
    found = await connection.execute(query, {"id": session["session_id"]})
    return [(row.kind, row.applied, row.log_offset) for row in found]


def _told(contents: Contents) -> dict[str, list[int]]:
    """Return the sequences of the events that the bus was told of, by session, as they come in each topic."""
    kinds = {TRADE_EXECUTIONS: events_pb2.TradeExecution, STRATEGY_SIGNALS: events_pb2.StrategySignal}
    told: dict[str, list[int]] = defaultdict(list)
    for topic, kind in kinds.items():
        for _, _, key, payload in contents.topics[topic.name]:
            if key != POISON:
                message = kind.FromString(payload)
                told[message.session_id].append(message.event.sequence)
    for _, _, key, payload in contents.topics[PORTFOLIO_UPDATES.name]:
        if key != POISON:
            update = events_pb2.PortfolioUpdate.FromString(payload)
            told[f"{update.session_id} portfolio"].append(update.sequence)
    return told if contents.once else {name: list(dict.fromkeys(heard)) for name, heard in told.items()}


# ---------------------------------------------------------------------- what must be


@dataclass
class Expected:
    """What the engine alone makes of a session."""

    events: list[Row]
    trades: list[Row]
    state: Any
    ended: bool
    last_tick: int


def replay(session: Mapping[str, Any], log: Log, commands: Sequence[tuple[str, int]], end: int) -> Expected:
    """Step a session over its records from its beginning up to an offset, with its commands where they took effect."""
    artefact = compile_strategy(json.loads(session["graph"])).artefact
    assert artefact is not None
    assert artefact.hash == session["artefact_hash"]
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings.parse(session["settings"]), session["parameters"])
    begin = session["orders_from"]
    paused = ended = stopping = False
    numbered_before, last_tick = 0, 0
    found: list[Records] = []

    def step(ticks: Records) -> None:
        nonlocal last_tick
        if len(ticks):
            found.append(sessions.step(ticks))
            last_tick = int(ticks["seq"][-1])

    if not session["from_first_tick"]:
        sessions.set_mode(slot, EXITS_ONLY)
        step(log.between(max(0, begin - limits.MAX_WARMUP_RECORDS), begin))
        numbered_before = sessions.state(slot).last_event
        found.clear()
        paused = _paused_before(commands, begin)
        sessions.set_mode(slot, EXITS_ONLY if paused else RUNNING)
    place = begin
    for kind, offset in [*((kind, max(at, begin)) for kind, at in commands if at >= begin), ("", end)]:
        step(log.between(place, offset))
        place = offset
        held = sessions.state(slot).quantity
        if kind == "pause":
            if not held:
                sessions.flatten(slot)
            sessions.set_mode(slot, EXITS_ONLY)
        elif kind == "resume":
            sessions.set_mode(slot, RUNNING)
        elif kind == "flatten":
            sessions.flatten(slot)
        elif kind == "stop_flatten" and held:
            stopping = True
            sessions.flatten(slot)
            sessions.set_mode(slot, EXITS_ONLY)
            rest = log.between(place, end)
            priced = np.flatnonzero((rest["flags"] & MARKER) == 0)
            step(rest[: priced[0] + 1] if len(priced) else rest)
            ended = not sessions.state(slot).quantity
            break
        elif kind.startswith("stop"):
            ended = True
            break
    raw = np.concatenate(found) if found else np.zeros(0)
    events, trades = _written(artefact, raw, numbered_before) if len(raw) else ([], [])
    assert not (stopping and not ended and place < end)
    return Expected(events, trades, sessions.state(slot), ended, last_tick)


def _paused_before(commands: Sequence[tuple[str, int]], begin: int) -> bool:
    paused = False
    for kind, offset in commands:
        if offset < begin and kind in ("pause", "resume"):
            paused = kind == "pause"
    return paused


def _written(artefact: Artefact, raw: Records, numbered_before: int) -> tuple[list[Row], list[Row]]:
    """Write events and closed trades as rows of the tables."""
    nodes = artefact.manifest.nodes
    events: list[Row] = []
    trades: dict[int, Row] = {}
    book = TradeBook(nodes)
    exit_sequence = 0
    for index, event in enumerate(raw):
        kind, node = EventKind(event["kind"]), int(event["node"])
        sequence = int(event["number"]) - numbered_before
        reason = ""
        if kind is EventKind.EXIT:
            reason, exit_sequence = exit_reason(nodes, node, int(event["reason"])), sequence
        elif kind in (EventKind.REJECTION, EventKind.HALT):
            reason = Reason(event["reason"]).label
        traded = kind in (EventKind.ENTRY, EventKind.EXIT, EventKind.AMBIGUOUS)
        amounts = [int(event[name]) for name in ("price", "quantity", "amount", "fee")]
        pnl = int(event["pnl"]) if kind is EventKind.EXIT else None
        events.append(
            (
                *(sequence, int(kind), int(event["ts"]), int(event["tick_seq"])),
                *(nodes[node].id if node >= 0 else "", reason, "long" if traded else ""),
                *(*amounts, pnl, int(event["cash"])),
            )
        )
        for trade in book.apply(raw[index : index + 1]):
            trades[exit_sequence] = (
                *(exit_sequence, trade.side, trade.quantity, trade.entry_ts, trade.entry_price),
                *(trade.exit_ts, trade.exit_price, trade.fees, trade.pnl, trade.exit_reason, trade.ambiguous),
            )
    return events, list(trades.values())


# ---------------------------------------------------------------------- the comparison


async def _judge_session(
    connection: AsyncConnection, session: Mapping[str, Any], log: Log, told: Mapping[str, list[int]], verdict: Verdict
) -> None:
    name = f"session {session['session_id']}"
    given = await _commands(connection, session)
    verdict.check(all(applied for _, applied, _ in given), f"{name}: a command was never applied")
    verdict.check(sum(kind == "start" and at is not None for kind, _, at in given) == 1, f"{name}: not started once")
    verdict.commands += len(given)
    commands = [(kind, at) for kind, _, at in given if at is not None and kind != "start"]
    verdict.check(
        session["log_partition"] == partition_of(session["symbol"], MARKET_DATA_UPDATES.partitions),
        f"{name}: reads the wrong partition",
    )
    expected = replay(session, log, commands, log.end)
    events = await _rows(connection, session, "session_events", EVENT_COLUMNS)
    trades = await _rows(connection, session, "trades", TRADE_COLUMNS)
    verdict.events += len(events)
    verdict.trades += len(trades)
    for stored, must in ((events, expected.events), (trades, expected.trades)):
        have, want = Counter(row[1:] for row in stored), Counter(row[1:] for row in must)
        verdict.lost += (want - have).total()
        verdict.doubled += (have - want).total()
    verdict.check(events == expected.events, f"{name}: {_difference(events, expected.events)}")
    verdict.check(trades == expected.trades, f"{name}: trades: {_difference(trades, expected.trades)}")
    state = expected.state
    row = tuple(int(session[key]) for key in ("cash", "equity", "pnl", "bars", "last_sequence", "last_tick_sequence"))
    must_row = (state.cash, state.equity, state.realized_pnl, state.bars, len(expected.events), expected.last_tick)
    verdict.check(row == must_row, f"{name}: its row says {row}, not {must_row}")
    verdict.check((session["status"] == "stopped") == expected.ended, f"{name}: is {session['status']}")
    exits = [event for event in expected.events if event[1] == EventKind.EXIT]
    totals = (session["total_trades"], session["winning_trades"])
    verdict.check(totals == (len(exits), sum(event[11] > 0 for event in exits)), f"{name}: totals {totals}")
    _judge_told(str(session["session_id"]), expected.events, told, verdict)


def _judge_told(session_id: str, events: Sequence[Row], told: Mapping[str, list[int]], verdict: Verdict) -> None:
    """Each event was told once, in order, and nothing else."""
    fills = [event[0] for event in events if event[1] in (EventKind.ENTRY, EventKind.EXIT)]
    others = [event[0] for event in events if event[1] not in (EventKind.ENTRY, EventKind.EXIT)]
    heard = told.get(session_id, [])
    verdict.redelivered += len(heard) - len(set(heard))
    must = fills + others
    verdict.check(heard == must, f"session {session_id}: the bus was told {_difference(heard, must)}")
    portfolio = told.get(f"{session_id} portfolio", [])
    verdict.check(portfolio == fills, f"session {session_id}: balances: {_difference(portfolio, fills)}")


def _difference(have: Sequence[Any], want: Sequence[Any]) -> str:
    index = next((i for i, (a, b) in enumerate(zip(have, want, strict=False)) if a != b), min(len(have), len(want)))
    return f"{len(have)}, not {len(want)}; from {index} on {have[index : index + 2]}, not {want[index : index + 2]}"
