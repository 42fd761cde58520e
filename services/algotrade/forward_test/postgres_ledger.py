"""The worker's side in PostgreSQL: everything of a batch in one transaction, under the fence.

Where nothing but sessions moved on, which is nearly always, the transaction is one statement: one round trip, and no
moment at which a worker that freezes holds a lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.forward_test import postgres_bases as bases
from algotrade.forward_test import rows
from algotrade.forward_test.postgres_archive import REWIND
from algotrade.forward_test.postgres_progress import FENCE_COLUMNS, PROVE, STORE, parameters
from algotrade.forward_test.postgres_wants import subscribe, unsubscribe
from algotrade.forward_test.session import (
    POSITION_LOST,
    Command,
    CommandKind,
    Commit,
    Held,
    Session,
    shard_of,
)
from algotrade.forward_test.store import Fenced
from algotrade.platform import failpoints

_FENCE: Final = text(PROVE)
_MINE: Final = text(f"""
    SELECT shards.shard FROM shards JOIN {rows.unnest("mine", FENCE_COLUMNS)}
        ON shards.shard = mine.shard AND shards.epoch = mine.epoch
""")
_START_COLUMNS: Final = {
    "session_id": "uuid",
    "correlation_id": "text",
    "log_partition": "integer",
    "log_offset": "bigint",
    "orders_from": "bigint",
}
_START: Final = text(f"""
    UPDATE forward_test_sessions AS s SET
        status = 'running', started_at = now(), correlation_id = r.correlation_id, log_partition = r.log_partition,
        log_offset = r.log_offset, orders_from = r.orders_from, begin_offset = r.log_offset
    FROM {rows.unnest("r", _START_COLUMNS)} WHERE s.session_id = r.session_id AND s.status = 'created'
""")
_APPLIED_COLUMNS: Final = {
    "session_id": "uuid",
    "command_id": "uuid",
    "log_partition": "integer",
    "log_offset": "bigint",
    "tick_sequence": "bigint",
    "segment": "integer",
}
_APPLIED: Final = text(f"""
    UPDATE session_commands AS c SET
        applied = true, log_partition = r.log_partition, log_offset = r.log_offset, tick_sequence = r.tick_sequence,
        segment = r.segment
    FROM {rows.unnest("r", _APPLIED_COLUMNS)} WHERE c.session_id = r.session_id AND c.command_id = r.command_id
