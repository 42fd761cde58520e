"""Inboxes, as the API reads them, and deliveries in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.notification import rows
from algotrade.notification.notice import Delivery, Entry, Inbox, Notification, Parcel, Severity, State

_INBOX: Final = text("""
    SELECT i.last_sequence,
        (SELECT min(sequence) FROM notifications AS n WHERE n.user_id = i.user_id) AS first_sequence,
        (SELECT count(*) FROM notifications AS n WHERE n.user_id = i.user_id AND n.read_time IS NULL) AS unread
    FROM inboxes AS i WHERE i.user_id = :user_id
""")
_AFTER: Final = text(f"""
    SELECT {rows.NOTIFICATION} FROM notifications WHERE user_id = :user_id AND sequence > :sequence
    ORDER BY sequence LIMIT :count
""")
_MARK: Final = text("""
    UPDATE notifications SET read_time = :now
    WHERE user_id = :user_id AND read_time IS NULL
        AND (sequence <= :up_to OR notification_id = ANY(CAST(:notification_ids AS uuid[])))
""")
# One a user, so that a channel that takes long holds up its owner and nobody else.
_CLAIM: Final = text("""
    WITH due AS (
        SELECT DISTINCT ON (user_id) user_id, sequence, channel_id, due_time FROM notification_deliveries
        WHERE state = 1 AND due_time <= :now AND NOT user_id = ANY(CAST(:busy AS uuid[]))
        ORDER BY user_id, due_time, sequence
    ), mine AS (
        SELECT d.user_id, d.sequence, d.channel_id FROM notification_deliveries AS d
        JOIN due USING (user_id, sequence, channel_id)
        WHERE d.state = 1 AND d.due_time <= :now
        ORDER BY due.due_time LIMIT :count FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE notification_deliveries AS d SET attempts = attempts + 1, due_time = :until
    FROM mine, notifications AS n, notification_channels AS c
    WHERE d.user_id = mine.user_id AND d.sequence = mine.sequence AND d.channel_id = mine.channel_id
        AND n.user_id = d.user_id AND n.sequence = d.sequence AND c.channel_id = d.channel_id
    RETURNING d.user_id, d.sequence, d.channel_id, d.held_back, d.attempts, c.sealed_url, n.title, n.body, n.severity,
        d.entries
""")
_ENTRIES: Final = text("""
    SELECT sequence, title, severity, count, create_time FROM notifications
    WHERE user_id = :user_id AND sequence = ANY(CAST(:sequences AS bigint[])) ORDER BY sequence
""")
_FINISH: Final = text("""
    UPDATE notification_deliveries SET state = :state, failure = :failure, due_time = :due, end_time = :end_time
    WHERE user_id = :user_id AND sequence = :sequence AND channel_id = :channel_id AND state = 1
""")


class PostgresInboxes:
    """The port `InboxStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def inbox(self, user_id: str) -> Inbox:
        """Select by primary key, and along the index of what was not read."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(_INBOX, {"user_id": UUID(user_id)})).first()
        return Inbox() if row is None else Inbox(row.first_sequence or 0, row.last_sequence, row.unread)

    async def after(self, user_id: str, sequence: int, count: int) -> list[Notification]:
        """Select along the primary key."""
        where = {"user_id": UUID(user_id), "sequence": sequence, "count": count}
        async with self._engine.connect() as connection:
            return [rows.notification(row) for row in await connection.execute(_AFTER, where)]

    async def before(self, user_id: str, sequence: int | None, count: int, *, unread: bool) -> list[Notification]:
        """Select backwards along the primary key, or along the index of what was not read."""
        where: dict[str, Any] = {"user_id": UUID(user_id), "count": count}
        which = "AND read_time IS NULL" if unread else ""
        if sequence is not None:
            which += " AND sequence < :sequence"
            where["sequence"] = sequence
        query = text(f"""
            SELECT {rows.NOTIFICATION} FROM notifications WHERE user_id = :user_id {which}
            ORDER BY sequence DESC LIMIT :count
        """)
        async with self._engine.connect() as connection:
            return [rows.notification(row) for row in await connection.execute(query, where)]

    async def mark_read(self, user_id: str, notification_ids: Sequence[str], up_to: int, now: datetime) -> int:
        """Update what was not read."""
        where = {
            "user_id": UUID(user_id),
            "notification_ids": [UUID(one) for one in notification_ids],
            "up_to": up_to,
            "now": now,
        }
        async with self._engine.begin() as connection:
            return (await connection.execute(_MARK, where)).rowcount


class PostgresDeliveries:
    """The port `DeliveryStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def deliveries(self, user_id: str, before: tuple[int, str] | None, count: int) -> list[Delivery]:
        """Select backwards along the primary key."""
        where: dict[str, Any] = {"user_id": UUID(user_id), "count": count}
        which = ""
        if before is not None:
            which = "AND (d.sequence, d.channel_id) < (:sequence, :channel_id)"
            where |= {"sequence": before[0], "channel_id": UUID(before[1])}
        query = text(f"""
            SELECT d.sequence, d.channel_id, d.rule_id, d.state, d.attempts, d.failure, d.create_time, d.end_time,
                d.entries, n.notification_id
            FROM notification_deliveries AS d JOIN notifications AS n USING (user_id, sequence)
            WHERE d.user_id = :user_id {which} ORDER BY d.sequence DESC, d.channel_id DESC LIMIT :count
        """)
        async with self._engine.connect() as connection:
            return [rows.delivery(row) for row in await connection.execute(query, where)]

    async def claim(self, now: datetime, until: datetime, count: int, busy: Sequence[str]) -> list[Parcel]:
        """Lock, skipping what another has locked; put the due time off."""
        where = {"now": now, "until": until, "count": count, "busy": [UUID(user_id) for user_id in busy]}
        async with self._engine.begin() as connection:
            return [
                Parcel(
                    str(row.user_id),
                    row.sequence,
                    str(row.channel_id),
                    row.sealed_url,
                    row.title,
                    row.body,
                    Severity(row.severity),
                    row.held_back,
                    row.attempts,
                    await _entries(connection, row.user_id, row.entries or ()),
                )
                for row in (await connection.execute(_CLAIM, where)).all()
            ]

    async def finish(self, parcel: Parcel, state: State, failure: str, now: datetime, due: datetime) -> None:
        """Update by primary key."""
        async with self._engine.begin() as connection:
            await connection.execute(
                _FINISH,
                {
                    "user_id": UUID(parcel.user_id),
                    "sequence": parcel.sequence,
                    "channel_id": UUID(parcel.channel_id),
                    "state": int(state),
                    "failure": failure,
                    "due": due,
                    "end_time": None if state is State.PENDING else now,
                },
            )


async def _entries(connection: AsyncConnection, user_id: UUID, sequences: Sequence[int]) -> tuple[Entry, ...]:
    """Read what a digest holds, as far as it is still kept."""
    if not sequences:
        return ()
    found = await connection.execute(_ENTRIES, {"user_id": user_id, "sequences": list(sequences)})
    return tuple(Entry(row.title, Severity(row.severity), row._mapping["count"], row.create_time) for row in found)
