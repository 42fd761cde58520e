"""The audit log: what happened to accounts, and what was done in their name, in rows that are only ever added.

Each row's hash covers the row and the hash before it, so a row that was changed, removed or put in later breaks the
chain from there on. The actor is a pseudonym that only the account's own row resolves: with the account gone, the log
stays whole and names nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.platform.caller import CORRELATION_ID

AUDIT_LOCK: Final = 0x61756474  # any number, the same in every process
_BEFORE_ALL: Final = bytes(32)
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that happened. `actor` is the account's pseudonym, None where no account is known. No secrets."""

    time: datetime
    actor: UUID | None
    action: str
    facts: Mapping[str, str]
    correlation_id: str

    def as_json(self) -> dict[str, Any]:
        """Return it as a plain object."""
        return {
            "time": self.time.isoformat(),
            "actor": str(self.actor) if self.actor else None,
            "action": self.action,
            "facts": dict(self.facts),
            "correlation_id": self.correlation_id,
        }


async def record(connection: AsyncConnection, time: datetime, actor: UUID | None, action: str, **facts: str) -> int:
    """Add a row in the transaction that does what it tells; return its number.

    Call it last: writers wait for each other's end.
    """
    event = AuditEvent(time, actor, action, facts, CORRELATION_ID.get())
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": AUDIT_LOCK})
    newest = text("SELECT number, hash FROM audit_log ORDER BY number DESC LIMIT 1")
    last = (await connection.execute(newest)).first()
    number: int
    number, before = (last.number + 1, bytes(last.hash)) if last else (1, _BEFORE_ALL)
    await connection.execute(
        text("""
            INSERT INTO audit_log (number, event_time, actor, action, facts, correlation_id, hash)
            VALUES (:number, :time, :actor, :action, CAST(:facts AS jsonb), :correlation_id, :hash)
        """),
        {
            "number": number,
            "time": event.time,
            "actor": event.actor,
            "action": event.action,
            "facts": orjson.dumps(event.facts).decode(),
            "correlation_id": event.correlation_id,
            "hash": _hash(before, number, event),
        },
    )
    return number


async def record_act(connection: AsyncConnection, user_id: str | None, action: str, **facts: str) -> int:
    """Add what a user did, now, under the account's pseudonym; return its number.

    Call it last in the transaction that does it. None: no user did, but the command line, or the platform itself.
    """
    query = text("SELECT clock_timestamp() AS now, (SELECT audit_actor FROM users WHERE user_id = :user_id) AS actor")
    row = (await connection.execute(query, {"user_id": UUID(user_id) if user_id else None})).one()
    return await record(connection, row.now, row.actor, action, **facts)


async def newest(connection: AsyncConnection, count: int, before: int | None, actor: UUID | None) -> list[Entry]:
    """Return so many entries before a number, the newest first; of one actor, or of all."""
    query = text("""
        SELECT * FROM audit_log
        WHERE (CAST(:before AS bigint) IS NULL OR number < :before)
            AND (CAST(:actor AS uuid) IS NULL OR actor = :actor)
        ORDER BY number DESC LIMIT :count
    """)
    rows = await connection.execute(query, {"count": count, "before": before, "actor": actor})
    return [Entry(row.number, _event(row), bytes(row.hash)) for row in rows]


@dataclass(frozen=True, slots=True)
class Entry:
    """An event with its place in the chain."""

    number: int
    event: AuditEvent
    hash: bytes

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Entry:
        """Read what `as_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        actor = UUID(value["actor"]) if value["actor"] else None
        time = datetime.fromisoformat(value["time"])
        event = AuditEvent(time, actor, value["action"], value["facts"], value["correlation_id"])
        return cls(int(value["number"]), event, bytes.fromhex(value["hash"]))

    def as_json(self) -> dict[str, Any]:
        """Return it as a plain object."""
        return {"number": self.number, **self.event.as_json(), "hash": self.hash.hex()}

    def carries_on(self, before: bytes) -> bool:
        """Tell whether its hash is that of its content after `before`, the hash of the entry before."""
        return self.hash == _hash(before, self.number, self.event)


async def entries(connection: AsyncConnection) -> AsyncIterator[Entry]:
    """Yield the whole log, the oldest first, a page at a time."""
    page = text("SELECT * FROM audit_log WHERE number > :after ORDER BY number LIMIT :most")
    after = 0
    while True:
        rows = (await connection.execute(page, {"after": after, "most": _PAGE})).all()
        for row in rows:
            yield Entry(row.number, _event(row), bytes(row.hash))
            after = row.number
        if len(rows) < _PAGE:
            return


class Chain:
    """Follows entries in their order and knows the first that is missing or was changed."""

    def __init__(self) -> None:
        """Begin before the first."""
        self.next, self.hash = 1, _BEFORE_ALL

    def follows(self, entry: Entry) -> bool:
        """Tell whether the entry is the next, as it was written; go on to it if so."""
        if entry.number != self.next or not entry.carries_on(self.hash):
            return False
        self.next, self.hash = entry.number + 1, entry.hash
        return True


async def first_broken(connection: AsyncConnection) -> int | None:
    """Return the number of the first row that is missing or does not carry on the chain; None where all do."""
    chain = Chain()
    async for entry in entries(connection):
        if not chain.follows(entry):
            return chain.next
    return None


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(row.event_time, row.actor, row.action, row.facts, row.correlation_id)


def _hash(before: bytes, number: int, event: AuditEvent) -> bytes:
    body = {
        "number": number,
        "time": event.time.astimezone(UTC).isoformat(),
        "actor": str(event.actor or ""),
        "action": event.action,
        "facts": dict(event.facts),
        "correlation_id": event.correlation_id,
    }
    return hashlib.sha256(before + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
