"""The sessions of the API in PostgreSQL."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.engine.records import EventKind
from algotrade.forward_test import rows
from algotrade.forward_test.postgres_months import ensure_month
from algotrade.forward_test.postgres_outbox import add_outgoing
from algotrade.forward_test.session import Command, Event, Outgoing, Session, SessionTrade, Status
from algotrade.forward_test.store import Draft, Record
from algotrade.platform import limits
from algotrade.platform.audit import record_act
from algotrade.platform.metrics import Metrics
from algotrade.platform.once import Once, earlier_answer, known_answer, lock_user
from algotrade.platform.quotas import check_room
from algotrade.platform.replica import Reader

_LOCK_COMMANDS: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('commands:' || :session_id, 0))")
_REJECTIONS: Final = text("""
    SELECT reason, count(*) AS count FROM session_events
    WHERE session_month = :month AND session_id = :session_id AND kind = :rejection GROUP BY reason ORDER BY reason
""")


class PostgresSessionStore:
    """The port `SessionStore`."""

    def __init__(self, engine: AsyncEngine, reader: Reader | None = None) -> None:
        """Take the pool to read and write through; ``reader``: where records are read, else there too."""
        self._engine = engine
        self._reader = reader or Reader(engine, Metrics())
        self._at_once = engine.execution_options(isolation_level="AUTOCOMMIT")  # one SELECT needs no BEGIN and no end

    async def create(self, draft: Draft, once: Once | None) -> bytes | None:
        """Insert session and artefact in one transaction, under a lock on the account."""
        session = draft.session
        await ensure_month(self._engine, session.month)
        async with self._engine.begin() as connection:
            await lock_user(connection, session.user_id)
            if once is not None and (answer := await earlier_answer(connection, once)) is not None:
                return answer
            await _check_room(connection, session.user_id)
            await connection.execute(
                text("""
                    INSERT INTO session_artefacts (artefact_hash, module) VALUES (:artefact_hash, :module)
                    ON CONFLICT DO NOTHING
                """),
                {"artefact_hash": session.artefact_hash, "module": draft.module},
            )
            await _insert(connection, draft)
            facts = {"session_id": session.session_id, "artefact": session.artefact_hash}
            await record_act(connection, session.user_id, "session_created", **facts)
        return None

    async def answered(self, once: Once) -> bytes | None:
        """Select by primary key."""
        async with self._engine.connect() as connection:
            return await known_answer(connection, once)

    async def delete(self, session: Session, once: Once | None) -> bool:
        """Delete by primary key and status, at one moment; what belongs to the session goes by cascade."""
        query = text("""
            DELETE FROM forward_test_sessions WHERE session_id = :session_id AND user_id = :user_id
                AND status IN ('created', 'stopped', 'halted')
        """)
        where = {"session_id": UUID(session.session_id), "user_id": UUID(session.user_id)}
        async with self._engine.connect() as connection:
            if once is not None and await earlier_answer(connection, once) is not None:
                return True
            deleted = (await connection.execute(query, where)).rowcount == 1
            if deleted:  # else the id is not taken either
                await record_act(connection, session.user_id, "session_deleted", session_id=session.session_id)
                await connection.commit()
            return deleted

    async def get(self, user_id: str, session_id: str) -> Session | None:
        """Select by primary key and owner."""
        query = text(
            f"SELECT {rows.SESSION} FROM {rows.SESSIONS} WHERE session_id = :session_id AND user_id = :user_id"
        )
        async with self._at_once.connect() as connection:
            where = {"session_id": UUID(session_id), "user_id": UUID(user_id)}
            row = (await connection.execute(query, where)).first()
        return None if row is None else rows.session(row)

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Session]:
        """Select along the index of each user's newest."""
        query, where = _newest(rows.SESSION, "", user_id, before, count)
        async with self._engine.connect() as connection:
            return [rows.session(row) for row in await connection.execute(query, where)]

    async def going(self, user_id: str) -> list[Session]:
        """Select along the index of each user's statuses."""
        query = text(f"""
            SELECT {rows.SESSION} FROM {rows.SESSIONS}
            WHERE user_id = :user_id AND s.status NOT IN ('created', 'stopped', 'halted')
        """)
        async with self._engine.connect() as connection:
            return [rows.session(row) for row in await connection.execute(query, {"user_id": UUID(user_id)})]

    async def positions(
        self, user_id: str, before: tuple[datetime, str] | None, count: int
    ) -> list[tuple[Session, SessionTrade]]:
        """Select along the same index, and of those what holds something."""
        columns = f"{rows.SESSION}, {rows.HELD}"
        query, where = _newest(columns, "AND p.side IS NOT NULL", user_id, before, count)
        async with self._engine.connect() as connection:
            found = [(rows.session(row), rows.open_trade(row)) for row in await connection.execute(query, where)]
        return [(session, held) for session, held in found if held is not None]

    async def record(self, session: Session, most: int) -> Record:
        """Select along the primary keys; both tables as of one moment."""

        async def read(connection: AsyncConnection) -> Record | None:
            return await _record(connection, session, most)

        if (found := await self._reader.read(read)) is None:
            raise KeyError(session.session_id)
        return found

    async def trades(self, session: Session, after: int, count: int) -> tuple[list[SessionTrade], SessionTrade | None]:
        """Select along the primary key; both tables as of one moment."""
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            found, row = await _traded(connection, session, after, count)
        return found, None if row is None else rows.open_trade(row)

    async def events(self, session: Session, after: int, count: int) -> list[Event]:
        """Select along the primary key."""
        query = text(f"""
            SELECT {rows.EVENT} FROM session_events
            WHERE session_month = :month AND session_id = :session_id AND sequence > :after
            ORDER BY sequence LIMIT :count
        """)
        where = {"month": session.month, "session_id": UUID(session.session_id), "after": after, "count": count}
        async with self._at_once.connect() as connection:
            return [rows.event(row) for row in await connection.execute(query, where)]

    async def tell(self, session: Session, command: Command, outgoing: Outgoing, once: Once | None) -> bool:
        """Insert the command and the message that wakes its worker in one transaction.

        A session's commands take their positions one after another, so that the order of positions is that of commits.
        """
        async with self._engine.begin() as connection:
            await connection.execute(_LOCK_COMMANDS, {"session_id": command.session_id})
            if once is not None and await earlier_answer(connection, once) is not None:
                return False
            await connection.execute(
                text("""
                    INSERT INTO session_commands (session_id, command_id, shard, kind, correlation_id, traceparent)
                    VALUES (:session_id, :command_id, :shard, :kind, :correlation_id, :traceparent)
                """),
                {
                    "session_id": UUID(command.session_id),
                    "command_id": UUID(command.command_id),
                    "shard": session.shard,
                    "kind": command.kind,
                    "correlation_id": command.correlation_id,
                    "traceparent": command.traceparent,
                },
            )
            await add_outgoing(connection, [outgoing])
            facts = {"session_id": session.session_id, "command_id": command.command_id, "command": command.kind}
            await record_act(connection, session.user_id, "session_told", **facts)
        return True

    async def counts(self) -> dict[Status, int]:
        """Group by status: a scan, so not to be asked for often."""
        query = text("SELECT CAST(status AS text), count(*) FROM forward_test_sessions GROUP BY status")
        async with self._engine.connect() as connection:
            found: dict[str, int] = dict(tuple(row) for row in await connection.execute(query))
        return {status: found.get(status, 0) for status in Status}

    async def is_applied(self, command: Command) -> bool:
        """Select by primary key; a session that is gone needs no more doing."""
        query = text("SELECT applied FROM session_commands WHERE session_id = :session_id AND command_id = :command_id")
        where = {"session_id": UUID(command.session_id), "command_id": UUID(command.command_id)}
        async with self._engine.connect() as connection:
            return (await connection.execute(query, where)).scalar_one_or_none() is not False


