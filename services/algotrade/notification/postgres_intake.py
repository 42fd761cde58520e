"""What comes in, in PostgreSQL: notifications, deliveries and the place in the log in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.notification import rows
from algotrade.notification.fold import Cause, Chosen, cause_of, choose, fold
from algotrade.notification.notice import Digest, Notice, Notification, Rule
from algotrade.notification.store import Batch, Moved, Taken
from algotrade.platform import limits
from algotrade.platform.clock import Clock, utc

_POSITIONS: Final = text("SELECT partition, next_offset FROM notification_positions WHERE topic = :topic")
_BEGIN: Final = text("""
    INSERT INTO notification_positions (topic, partition, next_offset) VALUES (:topic, :partition, :offset)
    ON CONFLICT DO NOTHING
""")
_JUMP: Final = text("""
    UPDATE notification_positions SET next_offset = :to
    WHERE topic = :topic AND partition = :partition AND next_offset = :offset
""")
_PLACE: Final = text("""
    SELECT next_offset FROM notification_positions WHERE topic = :topic AND partition = :partition FOR UPDATE
""")
_MOVE: Final = text("""
    UPDATE notification_positions SET next_offset = :after WHERE topic = :topic AND partition = :partition
""")
# In the order of the keys, so that two who add to the same inboxes do not wait for each other.
_OPEN: Final = text("""
    INSERT INTO inboxes (user_id, last_sequence)
    SELECT user_id, 0 FROM users WHERE user_id = ANY(CAST(:user_ids AS uuid[])) ORDER BY user_id
    ON CONFLICT DO NOTHING
""")
_LOCK: Final = text("""
    SELECT user_id, last_sequence FROM inboxes
    WHERE user_id = ANY(CAST(:user_ids AS uuid[])) ORDER BY user_id FOR UPDATE
""")
_KNOWN: Final = text(
    "SELECT notification_id FROM notifications WHERE notification_id = ANY(CAST(:notification_ids AS uuid[]))"
)
_CAUSE_COLUMNS: Final = {"session_id": "uuid", "node_id": "text", "reason": "text"}
_NEWEST: Final = text(f"""
    SELECT newest.* FROM {rows.unnest("c", _CAUSE_COLUMNS)}
    CROSS JOIN LATERAL (
        SELECT {rows.NOTIFICATION} FROM notifications AS n
        WHERE n.kind IN (4, 9) AND n.session_id = c.session_id AND n.node_id = c.node_id
            AND n.reason = c.reason
        ORDER BY n.sequence DESC LIMIT 1
    ) AS newest
""")
_ADD: Final = text(f"""
    INSERT INTO notifications ({", ".join(rows.NOTICE_COLUMNS)})
    SELECT {", ".join(rows.NOTICE_COLUMNS)} FROM {rows.unnest("r", rows.NOTICE_COLUMNS)}
""")
_RAISE_COLUMNS: Final = {
    "user_id": "uuid",
    "sequence": "bigint",
    "count": "bigint",
    "last_event_sequence": "bigint",
    "event_ns": "bigint",
}
_RAISE: Final = text(f"""
    UPDATE notifications AS n SET
        count = r.count, last_event_sequence = r.last_event_sequence, event_ns = r.event_ns
    FROM {rows.unnest("r", _RAISE_COLUMNS)} WHERE n.user_id = r.user_id AND n.sequence = r.sequence
""")
_LAST_COLUMNS: Final = {"user_id": "uuid", "last_sequence": "bigint"}
_LAST: Final = text(f"""
    UPDATE inboxes AS i SET last_sequence = r.last_sequence FROM {rows.unnest("r", _LAST_COLUMNS)}
    WHERE i.user_id = r.user_id
""")
_TRIM: Final = text(f"""
    DELETE FROM notifications AS n USING {rows.unnest("r", _LAST_COLUMNS)}
    WHERE n.user_id = r.user_id AND n.sequence <= r.last_sequence - :kept
""")
_RULES: Final = text(f"""
    SELECT {rows.RULE} FROM notification_rules WHERE user_id = ANY(CAST(:user_ids AS uuid[])) AND NOT disabled
    ORDER BY create_time, rule_id FOR UPDATE
""")
_WAITING: Final = text("""
    SELECT user_id, count(*) AS waiting FROM notification_deliveries
    WHERE state = 1 AND user_id = ANY(CAST(:user_ids AS uuid[])) GROUP BY user_id
