"""What records of the bus say to their owners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

from google.protobuf.message import DecodeError

from algotrade.notification.notice import Kind, Notice
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.topics import (
    FORWARD_TEST_EVENTS,
    STRATEGY_COMPILATIONS,
    STRATEGY_SIGNALS,
    TRADE_EXECUTIONS,
)
from algotrade.v1 import events_pb2
from algotrade.v1 import forward_test_service_pb2 as sessions

# By what a position is closed when the strategy or its owner decides so; by anything else it is a stop.
DECIDED_EXITS: Final = frozenset({"sell", "cover", "close", "reverse", "buy", "short", "flatten"})

# On a fill that was told, and on the feed.
_REMARKS: Final = frozenset({sessions.SESSION_EVENT_KIND_AMBIGUOUS, sessions.SESSION_EVENT_KIND_FEED})


class Unreadable(Exception):  # noqa: N818  (an outcome)
    """A record is not what its topic holds."""


def notice_of(topic: str, payload: bytes) -> Notice | None:
    """Return what a record says to its owner; None where that is nothing. Raises Unreadable."""
    try:
        notice = _READERS[topic](payload)
        if notice is not None:
            UUID(notice.user_id)
            for given in (notice.session_id, notice.strategy_id):
                if given:
                    UUID(given)
            if "\0" in notice.title + notice.body + notice.node_id + notice.reason + notice.symbol:
                raise Unreadable("NUL in a text")
    except (DecodeError, ValueError) as error:
        raise Unreadable(str(error)) from error
    return notice


def _execution(payload: bytes) -> Notice:
    told = events_pb2.TradeExecution.FromString(payload)
    event = told.event
    bought = (event.side == "long") == (event.kind == sessions.SESSION_EVENT_KIND_ENTRY)
    deal = f"{'bought' if bought else 'sold'} {event.quantity} {told.symbol} at {event.price}"
    if event.kind == sessions.SESSION_EVENT_KIND_ENTRY:
        return _of_event(told, Kind.ENTRY, deal, f"Fee {event.fee}, cash {event.cash}.")
    if event.kind != sessions.SESSION_EVENT_KIND_EXIT:
        raise Unreadable(f"an execution of kind {event.kind}")
    kind = Kind.EXIT if event.reason in DECIDED_EXITS else Kind.STOP
    title = deal if kind is Kind.EXIT else f"{event.reason}: {deal}"
    return _of_event(told, kind, title, f"Profit or loss {event.pnl}, fee {event.fee}, cash {event.cash}.")


def _signal(payload: bytes) -> Notice | None:
    told = events_pb2.StrategySignal.FromString(payload)
    event = told.event
    if event.kind == sessions.SESSION_EVENT_KIND_REJECTION:
        title = f"order on {told.symbol} rejected: {event.reason}"
        return _of_event(told, Kind.REJECTION, title, f"Node {event.node_id}." if event.node_id else "")
    if event.kind == sessions.SESSION_EVENT_KIND_HALT:
        return _of_event(told, Kind.HALT, f"halted: {event.reason}", "The session trades no more.")
    if event.kind == sessions.SESSION_EVENT_KIND_NOTICE:
        title = event.reason or f"node {event.node_id}"
        return _of_event(told, Kind.NOTICE, f"{told.symbol}: {title}", f"Node {event.node_id}.")
    if event.kind == sessions.SESSION_EVENT_KIND_LOST:
        return _of_event(told, Kind.TICKS_LOST, f"paused, ticks were lost: {event.reason}", "Resume it to go on.")
    if event.kind in _REMARKS:
        return None
    raise Unreadable(f"a signal of kind {event.kind}")


def _of_event(told: events_pb2.TradeExecution | events_pb2.StrategySignal, kind: Kind, title: str, body: str) -> Notice:
    event = told.event
    if event.sequence < 1:
        raise Unreadable("an event without a number")
    filled = kind in (Kind.ENTRY, Kind.EXIT, Kind.STOP)
    return Notice(
        notification_id=str(uuid5(UUID(told.session_id), f"{event.sequence}/{kind.name}")),
        user_id=told.user_id,
        kind=kind,
        title=_titled(told.session_name, title),
        body=body,
        event_sequence=event.sequence,
        session_id=told.session_id,
        strategy_id=told.strategy_id,
        symbol=told.symbol,
        node_id=event.node_id,
        reason=event.reason,
        price=event.price if filled else "",
        quantity=event.quantity if filled else "",
        pnl=event.pnl,
        event_ns=_nanoseconds(event),
    )


def _status(payload: bytes) -> Notice | None:
    told = events_pb2.ForwardTestEvent.FromString(payload)
    if told.HasField("silence"):
        return _silence(told)
    change = told.status
    if not told.HasField("status") or change.status != sessions.SESSION_STATUS_STOPPED:
        return None  # commands; and what halts is told as an event
    return Notice(
        notification_id=str(uuid5(UUID(told.session_id), Kind.SESSION_ENDED.name)),
        user_id=told.user_id,
        kind=Kind.SESSION_ENDED,
        title=_titled(change.session_name, "ended"),
        body="",
        event_sequence=change.last_sequence,
        session_id=told.session_id,
        strategy_id=change.strategy_id,
        symbol=change.symbol,
        event_ns=change.event_time.ToNanoseconds() if change.HasField("event_time") else 0,
    )


def _silence(told: events_pb2.ForwardTestEvent) -> Notice:
    silence = told.silence
    kind = Kind.SILENT if silence.silent else Kind.HEARD_AGAIN
    since = timedelta(seconds=silence.seconds)
    title = f"silent: no tick of {silence.symbol} for {since}" if silence.silent else f"heard again after {since}"
    body = f"The newest tick it was stepped over is number {silence.last_tick_sequence}."
    return Notice(
        notification_id=str(uuid5(UUID(told.session_id), f"{silence.number}/{kind.name}")),
        user_id=told.user_id,
        kind=kind,
        title=_titled(silence.session_name, title),
        body=f"{body} Nothing is bought or sold until there are more." if silence.silent else body,
        event_sequence=silence.number,
        session_id=told.session_id,
        strategy_id=silence.strategy_id,
        symbol=silence.symbol,
        event_ns=silence.event_time.ToNanoseconds(),
    )


def _compilation(payload: bytes) -> Notice:
    told = events_pb2.StrategyCompilation.FromString(payload)
    kind = Kind.COMPILATION_SUCCEEDED if told.artefact_hash else Kind.COMPILATION_FAILED
    outcome = "compiles" if told.artefact_hash else f"does not compile: {told.errors} errors"
    return Notice(
        notification_id=str(uuid5(UUID(told.strategy_id), f"{told.version}/compilation")),
        user_id=told.user_id,
        kind=kind,
        title=_titled(told.strategy_name, f"version {told.version} {outcome}"),
        body=told.first_finding,
        event_sequence=told.version,
        strategy_id=told.strategy_id,
        event_ns=told.create_time.seconds * SECOND_NS + told.create_time.nanos,
    )


def _titled(name: str, rest: str) -> str:
    return f"{name}: {rest}" if name else rest


def _nanoseconds(event: sessions.SessionEvent) -> int:
    return event.event_time.seconds * SECOND_NS + event.event_time.nanos


_READERS: Final[Mapping[str, Callable[[bytes], Notice | None]]] = {
    TRADE_EXECUTIONS.name: _execution,
    STRATEGY_SIGNALS.name: _signal,
    FORWARD_TEST_EVENTS.name: _status,
    STRATEGY_COMPILATIONS.name: _compilation,
}
TOPICS: Final = (TRADE_EXECUTIONS, STRATEGY_SIGNALS, FORWARD_TEST_EVENTS, STRATEGY_COMPILATIONS)
