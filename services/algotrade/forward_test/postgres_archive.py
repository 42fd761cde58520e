"""The archive in the table tick_segments; its positions are what it holds the log to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.forward_test.archive import Segment
from algotrade.platform.topics import MARKET_DATA_UPDATES

HOLDER: Final = "tick-archive"
_KEY: Final = {"topic": MARKET_DATA_UPDATES.name, "holder": HOLDER}
_WHERE: Final = "topic = :topic AND partition = :partition AND holder = :holder"
_POSITION: Final = text(f"SELECT next_offset FROM bus_holds WHERE {_WHERE}")
_LOCKED: Final = text(f"SELECT next_offset FROM bus_holds WHERE {_WHERE} FOR UPDATE")
_FIRST: Final = text("""
    INSERT INTO bus_holds (topic, partition, holder, next_offset) VALUES (:topic, :partition, :holder, :next)
    ON CONFLICT DO NOTHING
""")
_MOVE: Final = text(f"UPDATE bus_holds SET next_offset = :next WHERE {_WHERE}")
# What a session has read lies between where it began and, once it has ended, its place.
_BEGIN: Final = "coalesce(s.begin_offset, s.log_offset)"
_GOES_ON: Final = "s.status NOT IN ('created', 'stopped', 'halted')"
_WANTED: Final = text(f"""
    SELECT DISTINCT s.symbol FROM forward_test_sessions AS s
    WHERE s.log_partition = :partition AND {_BEGIN} < :end AND ({_GOES_ON} OR s.log_offset > :first)
""")
_KEEP: Final = text("""
    INSERT INTO tick_segments (partition, symbol, first_offset, end_offset, records, ticks, packed)
    VALUES (:partition, :symbol, :first, :end, :records, :ticks, :packed) ON CONFLICT DO NOTHING
""")
_FIND: Final = text("""
    SELECT first_offset, end_offset, records, ticks, packed FROM tick_segments
    WHERE partition = :partition AND symbol = :symbol AND first_offset <= :offset AND end_offset > :offset
    ORDER BY first_offset DESC LIMIT 1
""")
_FORGET: Final = text(f"""
    WITH looked AS (
        SELECT partition, symbol, first_offset, end_offset FROM tick_segments
        WHERE (partition, symbol, first_offset) > (:partition, :symbol, :first)
        ORDER BY partition, symbol, first_offset LIMIT :limit
    ), gone AS (
        DELETE FROM tick_segments AS t USING looked
        WHERE (t.partition, t.symbol, t.first_offset) = (looked.partition, looked.symbol, looked.first_offset)
            AND NOT EXISTS (
                SELECT FROM forward_test_sessions AS s
                WHERE s.log_partition = t.partition AND s.symbol = t.symbol AND {_BEGIN} < t.end_offset
                    AND ({_GOES_ON} OR s.log_offset > t.first_offset)
            )
        RETURNING 1
    )
    SELECT partition, symbol, first_offset, (SELECT count(*) FROM gone) AS gone FROM looked
    ORDER BY partition DESC, symbol DESC, first_offset DESC LIMIT 1
""")
# A session that begins behind the position takes it back, unless an earlier one that still goes on has all of it kept.
REWIND: Final = text(f"""
    UPDATE bus_holds SET next_offset = CASE WHEN EXISTS (
        SELECT FROM forward_test_sessions AS s
        WHERE s.symbol = :symbol AND s.log_partition = :partition AND s.begin_offset <= :begin AND {_GOES_ON}
            AND s.session_id <> :session_id
    ) THEN next_offset ELSE least(next_offset, :begin) END
    WHERE topic = '{MARKET_DATA_UPDATES.name}' AND partition = :partition AND holder = '{HOLDER}'
""")


class PostgresArchive:
    """The port `Archive`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def position(self, partition: int, earliest: int) -> int:
        """Select by primary key, or insert."""
        key = {**_KEY, "partition": partition}
        async with self._engine.begin() as connection:
            found: int | None = (await connection.execute(_POSITION, key)).scalar_one_or_none()
            if found is None:
                await connection.execute(_FIRST, {**key, "next": earliest})
                found = (await connection.execute(_POSITION, key)).scalar_one()
        return found

    async def wanted(self, partition: int, first: int, end: int) -> frozenset[str]:
        """Select along the index of partition and symbol."""
        async with self._engine.connect() as connection:
            found = await connection.execute(_WANTED, {"partition": partition, "first": first, "end": end})
            return frozenset(found.scalars())

    async def keep(self, partition: int, first: int, end: int, segments: Mapping[str, Segment]) -> bool:
        """Lock the position, look again, insert, move on; a session that starts meanwhile waits or is seen."""
        key = {**_KEY, "partition": partition}
        block = {"partition": partition, "first": first, "end": end}
        async with self._engine.begin() as connection:
            if (await connection.execute(_LOCKED, key)).scalar_one_or_none() != first:
                return False
            wanted = (await connection.execute(_WANTED, block)).scalars().all()
            if segments and not segments.keys() >= set(wanted):
                return False
            for symbol, segment in segments.items():
                values = {"symbol": symbol, "records": segment.records, "ticks": segment.ticks}
                await connection.execute(_KEEP, {**block, **values, "packed": segment.packed})
            await connection.execute(_MOVE, {**key, "next": end})
        return True

    async def find(self, partition: int, symbol: str, offset: int) -> Segment | None:
        """Select along the primary key."""
        where = {"partition": partition, "symbol": symbol, "offset": offset}
        async with self._engine.connect() as connection:
            row = (await connection.execute(_FIND, where)).one_or_none()
        if row is None:
            return None
        return Segment(row.first_offset, row.end_offset, row.records, row.ticks, bytes(row.packed))

    async def forget(self, after: tuple[int, str, int], limit: int) -> tuple[int, tuple[int, str, int] | None]:
        """Go through the table along its primary key."""
        partition, symbol, first = after
        where = {"partition": partition, "symbol": symbol, "first": first, "limit": limit}
        async with self._engine.begin() as connection:
            row = (await connection.execute(_FORGET, where)).one_or_none()
        return (0, None) if row is None else (row.gone, (row.partition, row.symbol, row.first_offset))
