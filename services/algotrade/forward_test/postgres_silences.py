"""Which sessions are silent, in PostgreSQL: each silence is noted and told in one transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.forward_test import rows
from algotrade.forward_test.postgres_outbox import add_outgoing
from algotrade.forward_test.silence import Glance, Silence
from algotrade.forward_test.tell import outgoing_silence

# A replay is over some day, which is no silence.
_GOES_ON: Final = "s.status NOT IN ('created', 'stopped', 'halted') AND NOT s.from_first_tick"
_GLANCES: Final = text(f"""
    SELECT s.session_id, s.last_tick_sequence, s.feed_state, x.tick_sequence AS silent_at
    FROM forward_test_sessions AS s LEFT JOIN session_silences AS x ON x.session_id = s.session_id AND x.silent
    WHERE {_GOES_ON} AND (CAST(:after AS uuid) IS NULL OR s.session_id > CAST(:after AS uuid))
    ORDER BY s.session_id LIMIT :count
""")
_BEGIN: Final = text(f"""
    INSERT INTO session_silences AS x (session_id, number, tick_sequence, since_ns, silent)
    SELECT s.session_id, 1, s.last_tick_sequence, :since_ns, true FROM forward_test_sessions AS s
    WHERE s.session_id = :session_id AND s.last_tick_sequence = :tick_sequence AND {_GOES_ON}
    ON CONFLICT (session_id) DO UPDATE
        SET number = x.number + 1, tick_sequence = excluded.tick_sequence, since_ns = excluded.since_ns, silent = true
        WHERE NOT x.silent
    RETURNING number, since_ns
""")
_END: Final = text(f"""
    UPDATE session_silences AS x SET silent = false FROM forward_test_sessions AS s
    WHERE x.session_id = :session_id AND x.silent AND s.session_id = x.session_id
        AND s.last_tick_sequence <> x.tick_sequence AND {_GOES_ON}
    RETURNING x.number, x.since_ns
""")
_SESSION: Final = text(f"SELECT {rows.SESSION} FROM {rows.SESSIONS} WHERE s.session_id = :session_id")


class PostgresSilences:
    """The port `SilenceStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def glances(self, after: str | None, count: int) -> list[Glance]:
        """Select along the primary key."""
        where = {"after": None if after is None else UUID(after), "count": count}
        async with self._engine.connect() as connection:
            return [
                Glance(str(row.session_id), row.last_tick_sequence, row.feed_state, row.silent_at)
                for row in await connection.execute(_GLANCES, where)
            ]

    async def begin(self, silence: Silence) -> bool:
        """Insert, or update what was not silent."""
        where = {
            "session_id": UUID(silence.session_id),
            "tick_sequence": silence.tick_sequence,
            "since_ns": silence.since_ns,
        }
        return await self._told(_BEGIN, where, silence, silent=True)

    async def end(self, silence: Silence) -> bool:
        """Update what was silent."""
        return await self._told(_END, {"session_id": UUID(silence.session_id)}, silence, silent=False)

    async def _told(self, statement: TextClause, where: dict[str, Any], silence: Silence, *, silent: bool) -> bool:
        async with self._engine.begin() as connection:
            row = (await connection.execute(statement, where)).first()
            if row is None:
                return False
            found = (await connection.execute(_SESSION, {"session_id": UUID(silence.session_id)})).one()
            noted = replace(silence, since_ns=row.since_ns)
            await add_outgoing(connection, [outgoing_silence(rows.session(found), noted, row.number, silent=silent)])
        return True