""")


class PostgresLedger:
    """The port `Ledger`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine
        self._statements = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def held(self, shards: Sequence[int], session_ids: Sequence[str] | None = None) -> list[Held]:
        """Select by shard, or by primary key among those of the shards."""
        where: dict[str, Any] = {"shards": list(shards)}
        which = ""
        if session_ids is not None:
            which = "AND session_id = ANY(CAST(:session_ids AS uuid[]))"
            where["session_ids"] = [UUID(session_id) for session_id in session_ids]
        query = text(f"""
            SELECT {rows.SESSION}, {rows.HELD} FROM {rows.SESSIONS}
            WHERE s.shard = ANY(CAST(:shards AS integer[])) AND s.status NOT IN ('created', 'stopped', 'halted') {which}
            ORDER BY session_id
        """)
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            found = (await connection.execute(query, where)).all()
            last = text(f"""
                SELECT DISTINCT ON (t.session_id) {rows.TRADE} FROM trades AS t
                JOIN unnest(CAST(:months AS date[]), CAST(:session_ids AS uuid[])) AS r (month, id)
                    ON t.session_month = r.month AND t.session_id = r.id
                ORDER BY t.session_id, sequence DESC
            """)
            traded = [row for row in found if row.total_trades]
            months = [row.created_at.date().replace(day=1) for row in traded]
            keys = {"months": months, "session_ids": [row.session_id for row in traded]}
            trades = {row.session_id: rows.trade(row) for row in await connection.execute(last, keys)}
        return [rows.held(row, trades.get(row.session_id)) for row in found]

    async def sessions(self, session_ids: Collection[str]) -> list[Session]:
        """Select by primary key."""
        query = text(f"""
            SELECT {rows.SESSION} FROM {rows.SESSIONS} WHERE s.session_id = ANY(CAST(:session_ids AS uuid[]))
        """)
        async with self._engine.connect() as connection:
            found = await connection.execute(query, {"session_ids": [UUID(one) for one in session_ids]})
            return [rows.session(row) for row in found]

    async def module(self, artefact_hash: str) -> bytes:
        """Select by hash."""
        query = text("SELECT module FROM session_artefacts WHERE artefact_hash = :artefact_hash")
        async with self._engine.connect() as connection:
            module = (await connection.execute(query, {"artefact_hash": artefact_hash})).scalar_one_or_none()
        if module is None:
            raise KeyError(artefact_hash)
        return bytes(module)

    async def waiting(self, shards: Sequence[int], count: int) -> list[Command]:
        """Select along the index of commands not applied."""
        query = text("""
            SELECT command_id, session_id, kind, correlation_id, traceparent FROM session_commands
            WHERE shard = ANY(CAST(:shards AS integer[])) AND NOT applied ORDER BY position
            LIMIT :count
        """)
        async with self._engine.connect() as connection:
            found = await connection.execute(query, {"shards": list(shards), "count": count})
            return [
                Command(
                    str(row.command_id), str(row.session_id), CommandKind(row.kind), row.correlation_id, row.traceparent
                )
                for row in found
            ]

    async def commit(self, epochs: Mapping[int, int], commit: Commit) -> None:
        """Prove the epochs of the shards concerned, then write."""
        concerned = {progress.session.shard for progress in commit.progress}
        concerned |= {session.shard for session, _ in commit.starts}
        concerned |= {shard_of(applied.session_id) for applied in commit.applied}
        mine = [(shard, epochs.get(shard, 0)) for shard in sorted(concerned)]
        fence = rows.arrays(FENCE_COLUMNS, mine) | {"concerned": len(mine)}
        if _moves_only(commit):
            async with self._statements.connect() as connection:
                proven = await connection.execute(STORE, parameters(commit.progress, fence))
                await _expect(connection, epochs, concerned, proven.scalars())
        else:
            async with self._engine.begin() as connection:
                await _expect(connection, epochs, concerned, (await connection.execute(_FENCE, fence)).scalars())
                failpoints.reached("ledger.fenced")
                await _write(connection, commit, fence)
                failpoints.reached("ledger.before_commit")
        failpoints.reached("ledger.committed")


async def _expect(
    connection: AsyncConnection, epochs: Mapping[int, int], concerned: Collection[int], proven: Iterable[int]
) -> None:
    """Raise Fenced, with all shards that are another's by now, where one that is concerned is."""
    if set(concerned).difference(proven):
        held = (await connection.execute(_MINE, rows.arrays(FENCE_COLUMNS, epochs.items()))).scalars()
        raise Fenced(sorted({*concerned, *epochs}.difference(held)))


def _moves_only(commit: Commit) -> bool:
    """Tell whether there is nothing to store but what `STORE` does."""
    told = commit.starts or commit.applied
    return not told and not any(one.session.status.final or one.lost_from is not None for one in commit.progress)


async def _write(connection: AsyncConnection, commit: Commit, fence: Mapping[str, Any]) -> None:
    progress = commit.progress
    if commit.starts:
        values = [
            (session.session_id, session.correlation_id, place.partition, place.offset, place.orders_from)
            for session, place in commit.starts
        ]
        await connection.execute(_START, rows.arrays(_START_COLUMNS, values))
    if progress:
        await connection.execute(STORE, parameters(progress, fence))
    if commit.applied:
        applied = [astuple(applied) for applied in commit.applied]
        await connection.execute(_APPLIED, rows.arrays(_APPLIED_COLUMNS, applied))
    if commit.starts:
        await subscribe(connection, [session for session, _ in commit.starts])
    if ended := [one.session for one in progress if one.session.status.final]:
        await unsubscribe(connection, ended)
    for session, place in commit.starts:
        keys = {"symbol": session.symbol, "session_id": UUID(session.session_id)}
        await connection.execute(REWIND, {**keys, "partition": place.partition, "begin": place.offset})
    if lost := [one for one in progress if one.lost_from is not None]:
        values = [bases.values(one, opens=True, reason=POSITION_LOST, ended=one.lost_from) for one in lost]
        await connection.execute(bases.INSERT, rows.arrays(bases.COLUMNS, values))
