"""The queue of runs in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.backtest import rows
from algotrade.backtest.postgres_leases import HELD, Leases, holding
from algotrade.backtest.store import Claim, Inputs, Key, Outcome, State
from algotrade.engine.records import BAR

_FINISH: Final = text(f"""
    UPDATE backtest_results SET
        state = 'succeeded', worker = NULL, lease_until = NULL, end_time = now(), done_bars = :done_bars,
        summary = CAST(:summary AS json), metrics = CAST(:metrics AS json), equity = :equity
    WHERE backtest_id = :id AND {HELD} AND NOT cancel_requested
    RETURNING backtest_id
""")
_TRADES: Final = text(f"""
    INSERT INTO backtest_trades (backtest_id, number, {", ".join(rows.TRADE)})
    SELECT :backtest_id, r.number, {", ".join(f"r.{name}" for name in rows.TRADE)}
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in rows.TRADE.items())})
        WITH ORDINALITY AS r ({", ".join(rows.TRADE)}, number)
""")


class PostgresBacktestQueue:
    """The port `BacktestQueue`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine
        self._leases = Leases(
            engine,
            "backtest_results",
            "backtest_id",
            done="done_bars",
            vain="attempt",
            begins="done_bars = 0, start_time = now()",
        )

    async def claim(self, worker: str, *, lease_seconds: float, per_user: int) -> Claim | None:
        """Take the oldest; one process at a time, so that bounds hold."""
        columns = f"{rows.BACKTEST}, d.bars, a.module"
        row = await self._leases.claim(worker, columns, lease_seconds=lease_seconds, per_user=per_user)
        if row is None:
            return None
        return Claim(rows.backtest(row), Inputs(bytes(row.module), np.frombuffer(row.bars, BAR)))

    async def counts(self) -> dict[State, int]:
        """Count along the index of what has not ended."""
        return await self._leases.counts()

    async def renew(self, worker: str, done: Mapping[Key, int], *, lease_seconds: float) -> Sequence[Key]:
        """Update those that are held, in the order of their ids."""
        return await self._leases.renew(worker, done, lease_seconds=lease_seconds)

    async def finish(self, worker: str, held: Key, outcome: Outcome) -> bool:
        """Update row and insert trades in one transaction."""
        summary, metrics = rows.summary_json(outcome.summary)
        values = holding(worker, held) | {
            "done_bars": len(outcome.equity),
            "summary": json.dumps(summary),
            "metrics": json.dumps(metrics),
            "equity": outcome.equity.astype("<f8").tobytes(),
        }
        async with self._engine.begin() as connection:
            if (await connection.execute(_FINISH, values)).first() is None:
                return False
            await _insert_trades(connection, held[0], outcome)
        return True

    async def end(self, worker: str, held: Key, state: State, failure: str = "") -> bool:
        """Update the row."""
        return await self._leases.end(worker, held, state, failure)


async def _insert_trades(connection: AsyncConnection, backtest_id: str, outcome: Outcome) -> None:
    if not outcome.trades:
        return
    columns = zip(*(rows.trade_values(trade) for trade in outcome.trades), strict=True)
    values = dict(zip(rows.TRADE, map(list, columns), strict=True))
    await connection.execute(_TRADES, {"backtest_id": UUID(backtest_id), **values})
