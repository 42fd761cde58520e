"""The worker's side in PostgreSQL: everything of a batch in one transaction, under the fence.

Where nothing but sessions moved on, which is nearly always, the transaction is one statement: one round trip, and no
moment at which a worker that freezes holds a lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.forward_test import postgres_bases as bases
from algotrade.forward_test import rows
from algotrade.forward_test.postgres_archive import REWIND
from algotrade.forward_test.postgres_outbox import add, outgoing
from algotrade.forward_test.postgres_wants import subscribe, unsubscribe
from algotrade.forward_test.session import (
    POSITION_LOST,
    Command,
    CommandKind,
    Commit,
    Held,
    Progress,
    Session,
    shard_of,
)
from algotrade.forward_test.store import Fenced
from algotrade.platform import failpoints

_FENCE_COLUMNS: Final = {"shard": "integer", "epoch": "bigint"}
_PROVE: Final = f"""
    UPDATE shards SET proof_time = now() FROM {rows.unnest("mine", _FENCE_COLUMNS)}
    WHERE shards.shard = mine.shard AND shards.epoch = mine.epoch
    RETURNING shards.shard
"""
_FENCE: Final = text(_PROVE)
_ALL_PROVEN: Final = "(SELECT count(*) FROM proven) = CAST(:concerned AS bigint)"
_MINE: Final = text(f"""
    SELECT shards.shard FROM shards JOIN {rows.unnest("mine", _FENCE_COLUMNS)}
        ON shards.shard = mine.shard AND shards.epoch = mine.epoch
""")
_START_COLUMNS: Final = {
    "session_id": "uuid",
    "correlation_id": "text",
    "log_partition": "integer",
    "log_offset": "bigint",
    "orders_from": "bigint",
}
_START: Final = text(f"""
    UPDATE forward_test_sessions AS s SET
        status = 'running', started_at = now(), correlation_id = r.correlation_id, log_partition = r.log_partition,
        log_offset = r.log_offset, orders_from = r.orders_from, begin_offset = r.log_offset
    FROM {rows.unnest("r", _START_COLUMNS)} WHERE s.session_id = r.session_id AND s.status = 'created'
""")
_PROGRESS_COLUMNS: Final = {
    "session_id": "uuid",
    "status": "text",
    "halt_reason": "text",
    "correlation_id": "text",
    "cash": "bigint",
    "equity": "numeric",
    "last_price": "bigint",
    "total_trades": "integer",
    "winning_trades": "integer",
    "total_pnl": "bigint",
    "peak_balance": "bigint",
    "max_drawdown": "bigint",
    "bars": "bigint",
    "last_sequence": "bigint",
    "last_tick_sequence": "bigint",
    "log_offset": "bigint",
    "orders_from": "bigint",
    "begin_offset": "bigint",
    "feed_epoch": "bigint",
    "feed_state": "smallint",
    "source": "text",
    "segment": "integer",
    "warmup_events": "bigint",
    "state": "bytea",
}
_PROGRESS: Final = f"""
    UPDATE forward_test_sessions AS s SET
        status = CAST(r.status AS session_status), halt_reason = r.halt_reason, correlation_id = r.correlation_id,
        current_balance = {rows.decimal("r.cash")}, equity = {rows.decimal("r.equity")},
        last_price = {rows.decimal("r.last_price")}, total_trades = r.total_trades,
        winning_trades = r.winning_trades, total_pnl = {rows.decimal("r.total_pnl")},
        peak_balance = {rows.decimal("r.peak_balance")}, max_drawdown = {rows.decimal("r.max_drawdown")},
        bars = r.bars, last_sequence = r.last_sequence, last_tick_sequence = r.last_tick_sequence,
        log_offset = r.log_offset, orders_from = r.orders_from, begin_offset = r.begin_offset,
        feed_epoch = r.feed_epoch, feed_state = r.feed_state, source = r.source,
        segment = r.segment,
        warmup_events = r.warmup_events, state = r.state,
        stopped_at = CASE WHEN r.status IN ('stopped', 'halted') THEN coalesce(s.stopped_at, now()) END
    FROM {rows.unnest("r", _PROGRESS_COLUMNS, "progress_")} WHERE s.session_id = r.session_id AND {_ALL_PROVEN}
