"""Symbol leases in the table symbol_leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.market_data.feed import FeedState, Resume
from algotrade.market_data.store import Advance, Fenced

_TAKE: Final = text("""
    INSERT INTO symbol_leases (symbol, epoch)
    SELECT symbol, 1 FROM unnest(CAST(:symbols AS text[])) AS symbol ORDER BY symbol
    ON CONFLICT (symbol) DO UPDATE SET epoch = symbol_leases.epoch + 1, lease_time = now()
    RETURNING symbol, epoch, last_sequence, last_event_ns, last_price, last_state, last_trade_id
""")
_LOCK: Final = text("""
    SELECT symbol, epoch, last_sequence, last_state FROM symbol_leases WHERE symbol = ANY(CAST(:symbols AS text[]))
    ORDER BY symbol FOR UPDATE
""")
_ADVANCE: Final = text("""
    UPDATE symbol_leases SET
        last_sequence = moved.sequence, last_event_ns = moved.event_ns, last_price = moved.price,
        last_state = moved.state, last_trade_id = moved.trade_id
    FROM unnest(CAST(:symbols AS text[]), CAST(:sequences AS bigint[]), CAST(:events_ns AS bigint[]),
        CAST(:prices AS bigint[]), CAST(:states AS smallint[]), CAST(:trade_ids AS text[]))
        AS moved (symbol, sequence, event_ns, price, state, trade_id)
    WHERE symbol_leases.symbol = moved.symbol
""")


class PostgresLeases:
    """The port `LeaseStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the database."""
        self._engine = engine

    async def take(self, symbols: Sequence[str]) -> Mapping[str, Resume]:
        """Become the writer of symbols; return for each the new epoch and where its log stands."""
        async with self._engine.begin() as connection:
            rows = await connection.execute(_TAKE, {"symbols": sorted(symbols)})
            return {row.symbol: _resume(row) for row in rows}

    async def advance(self, connection: AsyncConnection, advances: Mapping[str, Advance]) -> bool:
        """Move feeds on within the caller's transaction; see the port."""
        symbols = sorted(advances)
        rows = {row.symbol: row for row in await connection.execute(_LOCK, {"symbols": symbols})}
        for symbol in symbols:
            if symbol not in rows or rows[symbol].epoch != advances[symbol].after.epoch:
                raise Fenced(symbol)
        if all(_stands_at(rows[symbol], advances[symbol].after) for symbol in symbols):
            return False
        for symbol in symbols:
            if rows[symbol].last_sequence != advances[symbol].before:
                raise Fenced(symbol)
        await connection.execute(
            _ADVANCE,
            {
                "symbols": symbols,
                "sequences": [advances[symbol].after.sequence for symbol in symbols],
                "events_ns": [advances[symbol].after.event_ns for symbol in symbols],
                "prices": [advances[symbol].after.price for symbol in symbols],
                "states": [advances[symbol].after.state for symbol in symbols],
                "trade_ids": [advances[symbol].after.trade_id for symbol in symbols],
            },
        )
        return True


def _resume(row: Row[Any]) -> Resume:
    state = FeedState(row.last_state)
    return Resume(row.epoch, row.last_sequence, row.last_event_ns, row.last_price, state, row.last_trade_id)


def _stands_at(row: Row[Any], point: Resume) -> bool:
    return bool(row.last_sequence == point.sequence and row.last_state == point.state)
