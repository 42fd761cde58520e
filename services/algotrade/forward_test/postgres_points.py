"""What charts of sessions are drawn from, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.engine.records import EventKind
from algotrade.forward_test import rows
from algotrade.forward_test.points import Drawn
from algotrade.forward_test.session import Session
from algotrade.platform.replica import Reader

_ROW: Final = text("""
    SELECT orders_from, last_tick_sequence FROM forward_test_sessions WHERE session_id = :session_id
""")
_BAR_COLUMNS: Final = ("start_ns", "open", "high", "low", "close", "volume", "closed_sequence")
_FILL_COLUMNS: Final = ("tick_sequence", "cash", "quantity")


def _columns(names: Sequence[str], order: str, query: str) -> TextClause:
    """Have the columns of a query as arrays: a row each would take a hundred times as long to read."""
    arrays = ", ".join(f"coalesce(array_agg({name} ORDER BY {order}), '{{}}') AS {name}" for name in names)
    return text(f"SELECT {arrays} FROM ({query}) AS r")


_BARS: Final = _columns(
    _BAR_COLUMNS,
    "start_ns",
    f"""
    SELECT start_ns, {rows.units("open")}, {rows.units("high")}, {rows.units("low")}, {rows.units("close")}, volume,
        closed_sequence
    FROM chart_data
    WHERE symbol = :symbol AND interval_ns = :interval AND start_ns > :after AND closed_offset >= :orders_from
        AND closed_sequence <= :last_tick
    ORDER BY start_ns LIMIT :count
    """,
)
_SIGNED: Final = f"""
    CASE WHEN (kind = {EventKind.ENTRY:d}) = (side <> 'short') THEN quantity ELSE -quantity END
"""
_FILLS: Final = _columns(
    _FILL_COLUMNS,
    "sequence",
    f"""
    SELECT sequence, tick_sequence, {rows.units("cash")},
        {rows.units(f"sum({_SIGNED}) OVER (ORDER BY sequence)", "quantity")}
    FROM session_events
    WHERE session_month = :month AND session_id = :session_id AND kind IN ({EventKind.ENTRY:d}, {EventKind.EXIT:d})
    ORDER BY sequence LIMIT :count
    """,
)


class PostgresPoints:
    """The port `PointStore`."""

    def __init__(self, reader: Reader) -> None:
        """Take where to read."""
        self._reader = reader

    async def drawn(self, session: Session, interval: int, after_ns: int, most_bars: int, most_fills: int) -> Drawn:
        """Select along the primary keys, everything as of one moment."""

        async def read(connection: AsyncConnection) -> Drawn | None:
            return await _drawn(connection, session, interval, after_ns, most_bars, most_fills)

        if (found := await self._reader.read(read)) is None:
            raise KeyError(session.session_id)
        return found


async def _drawn(
    connection: AsyncConnection, session: Session, interval: int, after_ns: int, most_bars: int, most_fills: int
) -> Drawn | None:
    key = {"session_id": UUID(session.session_id)}
    await connection.execution_options(isolation_level="REPEATABLE READ")
    row = (await connection.execute(_ROW, key)).one_or_none()
    if row is None:
        return None
    span = {"after": after_ns, "orders_from": row.orders_from, "last_tick": row.last_tick_sequence}
    where = {"symbol": session.symbol, "interval": interval, "count": most_bars + 1, **span}
    bars = (await connection.execute(_BARS, where)).one()._mapping
    where = {**key, "month": session.month, "count": most_fills}
    fills = (await connection.execute(_FILLS, where)).one()._mapping
    kept = {name: bars[name][:most_bars] for name in _BAR_COLUMNS}
    return Drawn(session, kept, dict(fills), more=len(bars["start_ns"]) > most_bars)
