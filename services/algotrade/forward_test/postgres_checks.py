"""Which sessions are to be checked, and their bases, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.forward_test import postgres_bases as bases
from algotrade.forward_test import rows
from algotrade.forward_test.session import Held, Session
from algotrade.forward_test.shards import SHARDS

_DUE: Final = text(f"""
    SELECT {rows.SESSION} FROM {rows.SESSIONS}
        LEFT JOIN session_checkpoints AS c ON c.session_id = s.session_id AND c.segment = s.segment AND NOT c.opens
    WHERE s.status NOT IN ('created', 'stopped', 'halted') AND s.state IS NOT NULL
        AND s.shard = ANY(CAST(:shards AS integer[]))
        AND (c.session_id IS NULL
            OR (c.create_time <= now() - make_interval(secs => :seconds) AND c.log_offset < s.log_offset))
    ORDER BY c.create_time NULLS FIRST LIMIT :most
""")


class PostgresChecks:
    """The port `CheckStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def due(self, seconds: float, most: int, shards: Collection[int] = SHARDS) -> list[Session]:
        """Select along the index of sessions that go on, joined with their bases."""
        async with self._engine.connect() as connection:
            found = await connection.execute(_DUE, {"seconds": seconds, "most": most, "shards": list(shards)})
            return [rows.session(row) for row in found]

    async def keep(self, held: Held) -> None:
        """Insert, or replace the one that there was of the segment."""
        async with self._engine.begin() as connection:
            await connection.execute(bases.INSERT, rows.arrays(bases.COLUMNS, [bases.values(held, opens=False)]))