""")
_DELIVERY_COLUMNS: Final = {
    "user_id": "uuid",
    "sequence": "bigint",
    "channel_id": "uuid",
    "rule_id": "uuid",
    "held_back": "bigint",
    "state": "smallint",
    "due_time": "timestamptz",
    "entries": "text",
}
_DELIVER: Final = text(f"""
    INSERT INTO notification_deliveries
        ({", ".join(_DELIVERY_COLUMNS)}, create_time, end_time)
    SELECT {", ".join(name for name in _DELIVERY_COLUMNS if name != "entries")}, CAST(entries AS bigint[]),
        CAST(:now AS timestamptz), CASE WHEN state = 4 THEN CAST(:now AS timestamptz) END
    FROM {rows.unnest("r", _DELIVERY_COLUMNS)}
""")
# Who takes a digest up to send it locks it too, so nothing is added to one that is on its way.
_DIGESTS: Final = text("""
    SELECT user_id, rule_id, channel_id, sequence, entries FROM notification_deliveries
    WHERE rule_id = ANY(CAST(:rule_ids AS uuid[])) AND state = 1 AND attempts = 0 AND entries IS NOT NULL
        AND cardinality(entries) < :most
    ORDER BY rule_id, sequence FOR UPDATE
""")
_GROW_COLUMNS: Final = {"user_id": "uuid", "sequence": "bigint", "channel_id": "uuid", "entries": "text"}
_GROW: Final = text(f"""
    UPDATE notification_deliveries AS d SET entries = CAST(r.entries AS bigint[]),
        due_time = CASE WHEN cardinality(CAST(r.entries AS bigint[])) < :most THEN d.due_time
            ELSE CAST(:now AS timestamptz) END
    FROM {rows.unnest("r", _GROW_COLUMNS)}
    WHERE d.user_id = r.user_id AND d.sequence = r.sequence AND d.channel_id = r.channel_id
""")
# A digest whose first entry is about to go is sent before its time.
_HASTEN: Final = text(f"""
    UPDATE notification_deliveries AS d SET due_time = CAST(:now AS timestamptz)
    FROM {rows.unnest("r", _LAST_COLUMNS)}
    WHERE d.user_id = r.user_id AND d.state = 1 AND d.attempts = 0 AND d.entries IS NOT NULL
        AND d.sequence <= r.last_sequence - :kept / 2 AND d.due_time > CAST(:now AS timestamptz)
""")
_THROTTLE_COLUMNS: Final = {"rule_id": "uuid", "held_back": "bigint", "send_time": "timestamptz"}
_THROTTLE: Final = text(f"""
    UPDATE notification_rules AS n SET held_back = r.held_back, send_time = r.send_time
    FROM {rows.unnest("r", _THROTTLE_COLUMNS)} WHERE n.rule_id = r.rule_id