"""
_EVENT_COLUMNS: Final = {
    "session_month": "date",
    "session_id": "uuid",
    "sequence": "bigint",
    "kind": "smallint",
    "event_ns": "bigint",
    "tick_sequence": "bigint",
    "node_id": "text",
    "reason": "text",
    "side": "text",
    "price": "bigint",
    "quantity": "bigint",
    "amount": "bigint",
    "fee": "bigint",
    "pnl": "bigint",
    "cash": "bigint",
}
_TRADE_COLUMNS: Final = {
    "session_month": "date",
    "session_id": "uuid",
    "sequence": "bigint",
    "side": "text",
    "quantity": "bigint",
    "entry_ns": "bigint",
    "entry_price": "bigint",
    "exit_ns": "bigint",
    "exit_price": "bigint",
    "fees": "bigint",
    "pnl": "bigint",
    "exit_reason": "text",
    "ambiguous": "boolean",
}
_POSITION_COLUMNS: Final = {
    "session_id": "uuid",
    "symbol": "text",
    "side": "text",
    "quantity": "bigint",
    "average_price": "bigint",
    "entry_ns": "bigint",
    "fees": "bigint",
    "entry_sequence": "bigint",
}
_AMOUNTS: Final = frozenset(
    {"price", "quantity", "amount", "fee", "pnl", "cash", "entry_price", "exit_price", "fees", "average_price"}
)
_APPLIED_COLUMNS: Final = {
    "session_id": "uuid",
    "command_id": "uuid",
    "log_partition": "integer",
    "log_offset": "bigint",
    "tick_sequence": "bigint",
    "segment": "integer",
}
_APPLIED: Final = text(f"""
    UPDATE session_commands AS c SET
        applied = true, log_partition = r.log_partition, log_offset = r.log_offset, tick_sequence = r.tick_sequence,
        segment = r.segment
    FROM {rows.unnest("r", _APPLIED_COLUMNS)} WHERE c.session_id = r.session_id AND c.command_id = r.command_id
""")


def _insert(table: str, columns: Mapping[str, str], of: str, conflict: str = "") -> str:
    values = ", ".join(rows.decimal(f"r.{name}") if name in _AMOUNTS else f"r.{name}" for name in columns)
    read = f"SELECT {values} FROM {rows.unnest('r', columns, of)} WHERE {_ALL_PROVEN}"
    return f"INSERT INTO {table} ({', '.join(columns)}) {read} {conflict}"


_EVENTS: Final = _insert("session_events", _EVENT_COLUMNS, "event_")
_TRADES: Final = _insert(
    "trades",
    _TRADE_COLUMNS,
    "trade_",
    "ON CONFLICT (session_month, session_id, sequence) DO UPDATE SET ambiguous = excluded.ambiguous",
)
_POSITIONS: Final = _insert(
    "portfolio_positions",
    _POSITION_COLUMNS,
    "position_",
    "ON CONFLICT (session_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _POSITION_COLUMNS if name != "session_id"),
)
_CLOSED: Final = f"""
    DELETE FROM portfolio_positions WHERE session_id = ANY(CAST(:closed AS uuid[])) AND {_ALL_PROVEN}
"""
# Nothing of it where an epoch is not the newest. No part touches a row of another. A row that is stored only so that
# less has to be replayed need not be on the disk when the worker goes on: what a crash of the server takes is replayed.
_STORE: Final = text(f"""
    WITH proven AS ({_PROVE}), progress AS ({_PROGRESS}), events AS ({_EVENTS}), trades AS ({_TRADES}),
        positions AS ({_POSITIONS}), closed AS ({_CLOSED}), outgoing AS ({add(_ALL_PROVEN)})
    SELECT shard, set_config('synchronous_commit',
        CASE WHEN CAST(:replayable AS boolean) THEN 'off' ELSE current_setting('synchronous_commit') END, true)
    FROM proven
