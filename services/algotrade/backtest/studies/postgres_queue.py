"""The queue of optimisations in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.backtest.optimise.judge import Trial
from algotrade.backtest.postgres_leases import HELD, Leases, holding
from algotrade.backtest.store import Inputs, Key, State
from algotrade.backtest.studies import rows
from algotrade.backtest.studies.store import Claim, Concluded
from algotrade.engine.records import BAR

_KEEP: Final = text(f"""
    UPDATE optimizations SET done_trials = greatest(done_trials, :done), best = CAST(:best AS json), vain = 0
    WHERE optimization_id = :id AND {HELD}
    RETURNING optimization_id
""")
# Stored already where the answer to the first try was lost: a trial is what it is, however often it is made.
_TRIALS: Final = text("""
    INSERT INTO optimization_trials (optimization_id, number, point, in_sample, out_of_sample)
    SELECT :id, r.number, r.point, r.in_sample, r.out_of_sample
    FROM unnest(
        CAST(:number AS integer[]), CAST(:point AS json[]), CAST(:in_sample AS json[]), CAST(:out_of_sample AS json[])
    ) AS r (number, point, in_sample, out_of_sample)
    ON CONFLICT (optimization_id, number) DO NOTHING
""")
_FINISH: Final = text(f"""
    UPDATE optimizations SET
        state = CAST(:state AS backtest_state), worker = NULL, lease_until = NULL, end_time = now(),
        outcome = CAST(:outcome AS json)
    WHERE optimization_id = :id AND {HELD}
    RETURNING optimization_id
""")


class PostgresOptimizationQueue:
    """The port `OptimizationQueue`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine
        self._leases = Leases(
            engine,
            "optimizations",
            "optimization_id",
            done="done_trials",
            vain="vain",
            begins="vain = b.vain + 1, start_time = coalesce(b.start_time, now())",
            concluded=True,
        )

    async def claim(self, worker: str, *, lease_seconds: float, per_user: int) -> Claim | None:
        """Take the oldest; one process at a time, so that bounds hold."""
        columns = f"{rows.OPTIMIZATION}, d.bars, a.module"
        row = await self._leases.claim(worker, columns, lease_seconds=lease_seconds, per_user=per_user)
        if row is None:
            return None
        return Claim(worker, rows.optimization(row), Inputs(bytes(row.module), np.frombuffer(row.bars, BAR)))

    async def counts(self) -> dict[State, int]:
        """Count along the index of what has not ended."""
        return await self._leases.counts()

    async def renew(self, worker: str, done: Mapping[Key, int], *, lease_seconds: float) -> Sequence[Key]:
        """Update those that are held, in the order of their ids."""
        return await self._leases.renew(worker, done, lease_seconds=lease_seconds)

    async def trials(self, optimization_id: str, first: int, count: int) -> list[Trial]:
        """Select along the primary key."""
        return await rows.trials(self._engine, optimization_id, first, count)

    async def keep(self, worker: str, held: Key, trials: Sequence[Trial], best: Trial | None) -> bool:
        """Update the row and insert the trials in one transaction."""
        values = holding(worker, held) | {
            "done": trials[-1].number + 1,
            "best": None if best is None else json.dumps(asdict(best)),
        }
        columns: dict[str, list[object]] = {}
        for trial in trials:
            for name, value in rows.trial_values(trial).items():
                columns.setdefault(name, []).append(value)
        async with self._engine.begin() as connection:
            if (await connection.execute(_KEEP, values)).first() is None:
                return False
            await connection.execute(_TRIALS, {"id": UUID(held[0])} | columns)
        return True

    async def finish(self, worker: str, held: Key, outcome: Concluded) -> bool:
        """Update the row."""
        state = State.SUCCEEDED if outcome.whole else State.CANCELLED
        values = holding(worker, held) | {"state": state.value, "outcome": rows.outcome_text(outcome.outcome)}
        async with self._engine.begin() as connection:
            return (await connection.execute(_FINISH, values)).first() is not None

    async def end(self, worker: str, held: Key, state: State, failure: str = "") -> bool:
        """Update the row."""
        return await self._leases.end(worker, held, state, failure)
