"""What a worker stores as sessions move on, in one statement that proves the epochs: nothing of it unless all are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from algotrade.forward_test import rows
from algotrade.forward_test.postgres_outbox import add, outgoing
from algotrade.forward_test.session import Progress

FENCE_COLUMNS: Final = {"shard": "integer", "epoch": "bigint"}
PROVE: Final = f"""
    UPDATE shards SET proof_time = now() FROM {rows.unnest("mine", FENCE_COLUMNS)}
    WHERE shards.shard = mine.shard AND shards.epoch = mine.epoch
    RETURNING shards.shard
"""
_ALL_PROVEN: Final = "(SELECT count(*) FROM proven) = CAST(:concerned AS bigint)"
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
STORE: Final = text(f"""
    WITH proven AS ({PROVE}), progress AS ({_PROGRESS}), events AS ({_EVENTS}), trades AS ({_TRADES}),
        positions AS ({_POSITIONS}), closed AS ({_CLOSED}), outgoing AS ({add(_ALL_PROVEN)})
    SELECT shard, set_config('synchronous_commit',
        CASE WHEN CAST(:replayable AS boolean) THEN 'off' ELSE current_setting('synchronous_commit') END, true)
    FROM proven
""")


def parameters(progress: Sequence[Progress], fence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `STORE`; ``fence``: those of `PROVE`, and how many shards are ``concerned``."""
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