""")


class PostgresLedger:
    """The port `Ledger`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine
        self._statements = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def held(self, shards: Sequence[int], session_ids: Sequence[str] | None = None) -> list[Held]:
        """Select by shard, or by primary key among those of the shards."""
        where: dict[str, Any] = {"shards": list(shards)}
        which = ""
        if session_ids is not None:
            which = "AND session_id = ANY(CAST(:session_ids AS uuid[]))"
            where["session_ids"] = [UUID(session_id) for session_id in session_ids]
        query = text(f"""
            SELECT {rows.SESSION}, {rows.HELD} FROM {rows.SESSIONS}
            WHERE s.shard = ANY(CAST(:shards AS integer[])) AND s.status NOT IN ('created', 'stopped', 'halted') {which}
            ORDER BY session_id
        """)
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            found = (await connection.execute(query, where)).all()
            last = text(f"""
                SELECT DISTINCT ON (t.session_id) {rows.TRADE} FROM trades AS t
                JOIN unnest(CAST(:months AS date[]), CAST(:session_ids AS uuid[])) AS r (month, id)
                    ON t.session_month = r.month AND t.session_id = r.id
                ORDER BY t.session_id, sequence DESC
            """)
            traded = [row for row in found if row.total_trades]
            months = [row.created_at.date().replace(day=1) for row in traded]
            keys = {"months": months, "session_ids": [row.session_id for row in traded]}
            trades = {row.session_id: rows.trade(row) for row in await connection.execute(last, keys)}
        return [rows.held(row, trades.get(row.session_id)) for row in found]

    async def sessions(self, session_ids: Collection[str]) -> list[Session]:
        """Select by primary key."""
        query = text(f"""
            SELECT {rows.SESSION} FROM {rows.SESSIONS} WHERE s.session_id = ANY(CAST(:session_ids AS uuid[]))
        """)
        async with self._engine.connect() as connection:
            found = await connection.execute(query, {"session_ids": [UUID(one) for one in session_ids]})
            return [rows.session(row) for row in found]

    async def module(self, artefact_hash: str) -> bytes:
        """Select by hash."""
        query = text("SELECT module FROM session_artefacts WHERE artefact_hash = :artefact_hash")
        async with self._engine.connect() as connection:
            module = (await connection.execute(query, {"artefact_hash": artefact_hash})).scalar_one_or_none()
        if module is None:
            raise KeyError(artefact_hash)
        return bytes(module)

    async def waiting(self, shards: Sequence[int], count: int) -> list[Command]:
        """Select along the index of commands not applied."""
        query = text("""
            SELECT command_id, session_id, kind, correlation_id, traceparent FROM session_commands
            WHERE shard = ANY(CAST(:shards AS integer[])) AND NOT applied ORDER BY position
            LIMIT :count
        """)
        async with self._engine.connect() as connection:
            found = await connection.execute(query, {"shards": list(shards), "count": count})
            return [
                Command(
                    str(row.command_id), str(row.session_id), CommandKind(row.kind), row.correlation_id, row.traceparent
                )
                for row in found
            ]

    async def commit(self, epochs: Mapping[int, int], commit: Commit) -> None:
        """Prove the epochs of the shards concerned, then write."""
        concerned = {progress.session.shard for progress in commit.progress}
        concerned |= {session.shard for session, _ in commit.starts}
        concerned |= {shard_of(applied.session_id) for applied in commit.applied}
        mine = [(shard, epochs.get(shard, 0)) for shard in sorted(concerned)]
        fence = rows.arrays(_FENCE_COLUMNS, mine) | {"concerned": len(mine)}
        if _moves_only(commit):
            async with self._statements.connect() as connection:
                proven = await connection.execute(_STORE, _store(commit.progress, fence))
                await _expect(connection, epochs, concerned, proven.scalars())
        else:
            async with self._engine.begin() as connection:
                await _expect(connection, epochs, concerned, (await connection.execute(_FENCE, fence)).scalars())
                failpoints.reached("ledger.fenced")
                await _write(connection, commit, fence)
                failpoints.reached("ledger.before_commit")
        failpoints.reached("ledger.committed")


async def _expect(
    connection: AsyncConnection, epochs: Mapping[int, int], concerned: Collection[int], proven: Iterable[int]
) -> None:
    """Raise Fenced, with all shards that are another's by now, where one that is concerned is."""
    if set(concerned).difference(proven):
        held = (await connection.execute(_MINE, rows.arrays(_FENCE_COLUMNS, epochs.items()))).scalars()
        raise Fenced(sorted({*concerned, *epochs}.difference(held)))