def _newest(
    columns: str, which: str, user_id: str, before: tuple[datetime, str] | None, count: int
) -> tuple[TextClause, dict[str, Any]]:
    """Return the query for a page of a user's sessions, the newest first, and its parameters."""
    where: dict[str, Any] = {"user_id": UUID(user_id), "count": count}
    if before is not None:
        which += " AND (s.created_at, session_id) < (:create_time, :session_id)"
        where |= {"create_time": before[0], "session_id": UUID(before[1])}
    query = f"""
        SELECT {columns} FROM {rows.SESSIONS} WHERE user_id = :user_id {which}
        ORDER BY s.created_at DESC, session_id DESC LIMIT :count
    """
    return text(query), where


async def _record(connection: AsyncConnection, session: Session, most: int) -> Record | None:
    await connection.execution_options(isolation_level="REPEATABLE READ")
    closed, row = await _traded(connection, session, 0, most)
    if row is None:
        return None
    where = {"month": session.month, "session_id": UUID(session.session_id), "rejection": EventKind.REJECTION}
    rejections = (await connection.execute(_REJECTIONS, where)).all()
    counts: dict[str, int] = dict(rejections)
    return Record(rows.session(row), rows.state(row), closed, rows.open_trade(row), counts)


async def _traded(
    connection: AsyncConnection, session: Session, after: int, count: int
) -> tuple[list[SessionTrade], Row[Any] | None]:
    """Return a session's closed trades behind a sequence, and its row."""
    closed = text(f"""
        SELECT {rows.TRADE} FROM trades
        WHERE session_month = :month AND session_id = :session_id AND sequence > :after
        ORDER BY sequence LIMIT :count
    """)
    held = text(f"SELECT {rows.SESSION}, {rows.HELD} FROM {rows.SESSIONS} WHERE session_id = :session_id")
    key = {"session_id": UUID(session.session_id)}
    where = {**key, "month": session.month, "after": after, "count": count}
    found = [rows.trade(row) for row in await connection.execute(closed, where)]
    return found, (await connection.execute(held, key)).first()


