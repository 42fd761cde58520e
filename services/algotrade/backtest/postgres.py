"""Backtests in PostgreSQL, as those who ask for them see them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.backtest import rows
from algotrade.backtest.postgres_inputs import bars_of_user, drop_inputs, insert_inputs
from algotrade.backtest.source import DataSource, source_json
from algotrade.backtest.store import Backtest, Draft, Floats, no_backtest
from algotrade.engine.records import BAR, Records
from algotrade.engine.trades import Trade
from algotrade.platform import limits
from algotrade.platform.once import Once, earlier_answer, lock_user
from algotrade.platform.quotas import check_room

_INSERT: Final = text("""
    INSERT INTO backtest_results (
        backtest_id, user_id, name, strategy_id, strategy_version, graph, artefact_hash, data_hash, settings,
        parameters, rerun_of, total_bars, create_time, source
    ) VALUES (
        :backtest_id, :user_id, :name, :strategy_id, :strategy_version, :graph, :artefact_hash, :data_hash,
        CAST(:settings AS json), CAST(:parameters AS json), :rerun_of, :total_bars, :create_time,
        CAST(:source AS json)
    )
""")
BYTES_A_BAR: Final = 8  # of the curve
BYTES_A_TRADE: Final = 128  # about
RETRY_SECONDS: Final = 10.0  # a backtest may have ended by then
# What a backtest will be is not known before it is done, except for its trades.
_KEPT: Final = text(f"""
    SELECT count(*) AS backtests, count(*) FILTER (WHERE state IN ('queued', 'running')) AS unfinished,
        coalesce(sum(octet_length(graph) + {BYTES_A_BAR} * total_bars
            + {BYTES_A_TRADE} * coalesce(CAST(summary ->> 'trades' AS bigint), 0)), 0) AS bytes
    FROM backtest_results WHERE user_id = :user_id
