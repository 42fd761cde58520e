"""The roster in the tables workers and shards."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.forward_test import rows
from algotrade.forward_test.roster import Owned, Replaced, View
from algotrade.forward_test.shards import SHARDS

_SHARDS: Final = text("""
    INSERT INTO shards (shard, epoch) SELECT shard, 0 FROM unnest(CAST(:shards AS integer[])) AS shard
    ON CONFLICT DO NOTHING
""")
_JOIN: Final = text("""
    INSERT INTO workers (name, incarnation, seen_time) VALUES (:name, :incarnation, now())
    ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, seen_time = excluded.seen_time
""")
# One that was struck out comes back; one whose name another has taken does not.
_LIVE: Final = text("""
    INSERT INTO workers (name, incarnation, seen_time) VALUES (:name, :incarnation, now())
    ON CONFLICT (name) DO UPDATE SET seen_time = excluded.seen_time
        WHERE workers.incarnation = excluded.incarnation
    RETURNING name
""")
_STRIKE: Final = text("""
    DELETE FROM workers WHERE seen_time < now() - make_interval(secs => :seconds) RETURNING name
""")
_TAKEN_COLUMNS: Final = {"shard": "integer", "owner": "text"}
_TAKE: Final = text(f"""
    UPDATE shards SET epoch = shards.epoch + 1, worker = :name, proof_time = now()
    FROM {rows.unnest("held", _TAKEN_COLUMNS)}
    WHERE shards.shard = held.shard AND shards.worker IS NOT DISTINCT FROM held.owner
    RETURNING shards.shard, shards.epoch
""")
_GIVEN_COLUMNS: Final = {"shard": "integer", "epoch": "bigint"}
_GIVE: Final = text(f"""
    UPDATE shards SET worker = NULL FROM {rows.unnest("mine", _GIVEN_COLUMNS)}
    WHERE shards.shard = mine.shard AND shards.epoch = mine.epoch
""")
# The row stays until somebody strikes it out, so that whoever bore the name before learns that it does no longer.
_LEAVE: Final = text("""
    UPDATE workers SET seen_time = '-infinity' WHERE name = :name AND incarnation = :incarnation
""")


class PostgresRoster:
    """The port `Roster`, for one process."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        """Take the pool to read and write through, and the worker's name."""
        self.name = name
        self._engine = engine
        self._me: dict[str, Any] = {"name": name, "incarnation": uuid.uuid4()}

    async def join(self) -> None:
        """Insert, or replace; and see that every shard has a row."""
        async with self._engine.begin() as connection:
            await connection.execute(_SHARDS, {"shards": list(SHARDS)})
            await connection.execute(_JOIN, self._me)

    async def look(self, strike_seconds: float | None) -> View:
        """Write the time, delete, and read both tables."""
        async with self._engine.begin() as connection:
            if await connection.scalar(_LIVE, self._me) is None:
                raise Replaced(self.name)
            if strike_seconds is not None:
                await connection.execute(_STRIKE, {"seconds": strike_seconds})
            return await _view(connection)

    async def take(self, shards: Mapping[int, str | None]) -> Mapping[int, int]:
        """Raise the epochs."""
        async with self._engine.begin() as connection:
            held = rows.arrays(_TAKEN_COLUMNS, sorted(shards.items()))
            taken = await connection.execute(_TAKE, {"name": self.name, **held})
            return {row.shard: row.epoch for row in taken}

    async def give(self, epochs: Mapping[int, int]) -> None:
        """Take the name off them, where the epochs are still the newest."""
        async with self._engine.begin() as connection:
            await connection.execute(_GIVE, rows.arrays(_GIVEN_COLUMNS, sorted(epochs.items())))

    async def leave(self) -> None:
        """Write that it was never seen."""
        async with self._engine.begin() as connection:
            await connection.execute(_LEAVE, self._me)


async def _view(connection: AsyncConnection) -> View:
    workers = (await connection.execute(text("SELECT name FROM workers WHERE seen_time > '-infinity'"))).scalars()
    shards = await connection.execute(text("SELECT shard, worker, epoch FROM shards"))
    return View(frozenset(workers), {row.shard: Owned(row.worker, row.epoch) for row in shards})
