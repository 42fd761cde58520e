"""The audit log: what happened to accounts, in rows that are only ever added.

Each row's hash covers the row and the hash before it, so a row that was changed, removed or put in later breaks the
chain from there on. The actor is a pseudonym that only the account's own row resolves: with the account gone, the log
stays whole and names nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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


async def record(
    connection: AsyncConnection, time: datetime, actor: UUID | None, action: str, **facts: str
) -> AuditEvent:
    """Add a row in the transaction that does what it tells. Call it last: writers wait for each other's end."""
    event = AuditEvent(time, actor, action, facts, CORRELATION_ID.get())
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": AUDIT_LOCK})
    newest = text("SELECT number, hash FROM audit_log ORDER BY number DESC LIMIT 1")
    last = (await connection.execute(newest)).first()
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
    return event


async def newest(connection: AsyncConnection, count: int) -> list[AuditEvent]:
    """Return so many of the newest events, the oldest of them first."""
    query = text("SELECT * FROM audit_log ORDER BY number DESC LIMIT :count")
    return [_event(row) for row in reversed((await connection.execute(query, {"count": count})).all())]


async def first_broken(connection: AsyncConnection) -> int | None:
    """Return the number of the first row that is missing or does not carry on the chain; None where all do."""
    expected, before = 1, _BEFORE_ALL
    while True:
        page = text("SELECT * FROM audit_log WHERE number >= :first ORDER BY number LIMIT :most")
        rows = (await connection.execute(page, {"first": expected, "most": _PAGE})).all()
        for row in rows:
            if row.number != expected or bytes(row.hash) != _hash(before, expected, _event(row)):
                return expected
            expected, before = expected + 1, bytes(row.hash)
        if len(rows) < _PAGE:
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
