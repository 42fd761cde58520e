"""Copies of sessions' rows from which a replay can begin: where a segment opens, and where the last check ended."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row, text

from algotrade.forward_test import rows
from algotrade.forward_test.session import Base, Held, Place, Progress, Session, SessionTrade, Status, Totals

COLUMNS: Final = {
    "session_id": "uuid",
    "segment": "integer",
    "opens": "boolean",
    "reason": "text",
    "ended_offset": "bigint",
    "log_partition": "integer",
    "log_offset": "bigint",
    "orders_from": "bigint",
    "feed_epoch": "bigint",
    "feed_state": "smallint",
    "status": "text",
    "last_sequence": "bigint",
    "last_tick_sequence": "bigint",
    "warmup_events": "bigint",
    "book": "text",
    "state": "bytea",
}
_KEY: Final = ("session_id", "segment", "opens")
_CASTS: Final = {"status": "CAST(r.status AS session_status)", "book": "CAST(r.book AS jsonb)"}
_VALUES: Final = ", ".join(_CASTS.get(name, f"r.{name}") for name in COLUMNS)
_NEWER: Final = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in _KEY)
INSERT: Final = text(f"""
    INSERT INTO session_checkpoints ({", ".join(COLUMNS)}) SELECT {_VALUES} FROM {rows.unnest("r", COLUMNS)}
    WHERE EXISTS (SELECT FROM forward_test_sessions AS s WHERE s.session_id = r.session_id)
    ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET {_NEWER}, create_time = now()
""")
SELECT: Final = text("""
    SELECT segment, opens, reason, ended_offset, log_partition, log_offset, orders_from, feed_epoch, feed_state,
        CAST(status AS text) AS status, last_sequence, last_tick_sequence, warmup_events, CAST(book AS text) AS book,
        state
    FROM session_checkpoints WHERE session_id = :session_id ORDER BY segment, opens DESC
""")


def values(one: Held | Progress, *, opens: bool, reason: str = "", ended: int | None = None) -> tuple[Any, ...]:
    """Return the values of `COLUMNS` for a row."""
    session, place = one.session, one.place
    book = {
        "totals": astuple(one.totals),
        "open": astuple(one.open) if one.open else None,
        "last": astuple(one.last_trade) if one.last_trade else None,
    }
    return (
        UUID(session.session_id),
        session.segment,
        opens,
        reason,
        ended,
        place.partition,
        place.offset,
        place.orders_from,
        place.feed_epoch,
        session.feed_state,
        session.status,
        session.last_sequence,
        session.last_tick_sequence,
        one.warmup_events,
        orjson.dumps(book).decode(),
        one.state,
    )


def base_of(session: Session, row: Row[Any]) -> Base:
    """Read a row of `SELECT` about a session."""
    book = orjson.loads(row.book)
    held = Held(
        session=replace(
            session,
            status=Status(row.status),
            segment=row.segment,
            feed_state=row.feed_state,
            last_sequence=row.last_sequence,
            last_tick_sequence=row.last_tick_sequence,
        ),
        place=Place(row.log_partition, row.log_offset, row.orders_from, row.feed_epoch),
        begin_offset=None,
        state=None if row.state is None else bytes(row.state),
        warmup_events=row.warmup_events,
        totals=Totals(*book["totals"]),
        open=SessionTrade(*book["open"]) if book["open"] else None,
        last_trade=SessionTrade(*book["last"]) if book["last"] else None,
    )
    return Base(held, row.opens, row.reason, row.ended_offset)
