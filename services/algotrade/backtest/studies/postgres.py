"""Optimisations in PostgreSQL, as those who ask for them see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.backtest.optimise.judge import Trial
from algotrade.backtest.postgres_inputs import drop_inputs, insert_inputs
from algotrade.backtest.studies import rows
from algotrade.backtest.studies.store import Draft, Optimization, no_optimization
from algotrade.platform import limits
from algotrade.platform.once import Once, earlier_answer, lock_user
from algotrade.platform.quotas import check_room

RETRY_SECONDS: Final = 60.0  # an optimisation may have ended by then
_INSERT: Final = text("""
    INSERT INTO optimizations (
        optimization_id, user_id, name, strategy_id, strategy_version, graph, artefact_hash, data_hash, settings,
        parameters, axes, method, asked_trials, seed, objective, minimize, folds, test_share, points, total_trials,
        create_time, source
    ) VALUES (
        :optimization_id, :user_id, :name, :strategy_id, :strategy_version, :graph, :artefact_hash, :data_hash,
        CAST(:settings AS json), CAST(:parameters AS json), CAST(:axes AS json), :method, :asked_trials, :seed,
        :objective, :minimize, :folds, :test_share, :points, :total_trials, :create_time,
        CAST(:source AS json)
    )
""")
_KEPT: Final = text("""
    SELECT count(*) AS optimizations, count(*) FILTER (WHERE state IN ('queued', 'running')) AS unfinished,
        coalesce(sum(CAST(total_trials AS bigint) * greatest(folds, 1)), 0) AS judged
    FROM optimizations WHERE user_id = :user_id
""")
_CANCEL: Final = text("""
    UPDATE optimizations SET
        cancel_requested = true,
        end_time = CASE WHEN state = 'queued' AND done_trials = 0 THEN now() END,
        state = CASE WHEN state = 'queued' AND done_trials = 0 THEN 'cancelled' ELSE state END
    WHERE optimization_id = :optimization_id AND user_id = :user_id AND state IN ('queued', 'running')
""")


class PostgresOptimizationStore:
    """The port `OptimizationStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def create(self, draft: Draft, once: Once | None) -> bytes | None:
        """Insert the optimisation and what it depends on in one transaction, under a lock on the account."""
        one = draft.optimization
        async with self._engine.begin() as connection:
            await lock_user(connection, one.user_id)
            if once is not None and (answer := await earlier_answer(connection, once)) is not None:
                return answer
            await _check_room(connection, one)
            await insert_inputs(connection, one.user_id, one.artefact_hash, one.data_hash, draft.inputs)
            await connection.execute(_INSERT, rows.values(one) | {"graph": draft.graph})
        return None

    async def find(self, user_id: str, optimization_id: str) -> Optimization:
        """Select by primary key and owner."""
        query = text(f"""
            SELECT {rows.OPTIMIZATION}, b.outcome FROM optimizations AS b
            WHERE b.optimization_id = :optimization_id AND b.user_id = :user_id
        """)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query, _owned(user_id, optimization_id))).first()
        if row is None:
            raise no_optimization(optimization_id)
        return rows.optimization(row)

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Optimization]:
        """Select along the index of each user's newest."""
        where: dict[str, Any] = {"user_id": UUID(user_id), "count": count}
        earlier = ""
        if before is not None:
            earlier = "AND (b.create_time, b.optimization_id) < (:create_time, :optimization_id)"
            where |= {"create_time": before[0], "optimization_id": UUID(before[1])}
        query = text(f"""
            SELECT {rows.OPTIMIZATION} FROM optimizations AS b WHERE b.user_id = :user_id {earlier}
            ORDER BY b.create_time DESC, b.optimization_id DESC LIMIT :count
        """)
        async with self._engine.connect() as connection:
            return [rows.optimization(row) for row in await connection.execute(query, where)]

    async def trials(self, optimization_id: str, first: int, count: int) -> list[Trial]:
        """Select along the primary key."""
        return await rows.trials(self._engine, optimization_id, first, count)

    async def cancel(self, user_id: str, optimization_id: str) -> None:
        """Update by primary key and owner, whatever the state was a moment ago."""
        async with self._engine.begin() as connection:
            await connection.execute(_CANCEL, _owned(user_id, optimization_id))

    async def delete(self, user_id: str, optimization_id: str) -> bool:
        """Delete the optimisation; then what it alone depended on."""
        statement = text("""
            DELETE FROM optimizations WHERE optimization_id = :optimization_id AND user_id = :user_id
            RETURNING artefact_hash, data_hash
        """)
        async with self._engine.begin() as connection:
            gone = (await connection.execute(statement, _owned(user_id, optimization_id))).first()
        if gone is None:
            return False
        await drop_inputs(self._engine, gone.artefact_hash, gone.data_hash)
        return True


def _owned(user_id: str, optimization_id: str) -> dict[str, UUID]:
    return {"user_id": UUID(user_id), "optimization_id": UUID(optimization_id)}


async def _check_room(connection: AsyncConnection, one: Optimization) -> None:
    kept = (await connection.execute(_KEPT, {"user_id": UUID(one.user_id)})).one()
    unfinished = kept.unfinished + 1
    check_room("unfinished_optimizations", unfinished, limits.MAX_UNFINISHED_OPTIMIZATIONS, retry_seconds=RETRY_SECONDS)
    check_room("optimizations", kept.optimizations + 1, limits.MAX_OPTIMIZATIONS)
    judged = int(kept.judged) + one.total_trials * max(one.plan.folds, 1)
    check_room("judged_folds", judged, limits.MAX_JUDGED_FOLDS)