def _moves_only(commit: Commit) -> bool:
    """Tell whether there is nothing to store but what `_STORE` does."""
    told = commit.starts or commit.applied
    return not told and not any(one.session.status.final or one.lost_from is not None for one in commit.progress)


async def _write(connection: AsyncConnection, commit: Commit, fence: Mapping[str, Any]) -> None:
    progress = commit.progress
    if commit.starts:
        values = [
            (session.session_id, session.correlation_id, place.partition, place.offset, place.orders_from)
            for session, place in commit.starts
        ]
        await connection.execute(_START, rows.arrays(_START_COLUMNS, values))
    if progress:
        await connection.execute(_STORE, _store(progress, fence))
    if commit.applied:
        applied = [astuple(applied) for applied in commit.applied]
        await connection.execute(_APPLIED, rows.arrays(_APPLIED_COLUMNS, applied))
    if commit.starts:
        await subscribe(connection, [session for session, _ in commit.starts])
    if ended := [one.session for one in progress if one.session.status.final]:
        await unsubscribe(connection, ended)
    for session, place in commit.starts:
        keys = {"symbol": session.symbol, "session_id": UUID(session.session_id)}
        await connection.execute(REWIND, {**keys, "partition": place.partition, "begin": place.offset})
    if lost := [one for one in progress if one.lost_from is not None]:
        values = [bases.values(one, opens=True, reason=POSITION_LOST, ended=one.lost_from) for one in lost]
        await connection.execute(bases.INSERT, rows.arrays(bases.COLUMNS, values))


def _store(progress: Sequence[Progress], fence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `_STORE`."""
    events = (_event(one, index) for one in progress for index in range(len(one.events)))
    trades = (_trade(one, index) for one in progress for index in range(len(one.trades)))
    moved = [one for one in progress if one.events]
    return {
        **rows.arrays(_PROGRESS_COLUMNS, map(_progress, progress), "progress_"),
        **rows.arrays(_EVENT_COLUMNS, events, "event_"),
        **rows.arrays(_TRADE_COLUMNS, trades, "trade_"),
        **rows.arrays(_POSITION_COLUMNS, (_position(one) for one in moved if one.open), "position_"),
        **fence,
        "replayable": not any(one.events or one.trades or one.outgoing for one in progress),
        "closed": [UUID(one.session.session_id) for one in moved if not one.open],
        **outgoing([message for one in progress for message in one.outgoing]),
    }


def _progress(one: Progress) -> tuple[Any, ...]:
    session, totals = one.session, one.totals
    return (
        session.session_id,
        session.status,
        session.halt_reason,
        session.correlation_id,
        session.cash,
        Decimal(session.equity),
        session.last_price,
        totals.trades,
        totals.winning,
        totals.realized_pnl,
        totals.peak_balance,
        totals.max_drawdown,
        session.bars,
        session.last_sequence,
        session.last_tick_sequence,
        one.place.offset,
        one.place.orders_from,
        one.begin_offset,
        one.place.feed_epoch,
        session.feed_state,
        session.source,
        session.segment,
        one.warmup_events,
        one.state,
    )


def _event(one: Progress, index: int) -> tuple[Any, ...]:
    e = one.events[index]
    return (
        one.session.month,
        e.session_id,
        e.sequence,
        e.kind,
        e.event_ns,
        e.tick_sequence,
        e.node_id,
        e.reason,
        e.side,
        e.price,
        e.quantity,
        e.amount,
        e.fee,
        e.pnl,
        e.cash,
    )


def _trade(one: Progress, index: int) -> tuple[Any, ...]:
    t = one.trades[index]
    return (
        one.session.month,
        t.session_id,
        t.sequence,
        t.side,
        t.quantity,
        t.entry_ns,
        t.entry_price,
        t.exit_ns,
        t.exit_price,
        t.fees,
        t.pnl,
        t.exit_reason,
        t.ambiguous,
    )


def _position(one: Progress) -> tuple[Any, ...]:
    assert one.open is not None  # noqa: S101  (the caller asked)
    o = one.open
    return (
        o.session_id,
        one.session.symbol,
        o.side,
        o.quantity,
        o.entry_price,
        o.entry_ns,
        o.fees,
        o.sequence,
    )