""")


class PostgresIntake:
    """The port `Intake`."""

    def __init__(self, engine: AsyncEngine, clock: Clock, *, together_seconds: float) -> None:
        """Take the pool, the time, and how long rejections of one cause are one entry."""
        self._engine = engine
        self._clock = clock
        self._together = timedelta(seconds=together_seconds)

    async def positions(self, topic: str) -> Mapping[int, int]:
        """Select by topic."""
        async with self._engine.connect() as connection:
            found = await connection.execute(_POSITIONS, {"topic": topic})
            return {row.partition: row.next_offset for row in found}

    async def begin(self, topic: str, partition: int, offset: int) -> None:
        """Insert where there is none."""
        async with self._engine.begin() as connection:
            await connection.execute(_BEGIN, {"topic": topic, "partition": partition, "offset": offset})

    async def jump(self, topic: str, partition: int, offset: int, to: int) -> None:
        """Compare and set."""
        async with self._engine.begin() as connection:
            await connection.execute(_JUMP, {"topic": topic, "partition": partition, "offset": offset, "to": to})

    async def take(self, batch: Batch) -> Taken:
        """Lock the place, then the inboxes; write; move the place."""
        where = {"topic": batch.topic, "partition": batch.partition}
        async with self._engine.begin() as connection:
            place: int | None = (await connection.execute(_PLACE, where)).scalar_one_or_none()
            if place is None or not batch.first <= place <= batch.after:
                raise Moved(f"{batch.topic}[{batch.partition}] is at {place}, not at {batch.first}")
            notices = [notice for offset, notice in batch.notices if offset >= place]
            taken = await self._store(connection, notices, utc(self._clock.now_ns())) if notices else Taken()
            await connection.execute(_MOVE, {**where, "after": batch.after})
        return taken

    async def _store(self, connection: AsyncConnection, notices: Sequence[Notice], now: datetime) -> Taken:
        users = {"user_ids": [UUID(user_id) for user_id in {notice.user_id for notice in notices}]}
        await connection.execute(_OPEN, users)
        last = {str(row.user_id): row.last_sequence for row in await connection.execute(_LOCK, users)}
        ids = {"notification_ids": [UUID(notice.notification_id) for notice in notices]}
        known = [str(key) for key in (await connection.execute(_KNOWN, ids)).scalars()]
        folded = fold(notices, last, known, await _newest(connection, notices), now, self._together)
        if folded.raised:
            raised = [
                (UUID(n.notice.user_id), n.sequence, n.count, n.last_event_sequence, n.notice.event_ns)
                for n in folded.raised
            ]
            await connection.execute(_RAISE, rows.arrays(_RAISE_COLUMNS, raised))
        if not folded.added:
            return Taken()
        await connection.execute(_ADD, rows.arrays(rows.NOTICE_COLUMNS, [rows.values(n) for n in folded.added]))
        newest = {n.notice.user_id: n.sequence for n in folded.added}
        lasts = rows.arrays(_LAST_COLUMNS, [(UUID(user_id), sequence) for user_id, sequence in newest.items()])
        await connection.execute(_LAST, lasts)
        deliveries = await _deliver(connection, folded.added, users, now)
        await connection.execute(_HASTEN, {**lasts, "kept": limits.MAX_NOTIFICATIONS, "now": now})
        await connection.execute(_TRIM, {**lasts, "kept": limits.MAX_NOTIFICATIONS})
        return Taken(tuple(folded.added), deliveries)


async def _newest(connection: AsyncConnection, notices: Sequence[Notice]) -> dict[Cause, Notification]:
    """Return the newest entry of each cause."""
    causes = {cause_of(notice) for notice in notices if notice.kind.counted}
    if not causes:
        return {}
    given = rows.arrays(_CAUSE_COLUMNS, [(UUID(session_id), node, reason) for session_id, node, reason in causes])
    found = [rows.notification(row) for row in await connection.execute(_NEWEST, given)]
    return {cause_of(entry.notice): entry for entry in found}


async def _deliver(
    connection: AsyncConnection, added: Sequence[Notification], users: Mapping[str, Any], now: datetime
) -> int:
    """Store what rules send; return how much is to be sent."""
    rules = [rows.rule(row) for row in await connection.execute(_RULES, users)]
    if not rules:
        return 0
    waiting = {str(row.user_id): row.waiting for row in await connection.execute(_WAITING, users)}
    made = choose(added, rules, waiting, limits.MAX_WAITING_DELIVERIES, await _digests(connection, rules))
    if made.chosen:
        await connection.execute(_DELIVER, {**rows.arrays(_DELIVERY_COLUMNS, map(_delivery, made.chosen)), "now": now})
    if made.grown:
        grown = rows.arrays(_GROW_COLUMNS, map(_grown, made.grown))
        await connection.execute(_GROW, {**grown, "most": limits.MAX_DIGEST_ENTRIES, "now": now})
    if made.rules:
        await connection.execute(_THROTTLE, rows.arrays(_THROTTLE_COLUMNS, map(_throttle, made.rules)))
    return len(made.chosen) + len(made.grown)


async def _digests(connection: AsyncConnection, rules: Sequence[Rule]) -> list[Digest]:
    """Return the digests that may be added to; the newest of a rule last."""
    gathering = [UUID(rule.rule_id) for rule in rules if rule.choice.digest_seconds]
    if not gathering:
        return []
    found = await connection.execute(_DIGESTS, {"rule_ids": gathering, "most": limits.MAX_DIGEST_ENTRIES})
    return [
        Digest(str(row.user_id), str(row.rule_id), str(row.channel_id), row.sequence, tuple(row.entries))
        for row in found
    ]


def _delivery(chosen: Chosen) -> tuple[Any, ...]:
    notification, rule = chosen.notification, chosen.rule
    return (
        UUID(notification.notice.user_id),
        notification.sequence,
        UUID(rule.channel_id),
        UUID(rule.rule_id),
        chosen.held_back,
        int(chosen.state),
        chosen.due_time,
        _array(chosen.entries) if chosen.entries else None,
    )


def _grown(digest: Digest) -> tuple[Any, ...]:
    return UUID(digest.user_id), digest.sequence, UUID(digest.channel_id), _array(digest.entries)


def _array(sequences: Sequence[int]) -> str:
    """Write numbers as PostgreSQL writes an array: unnest takes arrays of arrays apart to the last number."""
    return f"{{{','.join(map(str, sequences))}}}"


def _throttle(rule: Rule) -> tuple[Any, ...]:
    return UUID(rule.rule_id), rule.held_back, rule.send_time
