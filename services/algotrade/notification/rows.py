"""How notifications, channels and rules lie in rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from algotrade.notification.notice import Channel, Choice, Delivery, Kind, Notice, Notification, Rule, State

NOTICE_COLUMNS: Final = {
    "user_id": "uuid",
    "sequence": "bigint",
    "notification_id": "uuid",
    "kind": "smallint",
    "severity": "smallint",
    "title": "text",
    "body": "text",
    "session_id": "uuid",
    "strategy_id": "uuid",
    "symbol": "text",
    "node_id": "text",
    "reason": "text",
    "price": "text",
    "quantity": "text",
    "pnl": "text",
    "count": "bigint",
    "event_sequence": "bigint",
    "last_event_sequence": "bigint",
    "event_ns": "bigint",
    "create_time": "timestamptz",
}
NOTIFICATION: Final = ", ".join(NOTICE_COLUMNS) + ", read_time"
CHANNEL: Final = "channel_id, user_id, name, sealed_url, service, masked_url, create_time"
RULE: Final = """
    rule_id, user_id, channel_id, kinds, session_ids, strategy_ids, min_severity, throttle_seconds, digest_seconds,
    disabled, held_back, send_time, create_time
    """


def unnest(alias: str, columns: Mapping[str, str]) -> str:
    """SQL that turns array parameters, one a column {name: type}, into rows."""
    casts = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    return f"unnest({casts}) AS {alias} ({', '.join(columns)})"


def arrays(columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the parameters of `unnest` for rows with values in the order of the columns."""
    lists: dict[str, list[Any]] = {name: [] for name in columns}
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            lists[name].append(value)
    return lists


def values(notification: Notification) -> tuple[Any, ...]:
    """Return a notification's values in the order of NOTICE_COLUMNS."""
    n = notification.notice
    return (
        UUID(n.user_id),
        notification.sequence,
        UUID(n.notification_id),
        int(n.kind),
        int(n.severity),
        n.title,
        n.body,
        _uuid(n.session_id),
        _uuid(n.strategy_id),
        n.symbol,
        n.node_id,
        n.reason,
        n.price,
        n.quantity,
        n.pnl,
        notification.count,
        n.event_sequence,
        notification.last_event_sequence,
        n.event_ns,
        notification.create_time,
    )


def notification(row: Row[Any]) -> Notification:
    """Read a row of NOTIFICATION."""
    notice = Notice(
        notification_id=str(row.notification_id),
        user_id=str(row.user_id),
        kind=Kind(row.kind),
        title=row.title,
        body=row.body,
        event_sequence=row.event_sequence,
        session_id=_text(row.session_id),
        strategy_id=_text(row.strategy_id),
        symbol=row.symbol,
        node_id=row.node_id,
        reason=row.reason,
        price=row.price,
        quantity=row.quantity,
        pnl=row.pnl,
        event_ns=row.event_ns,
    )
    count: int = row._mapping["count"]  # a row is a tuple, which has a method of that name
    return Notification(notice, row.sequence, row.create_time, count, row.last_event_sequence, row.read_time)


def channel(row: Row[Any]) -> Channel:
    """Read a row of CHANNEL."""
    return Channel(
        str(row.channel_id),
        str(row.user_id),
        row.name,
        row.sealed_url,
        row.service,
        row.masked_url,
        row.create_time,
    )


def choice(given: Choice) -> dict[str, Any]:
    """Return a choice's columns."""
    return {
        "kinds": sorted(int(kind) for kind in given.kinds),
        "session_ids": [UUID(one) for one in sorted(given.session_ids)],
        "strategy_ids": [UUID(one) for one in sorted(given.strategy_ids)],
        "min_severity": given.min_severity,
        "throttle_seconds": given.throttle_seconds,
        "digest_seconds": given.digest_seconds,
    }


def rule(row: Row[Any]) -> Rule:
    """Read a row of RULE."""
    return Rule(
        rule_id=str(row.rule_id),
        user_id=str(row.user_id),
        channel_id=str(row.channel_id),
        choice=Choice(
            kinds=frozenset(Kind(kind) for kind in row.kinds),
            session_ids=frozenset(str(one) for one in row.session_ids),
            strategy_ids=frozenset(str(one) for one in row.strategy_ids),
            min_severity=row.min_severity,
            throttle_seconds=row.throttle_seconds,
            digest_seconds=row.digest_seconds,
        ),
        create_time=row.create_time,
        disabled=row.disabled,
        held_back=row.held_back,
        send_time=row.send_time,
    )


def delivery(row: Row[Any]) -> Delivery:
    """Read a delivery with its notification's id."""
    return Delivery(
        str(row.notification_id),
        row.sequence,
        str(row.channel_id),
        _text(row.rule_id),
        State(row.state),
        row.attempts,
        row.failure,
        row.create_time,
        row.end_time,
        tuple(row.entries or ()),
    )


def _uuid(text: str) -> UUID | None:
    return UUID(text) if text else None


def _text(key: UUID | None) -> str:
    return "" if key is None else str(key)