""")


class PostgresBacktestStore:
    """The port `BacktestStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def create(self, draft: Draft, once: Once | None) -> bytes | None:
        """Insert the backtest and what it depends on in one transaction, under a lock on the account."""
        user_id = draft.backtest.user_id
        try:
            async with self._engine.begin() as connection:
                await lock_user(connection, user_id)
                if once is not None and (answer := await earlier_answer(connection, once)) is not None:
                    return answer
                await _check_room(connection, draft)
                if draft.inputs is not None:
                    one = draft.backtest
                    await insert_inputs(connection, user_id, one.artefact_hash, one.data_hash, draft.inputs)
                await _insert(connection, draft)
        except IntegrityError:
            if draft.inputs is None:  # what is repeated was deleted meanwhile, and its inputs with it
                raise no_backtest(draft.backtest.rerun_of) from None
            raise
        return None

    async def get(self, user_id: str, backtest_id: str) -> Backtest | None:
        """Select by primary key and owner."""
        row = await self._one(f"SELECT {rows.BACKTEST}, b.metrics FROM backtest_results AS b", user_id, backtest_id)
        return None if row is None else rows.backtest(row)

    async def graph(self, user_id: str, backtest_id: str) -> str | None:
        """Select by primary key and owner."""
        row = await self._one("SELECT b.graph FROM backtest_results AS b", user_id, backtest_id)
        return None if row is None else row.graph

    async def _one(self, query: str, user_id: str, backtest_id: str) -> Any:
        where = {"backtest_id": UUID(backtest_id), "user_id": UUID(user_id)}
        async with self._engine.connect() as connection:
            found = await connection.execute(
                text(f"{query} WHERE b.backtest_id = :backtest_id AND b.user_id = :user_id"), where
            )
            return found.first()

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Backtest]:
        """Select along the index of each user's newest."""
        where: dict[str, Any] = {"user_id": UUID(user_id), "count": count}
        earlier = ""
        if before is not None:
            earlier = "AND (b.create_time, b.backtest_id) < (:create_time, :backtest_id)"
            where |= {"create_time": before[0], "backtest_id": UUID(before[1])}
        query = text(f"""
            SELECT {rows.BACKTEST} FROM backtest_results AS b WHERE b.user_id = :user_id {earlier}
            ORDER BY b.create_time DESC, b.backtest_id DESC LIMIT :count
        """)
        async with self._engine.connect() as connection:
            return [rows.backtest(row) for row in await connection.execute(query, where)]

    async def trades(self, backtest_id: str, after: int, count: int) -> list[Trade]:
        """Select along the primary key."""
        query = text(f"""
            SELECT {", ".join(rows.TRADE)} FROM backtest_trades
            WHERE backtest_id = :backtest_id AND number > :after ORDER BY number LIMIT :count
        """)
        where = {"backtest_id": UUID(backtest_id), "after": after, "count": count}
        async with self._engine.connect() as connection:
            return [rows.trade(row) for row in await connection.execute(query, where)]

    async def equity(self, backtest_id: str) -> tuple[Records, Floats] | None:
        """Select the curve and the bars that it belongs to."""
        query = text("""
            SELECT b.equity, d.bars FROM backtest_results AS b JOIN backtest_data AS d USING (data_hash)
            WHERE b.backtest_id = :backtest_id AND b.equity IS NOT NULL
        """)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query, {"backtest_id": UUID(backtest_id)})).first()
        if row is None:
            return None
        equity = np.frombuffer(row.equity, "<f8")
        return np.frombuffer(row.bars, BAR)[: len(equity)], equity

    async def data(self, user_id: str, data_hash: str) -> tuple[Records, DataSource | None] | None:
        """Select by hash, where something of the user's names it."""
        return await bars_of_user(self._engine, user_id, data_hash)

    async def cancel(self, user_id: str, backtest_id: str) -> None:
        """Update by primary key and owner, whatever the state was a moment ago."""
        statement = text("""
            UPDATE backtest_results SET
                cancel_requested = true,
                end_time = CASE WHEN state = 'queued' THEN now() END,
                state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END
            WHERE backtest_id = :backtest_id AND user_id = :user_id AND state IN ('queued', 'running')
        """)
        async with self._engine.begin() as connection:
            await connection.execute(statement, {"backtest_id": UUID(backtest_id), "user_id": UUID(user_id)})

    async def delete(self, user_id: str, backtest_id: str) -> bool:
        """Delete the backtest; then what it alone depended on, each in a transaction that others may win."""
        statement = text("""
            DELETE FROM backtest_results WHERE backtest_id = :backtest_id AND user_id = :user_id
            RETURNING artefact_hash, data_hash
        """)
        async with self._engine.begin() as connection:
            where = {"backtest_id": UUID(backtest_id), "user_id": UUID(user_id)}
            gone = (await connection.execute(statement, where)).first()
        if gone is None:
            return False
        await drop_inputs(self._engine, gone.artefact_hash, gone.data_hash)
        return True


async def _insert(connection: AsyncConnection, draft: Draft) -> None:
    backtest = draft.backtest
    await connection.execute(
        _INSERT,
        {
            "backtest_id": UUID(backtest.backtest_id),
            "user_id": UUID(backtest.user_id),
            "name": backtest.name,
            "strategy_id": UUID(backtest.strategy_id) if backtest.strategy_id else None,
            "strategy_version": backtest.strategy_version,
            "graph": draft.graph,
            "artefact_hash": backtest.artefact_hash,
            "data_hash": backtest.data_hash,
            "settings": json.dumps(backtest.settings.as_text()),
            "parameters": json.dumps(dict(backtest.parameters)),
            "rerun_of": UUID(backtest.rerun_of) if backtest.rerun_of else None,
            "total_bars": backtest.total_bars,
            "create_time": backtest.create_time,
            "source": json.dumps(source_json(backtest.source)),
        },
    )


async def _check_room(connection: AsyncConnection, draft: Draft) -> None:
    owner = {"user_id": UUID(draft.backtest.user_id)}
    kept = (await connection.execute(_KEPT, owner)).one()
    check_room(
        "unfinished_backtests", kept.unfinished + 1, limits.MAX_UNFINISHED_BACKTESTS, retry_seconds=RETRY_SECONDS
    )
    check_room("backtests", kept.backtests + 1, limits.MAX_BACKTESTS)
    size = int(kept.bytes) + len(draft.graph.encode()) + BYTES_A_BAR * draft.backtest.total_bars
    check_room("backtest_bytes", size, limits.MAX_BACKTEST_BYTES)
