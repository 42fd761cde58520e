"""The monthly partitions of events and trades, made before the first session of a month."""

from __future__ import annotations

from datetime import date
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

TABLES: Final = ("session_events", "trades")
LOCK: Final = 0x6D6F6E74  # any number, the same in every process


async def ensure_month(engine: AsyncEngine, month: date) -> None:
    """Make the partitions of the month that begins on a date, unless they exist."""
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    names = [f"{table}_{month:%Y_%m}" for table in TABLES]
    async with engine.begin() as connection:
        exist = text("SELECT count(*) FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL")
        if await connection.scalar(exist, {"names": names}) == len(names):
            return
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        for table, name in zip(TABLES, names, strict=True):
            await connection.execute(
                text(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{month.isoformat()}') TO ('{following.isoformat()}')"
                )
            )
