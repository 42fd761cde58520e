"""What charts of sessions are drawn from, in PostgreSQL."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.engine.records import EventKind
from algotrade.forward_test import rows
from algotrade.forward_test.charts import ChartBar
from algotrade.forward_test.points import Drawn, Fill
from algotrade.forward_test.session import Session

_ROW: Final = text("""
    SELECT orders_from, last_tick_sequence FROM forward_test_sessions WHERE session_id = :session_id
""")
_BARS: Final = text(f"""
    SELECT start_ns, {rows.units("open")}, {rows.units("high")}, {rows.units("low")}, {rows.units("close")}, volume,
        closed_offset, closed_sequence
    FROM chart_data
    WHERE symbol = :symbol AND interval_ns = :interval AND start_ns > :after AND closed_offset >= :orders_from
        AND closed_sequence <= :last_tick
    ORDER BY start_ns LIMIT :count
""")
_SIGNED: Final = f"""
    CASE WHEN (kind = {EventKind.ENTRY:d}) = (side <> 'short') THEN quantity ELSE -quantity END
"""
_FILLS: Final = text(f"""
    SELECT tick_sequence, {rows.units("cash")}, {rows.units(f"sum({_SIGNED}) OVER (ORDER BY sequence)", "held")}
    FROM session_events
    WHERE session_month = :month AND session_id = :session_id AND kind IN ({EventKind.ENTRY:d}, {EventKind.EXIT:d})
    ORDER BY sequence LIMIT :count
""")


class PostgresPoints:
    """The port `PointStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read through."""
        self._engine = engine

    async def drawn(self, session: Session, interval: int, after_ns: int, most_bars: int, most_fills: int) -> Drawn:
        """Select along the primary keys, everything as of one moment."""
        key = {"session_id": UUID(session.session_id)}
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            row = (await connection.execute(_ROW, key)).one_or_none()
            if row is None:
                raise KeyError(session.session_id)
            if row.orders_from is None:  # it has not begun
                return Drawn(session, (), (), more=False)
            span = {"after": after_ns, "orders_from": row.orders_from, "last_tick": row.last_tick_sequence}
            where = {"symbol": session.symbol, "interval": interval, "count": most_bars + 1, **span}
            bars = [ChartBar(*one) for one in await connection.execute(_BARS, where)]
            where = {**key, "month": session.month, "count": most_fills}
            fills = [Fill(*one) for one in await connection.execute(_FILLS, where)]
        return Drawn(session, bars[:most_bars], fills, more=len(bars) > most_bars)
