"""Rows that are their own place in a queue: held by a lease, fenced by the attempt's number, settled when abandoned.

The clock is the database's, so that leases mean the same to every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.backtest.store import Key, State

MOST_ATTEMPTS: Final = 5  # what takes its process down each time must not do so for ever
CLAIM_LOCK: Final = 0x6261636B  # any number, the same in every process
HELD: Final = "state = 'running' AND worker = :worker AND attempt = :attempt"


class Leases:
    """The queue of one table.

    ``key`` names its primary key, ``done`` the column that counts what is done, ``vain`` the one that counts attempts
    that came to nothing; ``begins`` is what a claim sets beside state and lease. What is cancelled while its worker is
    lost ends there, unless ``concluded``: then it is claimed once more, for what there is to be made of it.
    """

    def __init__(
        self, engine: AsyncEngine, table: str, key: str, *, done: str, vain: str, begins: str, concluded: bool = False
    ) -> None:
        """Take the pool and the names, which are written into the statements."""
        self._engine = engine
        self._key = key
        free = "state IN ('queued', 'running') AND (state = 'queued' OR lease_until < now())"
        self._waiting = text(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {free})")
        ends = f"UPDATE {table} SET worker = NULL, lease_until = NULL, end_time = now(), state"
        abandoned = "WHERE state = 'running' AND lease_until < now()"
        lost = f"failure = 'its worker was lost ' || {vain} || ' times'"
        given_up = f"AND {vain} >= {MOST_ATTEMPTS}"
        cancelled = f"AND cancel_requested {given_up if concluded else ''}"
        self._sweep = (
            text(f"{ends} = 'cancelled' {abandoned} {cancelled}"),
            text(f"{ends} = 'failed', {lost} {abandoned} {given_up}"),
        )
        self._claim = f"""
            UPDATE {table} AS b SET
                state = 'running', worker = :worker, lease_until = now() + make_interval(secs => :lease),
                attempt = b.attempt + 1, {begins}
            FROM backtest_data AS d, backtest_artefacts AS a
            WHERE d.data_hash = b.data_hash AND a.artefact_hash = b.artefact_hash AND b.{key} = (
                SELECT w.{key} FROM {table} AS w
                WHERE w.state IN ('queued', 'running') AND (w.state = 'queued' OR w.lease_until < now()) AND (
                    SELECT count(*) FROM {table} AS r
                    WHERE r.user_id = w.user_id AND r.state = 'running' AND r.lease_until >= now()
                ) < :per_user
                ORDER BY w.create_time, w.{key} LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING
        """
        self._renew = text(f"""
            UPDATE {table} AS b SET
                lease_until = now() + make_interval(secs => :lease), {done} = greatest(b.{done}, r.done)
            FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS integer[]), CAST(:done AS bigint[]))
                AS r (id, attempt, done)
            WHERE b.{key} = r.id AND b.attempt = r.attempt AND b.state = 'running' AND b.worker = :worker
            RETURNING b.{key}, b.attempt, b.cancel_requested
        """)
        self._end = text(f"""
            UPDATE {table} SET
                state = CAST(:state AS backtest_state), failure = :failure, worker = NULL, lease_until = NULL,
                end_time = CASE WHEN :state <> 'queued' THEN now() END
            WHERE {key} = :id AND {HELD}
            RETURNING {key}
        """)
        self._counts = text(
            f"SELECT CAST(state AS text) AS state, count(*) AS number FROM {table}"
            " WHERE state IN ('queued', 'running') GROUP BY state"
        )

    async def claim(self, worker: str, returning: str, *, lease_seconds: float, per_user: int) -> Row[Any] | None:
        """Settle what was abandoned, then take the oldest; one process at a time, so that bounds hold.

        ``returning``: columns of the row (as b), of its data (as d) and of its module (as a).
        """
        async with self._engine.begin() as connection:
            if not (await connection.execute(self._waiting)).scalar_one():
                return None
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CLAIM_LOCK})
            for statement in self._sweep:
                await connection.execute(statement)
            values = {"worker": UUID(worker), "lease": lease_seconds, "per_user": per_user}
            return (await connection.execute(text(f"{self._claim} {returning}"), values)).first()

    async def counts(self) -> dict[State, int]:
        """Count along the index of what has not ended."""
        async with self._engine.connect() as connection:
            found = {State(row.state): row.number for row in await connection.execute(self._counts)}
        return {state: found.get(state, 0) for state in (State.QUEUED, State.RUNNING)}

    async def renew(self, worker: str, done: Mapping[Key, int], *, lease_seconds: float) -> Sequence[Key]:
        """Update those that are held, in the order of their ids."""
        held = sorted(done)
        values = {
            "worker": UUID(worker),
            "lease": lease_seconds,
            "ids": [UUID(one) for one, _ in held],
            "attempts": [attempt for _, attempt in held],
            "done": [done[key] for key in held],
        }
        async with self._engine.begin() as connection:
            found = (await connection.execute(self._renew, values)).all()
        return [(str(getattr(row, self._key)), row.attempt) for row in found if not row.cancel_requested]

    async def end(self, worker: str, held: Key, state: State, failure: str = "") -> bool:
        """Update the row."""
        values = holding(worker, held) | {"state": state.value, "failure": failure}
        async with self._engine.begin() as connection:
            return (await connection.execute(self._end, values)).first() is not None


def holding(worker: str, held: Key) -> dict[str, Any]:
    """Return the values that a statement with `HELD` proves its right by, and the row's id."""
    return {"id": UUID(held[0]), "worker": UUID(worker), "attempt": held[1]}