async def _check_room(connection: AsyncConnection, user_id: str) -> None:
    query = text("SELECT count(*) FROM forward_test_sessions WHERE user_id = :user_id")
    count: int = (await connection.execute(query, {"user_id": UUID(user_id)})).scalar_one()
    check_room("sessions", count + 1, limits.MAX_SESSIONS)


async def _insert(connection: AsyncConnection, draft: Draft) -> None:
    session = draft.session
    cash = rows.decimal("CAST(:cash AS bigint)")
    await connection.execute(
        text(f"""
            INSERT INTO forward_test_sessions (session_id, user_id, session_month, shard, strategy_id,
                strategy_version, strategy_snapshot, artefact_hash, symbol, from_first_tick, session_name, settings,
                parameters, starting_balance, current_balance, equity, peak_balance, warmup_bars, created_at, source)
            VALUES (:session_id, :user_id, :month, :shard, :strategy_id, :strategy_version,
                CAST(:snapshot AS jsonb), :artefact_hash, :symbol, :from_first_tick, :name, CAST(:settings AS jsonb),
                CAST(:parameters AS jsonb), {cash}, {cash}, {cash}, {cash}, :warmup_bars, :create_time,
                :source)
        """),
        {
            "session_id": UUID(session.session_id),
            "user_id": UUID(session.user_id),
            "month": session.month,
            "shard": session.shard,
            "strategy_id": UUID(session.strategy_id),
            "strategy_version": session.strategy_version,
            "snapshot": json.dumps(draft.snapshot),
            "artefact_hash": session.artefact_hash,
            "symbol": session.symbol,
            "from_first_tick": session.from_first_tick,
            "name": session.name,
            "settings": json.dumps(session.settings.as_text()),
            "parameters": json.dumps(dict(session.parameters)),
            "cash": session.cash,
            "warmup_bars": session.warmup_bars,
            "source": session.source,
            "create_time": session.create_time,
        },
    )
