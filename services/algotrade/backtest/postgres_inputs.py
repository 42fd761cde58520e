"""Modules and bars in PostgreSQL: kept once by their hash, as long as a backtest or an optimisation needs them."""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.backtest.source import DataSource, source_of
from algotrade.backtest.store import Inputs
from algotrade.engine.records import BAR, Records
from algotrade.platform import limits
from algotrade.platform.quotas import check_room

# The update, which changes nothing, locks a row that is there already: nobody deletes it before it is referred to.
_INSERT: Final = (
    text("""
        INSERT INTO backtest_artefacts AS a (artefact_hash, module) VALUES (:artefact_hash, :module)
        ON CONFLICT (artefact_hash) DO UPDATE SET artefact_hash = a.artefact_hash
    """),
    text("""
        INSERT INTO backtest_data AS d (data_hash, bars, bar_count) VALUES (:data_hash, :bars, :bar_count)
        ON CONFLICT (data_hash) DO UPDATE SET data_hash = d.data_hash
    """),
)
_DROP: Final = (
    text("""
        DELETE FROM backtest_artefacts WHERE artefact_hash = :artefact_hash
        AND NOT EXISTS (SELECT 1 FROM backtest_results WHERE artefact_hash = :artefact_hash)
        AND NOT EXISTS (SELECT 1 FROM optimizations WHERE artefact_hash = :artefact_hash)
    """),
    text("""
        DELETE FROM backtest_data WHERE data_hash = :data_hash
        AND NOT EXISTS (SELECT 1 FROM backtest_results WHERE data_hash = :data_hash)
        AND NOT EXISTS (SELECT 1 FROM optimizations WHERE data_hash = :data_hash)
    """),
)
_KEPT_BARS: Final = text("""
    SELECT coalesce(sum(bar_count), 0) FROM backtest_data WHERE data_hash <> :data_hash AND data_hash IN (
        SELECT data_hash FROM backtest_results WHERE user_id = :user_id
        UNION SELECT data_hash FROM optimizations WHERE user_id = :user_id
    )
""")
_DATA: Final = text("""
    SELECT d.bars, r.source FROM backtest_data AS d JOIN (
        SELECT data_hash, source, create_time FROM backtest_results WHERE data_hash = :data_hash AND user_id = :user_id
        UNION ALL
        SELECT data_hash, source, create_time FROM optimizations WHERE data_hash = :data_hash AND user_id = :user_id
    ) AS r USING (data_hash) ORDER BY r.create_time LIMIT 1
""")


async def insert_inputs(
    connection: AsyncConnection, user_id: str, artefact_hash: str, data_hash: str, inputs: Inputs
) -> None:
    """Keep what a run depends on. Raises ResourceExhausted where the user has too many bars."""
    owner = {"user_id": UUID(user_id), "data_hash": data_hash}
    kept = (await connection.execute(_KEPT_BARS, owner)).scalar_one()
    check_room("backtest_bars", int(kept) + len(inputs.bars), limits.MAX_BACKTEST_BARS)
    artefact, data = _INSERT
    await connection.execute(artefact, {"artefact_hash": artefact_hash, "module": inputs.module})
    await connection.execute(
        data, {"data_hash": data_hash, "bars": inputs.bars.tobytes(), "bar_count": len(inputs.bars)}
    )


async def drop_inputs(engine: AsyncEngine, artefact_hash: str, data_hash: str) -> None:
    """Forget what nothing needs any more, each in a transaction that others may win."""
    for unused, key in zip(_DROP, ({"artefact_hash": artefact_hash}, {"data_hash": data_hash}), strict=True):
        with suppress(IntegrityError):  # somebody has just begun to use it
            async with engine.begin() as connection:
                await connection.execute(unused, key)


async def bars_of_user(engine: AsyncEngine, user_id: str, data_hash: str) -> tuple[Records, DataSource | None] | None:
    """Select by hash, where something of the user's names it: the first that did says where they are from."""
    async with engine.connect() as connection:
        row = (await connection.execute(_DATA, {"data_hash": data_hash, "user_id": UUID(user_id)})).first()
    return None if row is None else (np.frombuffer(row.bars, BAR), source_of(row.source))
