"""What sessions subscribe to: a row each while it goes on, written with its start and its end, each change told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.forward_test import rows
from algotrade.forward_test.postgres_outbox import add_outgoing
from algotrade.forward_test.session import Session
from algotrade.forward_test.tell import outgoing_subscription

_COLUMNS: Final = {"session_id": "uuid", "symbol": "text"}
_ADD: Final = text(f"""
    INSERT INTO session_subscriptions (session_id, symbol)
    SELECT r.session_id, r.symbol FROM {rows.unnest("r", _COLUMNS)}
    WHERE EXISTS (SELECT FROM forward_test_sessions AS s WHERE s.session_id = r.session_id)
    ON CONFLICT DO NOTHING RETURNING session_id
""")
_REMOVE: Final = text("""
    DELETE FROM session_subscriptions WHERE session_id = ANY(CAST(:session_ids AS uuid[])) RETURNING session_id
""")


async def subscribe(connection: AsyncConnection, sessions: Sequence[Session]) -> None:
    """Have sessions that start want their symbols."""
    values = [(UUID(session.session_id), session.symbol) for session in sessions]
    added = (await connection.execute(_ADD, rows.arrays(_COLUMNS, values))).scalars()
    await _tell(connection, sessions, set(map(str, added)), subscribed=True)


async def unsubscribe(connection: AsyncConnection, sessions: Sequence[Session]) -> None:
    """Let sessions that have ended want nothing any more."""
    ended = [UUID(session.session_id) for session in sessions]
    removed = (await connection.execute(_REMOVE, {"session_ids": ended})).scalars()
    await _tell(connection, sessions, set(map(str, removed)), subscribed=False)


async def _tell(
    connection: AsyncConnection, sessions: Sequence[Session], changed: set[str], *, subscribed: bool
) -> None:
    told = [
        outgoing_subscription(session, subscribed=subscribed) for session in sessions if session.session_id in changed
    ]
    await add_outgoing(connection, told)
