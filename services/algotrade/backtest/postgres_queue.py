"""The queue of runs in PostgreSQL. Its clock is the database's, so that leases mean the same to every process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.backtest import rows
from algotrade.backtest.store import Backtest, Claim, Inputs, Outcome, State
from algotrade.engine.records import BAR

MOST_ATTEMPTS: Final = 5  # a run that takes its process down each time must not do so for ever
CLAIM_LOCK: Final = 0x6261636B  # any number, the same in every process

_WAITING: Final = text("""
    SELECT EXISTS (
        SELECT 1 FROM backtest_results
        WHERE state IN ('queued', 'running') AND (state = 'queued' OR lease_until < now())
    )
""")
_SWEEP: Final = (
    text("""
        UPDATE backtest_results SET state = 'cancelled', end_time = now(), worker = NULL, lease_until = NULL
        WHERE state = 'running' AND lease_until < now() AND cancel_requested
    """),
    text("""
        UPDATE backtest_results SET
            state = 'failed', end_time = now(), worker = NULL, lease_until = NULL,
            failure = 'its worker was lost ' || attempt || ' times'
        WHERE state = 'running' AND lease_until < now() AND attempt >= :most
    """),
)
_CLAIM: Final = text(f"""
    UPDATE backtest_results AS b SET
        state = 'running', worker = :worker, lease_until = now() + make_interval(secs => :lease),
        attempt = b.attempt + 1, done_bars = 0, start_time = now()
    FROM backtest_data AS d, backtest_artefacts AS a
    WHERE d.data_hash = b.data_hash AND a.artefact_hash = b.artefact_hash AND b.backtest_id = (
        SELECT w.backtest_id FROM backtest_results AS w
        WHERE w.state IN ('queued', 'running') AND (w.state = 'queued' OR w.lease_until < now()) AND (
            SELECT count(*) FROM backtest_results AS r
            WHERE r.user_id = w.user_id AND r.state = 'running' AND r.lease_until >= now()
        ) < :per_user
        ORDER BY w.create_time, w.backtest_id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING {rows.BACKTEST}, d.bars, a.module
""")
_RENEW: Final = text("""
    UPDATE backtest_results AS b SET
        lease_until = now() + make_interval(secs => :lease), done_bars = greatest(b.done_bars, r.done_bars)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS integer[]), CAST(:done AS bigint[]))
        AS r (backtest_id, attempt, done_bars)
    WHERE b.backtest_id = r.backtest_id AND b.attempt = r.attempt AND b.state = 'running' AND b.worker = :worker
    RETURNING b.backtest_id, b.attempt, b.cancel_requested
""")
_HELD: Final = """
    backtest_id = :backtest_id AND state = 'running' AND worker = :worker AND attempt = :attempt
    """
_FINISH: Final = text(f"""
    UPDATE backtest_results SET
        state = 'succeeded', worker = NULL, lease_until = NULL, end_time = now(), done_bars = :done_bars,
        summary = CAST(:summary AS json), metrics = CAST(:metrics AS json), equity = :equity
    WHERE {_HELD} AND NOT cancel_requested
    RETURNING backtest_id
""")
_END: Final = text(f"""
    UPDATE backtest_results SET
        state = CAST(:state AS backtest_state), failure = :failure, worker = NULL, lease_until = NULL,
        end_time = CASE WHEN :state <> 'queued' THEN now() END
    WHERE {_HELD}
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

    async def claim(self, worker: str, *, lease_seconds: float, per_user: int) -> Claim | None:
        """Settle what was abandoned, then take the oldest; one process at a time, so that bounds hold."""
        async with self._engine.begin() as connection:
            if not (await connection.execute(_WAITING)).scalar_one():
                return None
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CLAIM_LOCK})
            cancelled, lost = _SWEEP
            await connection.execute(cancelled)
            await connection.execute(lost, {"most": MOST_ATTEMPTS})
            values = {"worker": UUID(worker), "lease": lease_seconds, "per_user": per_user}
            row = (await connection.execute(_CLAIM, values)).first()
        if row is None:
            return None
        return Claim(rows.backtest(row), Inputs(bytes(row.module), np.frombuffer(row.bars, BAR)))

    async def counts(self) -> dict[State, int]:
        """Count along the index of what has not ended."""
        query = text("""
            SELECT CAST(state AS text), count(*) FROM backtest_results
            WHERE state IN ('queued', 'running') GROUP BY state
        """)
        async with self._engine.connect() as connection:
            found: dict[str, int] = dict(tuple(row) for row in await connection.execute(query))
        return {state: found.get(state, 0) for state in (State.QUEUED, State.RUNNING)}

    async def renew(
        self, worker: str, done: Mapping[tuple[str, int], int], *, lease_seconds: float
    ) -> Sequence[tuple[str, int]]:
        """Update those that are held, in the order of their ids."""
        held = sorted(done)
        values = {
            "worker": UUID(worker),
            "lease": lease_seconds,
            "ids": [UUID(backtest_id) for backtest_id, _ in held],
            "attempts": [attempt for _, attempt in held],
            "done": [done[key] for key in held],
        }
        async with self._engine.begin() as connection:
            found = (await connection.execute(_RENEW, values)).all()
        return [(str(row.backtest_id), row.attempt) for row in found if not row.cancel_requested]

    async def finish(self, worker: str, held: Backtest, outcome: Outcome) -> bool:
        """Update row and insert trades in one transaction."""
        summary, metrics = rows.summary_json(outcome.summary)
        values = _held(worker, held) | {
            "done_bars": len(outcome.equity),
            "summary": json.dumps(summary),
            "metrics": json.dumps(metrics),
            "equity": outcome.equity.astype("<f8").tobytes(),
        }
        async with self._engine.begin() as connection:
            if (await connection.execute(_FINISH, values)).first() is None:
                return False
            await _insert_trades(connection, held, outcome)
        return True

    async def end(self, worker: str, held: Backtest, state: State, failure: str = "") -> bool:
        """Update the row."""
        values = _held(worker, held) | {"state": state.value, "failure": failure}
        async with self._engine.begin() as connection:
            return (await connection.execute(_END, values)).first() is not None


def _held(worker: str, held: Backtest) -> dict[str, Any]:
    return {"backtest_id": UUID(held.backtest_id), "worker": UUID(worker), "attempt": held.attempt}


async def _insert_trades(connection: AsyncConnection, held: Backtest, outcome: Outcome) -> None:
    if not outcome.trades:
        return
    columns = zip(*(rows.trade_values(trade) for trade in outcome.trades), strict=True)
    values = dict(zip(rows.TRADE, map(list, columns), strict=True))
    await connection.execute(_TRADES, {"backtest_id": UUID(held.backtest_id), **values})
