"""How sessions, trades and events lie in rows: amounts as decimals of 8 places, arrays of columns for batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row

from algotrade.engine.settings import RunSettings
from algotrade.forward_test.session import Event, Held, Place, Session, SessionTrade, Status, Totals


def units(column: str, name: str | None = None) -> str:
    """SQL that reads a decimal as an integer of 1e-8."""
    return f"CAST({column} * 100000000 AS bigint) AS {name or column.rpartition('.')[2]}"


def decimal(column: str) -> str:
    """SQL that makes the decimal of an integer of 1e-8, exactly."""
    return f"{column} * 0.00000001"


def unnest(alias: str, columns: Mapping[str, str], of: str = "") -> str:
    """SQL that turns array parameters, one a column {name: type}, into rows with their place in them.

    ``of`` comes before the parameters' names where one statement has several of these.
    """
    casts = ", ".join(f"CAST(:{of}{name} AS {kind}[])" for name, kind in columns.items())
    return f"unnest({casts}) WITH ORDINALITY AS {alias} ({', '.join(columns)}, place)"


def arrays(columns: Mapping[str, str], rows: Iterable[Sequence[Any]], of: str = "") -> dict[str, list[Any]]:
    """Return the parameters of `unnest` for rows with values in the order of the columns."""
    names = [of + name for name in columns]
    lists: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        for name, value in zip(names, row, strict=True):
            lists[name].append(value)
    return lists


SESSION: Final = f"""
    s.session_id, s.user_id, s.session_name, s.strategy_id, s.strategy_version, s.artefact_hash, s.symbol,
    s.settings, s.parameters, s.from_first_tick, s.created_at, s.warmup_bars, CAST(s.status AS text) AS status,
    s.feed_state, s.source, s.segment,
    s.halt_reason, s.total_trades, s.winning_trades, s.bars, s.last_sequence, s.last_tick_sequence, s.correlation_id,
    s.started_at, s.stopped_at, {units("s.current_balance", "cash")}, s.equity * 100000000 AS equity,
    {units("s.last_price")},
    {units("s.total_pnl")}, {units("p.quantity", "open_quantity")}, {units("p.average_price", "open_price")},
    p.side AS open_side
    """
SESSIONS: Final = "forward_test_sessions AS s LEFT JOIN portfolio_positions AS p USING (session_id)"
HELD: Final = f"""
    s.log_partition, s.log_offset, s.orders_from, s.begin_offset, s.feed_epoch, s.warmup_events, s.state,
    {units("s.peak_balance")}, {units("s.max_drawdown")}, p.entry_ns AS open_ns, {units("p.fees", "open_fees")},
    p.entry_sequence AS open_sequence
    """
TRADE: Final = f"""
    session_id, sequence, side, {units("quantity")}, entry_ns, {units("entry_price")}, exit_ns, {units("exit_price")},
    {units("fees")}, {units("pnl")}, exit_reason, ambiguous
    """
EVENT: Final = f"""
    session_id, sequence, kind, event_ns, tick_sequence, node_id, reason, side, {units("price")}, {units("quantity")},
    {units("amount")}, {units("fee")}, {units("pnl")}, {units("cash")}
    """


def session(row: Row[Any]) -> Session:
    """Read the columns `SESSION`."""
    side = -1 if row.open_side == "short" else 1
    return Session(
        session_id=str(row.session_id),
        user_id=str(row.user_id),
        name=row.session_name,
        strategy_id=str(row.strategy_id),
        strategy_version=row.strategy_version,
        artefact_hash=row.artefact_hash,
        symbol=row.symbol,
        settings=RunSettings.parse(row.settings),
        parameters=row.parameters,
        from_first_tick=row.from_first_tick,
        create_time=row.created_at,
        warmup_bars=row.warmup_bars,
        cash=row.cash,
        equity=int(row.equity),  # what a position is worth has no bound, only what the ledger takes in has
        status=Status(row.status),
        halt_reason=row.halt_reason,
        quantity=side * (row.open_quantity or 0),
        average_price=row.open_price or 0,
        last_price=row.last_price,
        realized_pnl=row.total_pnl,
        total_trades=row.total_trades,
        winning_trades=row.winning_trades,
        bars=row.bars,
        last_sequence=row.last_sequence,
        last_tick_sequence=row.last_tick_sequence,
        feed_state=row.feed_state,
        source=row.source,
        segment=row.segment,
        correlation_id=row.correlation_id,
        start_time=row.started_at,
        stop_time=row.stopped_at,
    )


def held(row: Row[Any], last_trade: SessionTrade | None) -> Held:
    """Read the columns `SESSION` and `HELD`."""
    return Held(
        session=session(row),
        place=Place(row.log_partition, row.log_offset, row.orders_from, row.feed_epoch),
        begin_offset=row.begin_offset,
        state=state(row),
        warmup_events=row.warmup_events,
        totals=Totals(row.total_trades, row.winning_trades, row.total_pnl, row.peak_balance, row.max_drawdown),
        open=open_trade(row),
        last_trade=last_trade,
    )


def state(row: Row[Any]) -> bytes | None:
    """Read the engine's row among the columns `HELD`."""
    return None if row.state is None else bytes(row.state)


def open_trade(row: Row[Any]) -> SessionTrade | None:
    """Read the position among the columns `SESSION` and `HELD` as a trade without an exit."""
    if row.open_side is None:
        return None
    return SessionTrade(
        session_id=str(row.session_id),
        sequence=row.open_sequence,
        side=row.open_side,
        quantity=row.open_quantity,
        entry_ns=row.open_ns,
        entry_price=row.open_price,
        exit_ns=None,
        exit_price=None,
        fees=row.open_fees,
        pnl=None,
        exit_reason=None,
        ambiguous=False,
    )


def trade(row: Row[Any]) -> SessionTrade:
    """Read the columns `TRADE`."""
    session_id, *rest = tuple(row)
    return SessionTrade(str(session_id), *rest)


def event(row: Row[Any]) -> Event:
    """Read the columns `EVENT`."""
    session_id, *rest = tuple(row)
    return Event(str(session_id), *rest)
