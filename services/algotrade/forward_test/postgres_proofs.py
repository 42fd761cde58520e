"""What replays are made from and compared with, in PostgreSQL."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.forward_test import postgres_bases as bases
from algotrade.forward_test import rows
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.session import CommandKind, Event, Past, Session, SessionTrade, Trail


class PostgresProofs:
    """The port `Proofs`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read through."""
        self._engine = engine
        self._store = PostgresSessionStore(engine)
        self._ledger = PostgresLedger(engine)

    async def trail(self, session: Session) -> Trail:
        """Select along the primary keys, everything as of one moment."""
        row_query = text(f"SELECT {rows.SESSION}, {rows.HELD} FROM {rows.SESSIONS} WHERE session_id = :session_id")
        last_query = text(f"""
            SELECT {rows.TRADE} FROM trades WHERE session_month = :month AND session_id = :session_id
            ORDER BY sequence DESC LIMIT 1
        """)
        commands_query = text("""
            SELECT kind, segment, log_offset FROM session_commands
            WHERE session_id = :session_id AND applied AND log_offset IS NOT NULL ORDER BY position
        """)
        key = {"session_id": UUID(session.session_id)}
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            row = (await connection.execute(row_query, key)).first()
            if row is None:
                raise KeyError(session.session_id)
            last = (await connection.execute(last_query, key | {"month": session.month})).first()
            commands = (await connection.execute(commands_query, key)).all()
            found = (await connection.execute(bases.SELECT, key)).all()
        held = rows.held(row, None if last is None else rows.trade(last))
        return Trail(
            held,
            tuple(Past(CommandKind(c.kind), c.segment, c.log_offset) for c in commands),
            tuple(bases.base_of(held.session, one) for one in found),
        )

    async def module(self, artefact_hash: str) -> bytes:
        """Select by hash."""
        return await self._ledger.module(artefact_hash)

    async def events(self, session: Session, after: int, count: int) -> list[Event]:
        """Select along the primary key."""
        return await self._store.events(session, after, count)

    async def closed(self, session: Session, after: int, count: int) -> list[SessionTrade]:
        """Select along the primary key."""
        return (await self._store.trades(session, after, count))[0]
