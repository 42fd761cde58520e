"""What the bus is told: fills, balances after them, decisions without a fill, notices, commands, changes of status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from google.protobuf.message import Message

from algotrade.engine import fixed
from algotrade.engine.records import EventKind
from algotrade.forward_test.book import Happening
from algotrade.forward_test.messages import STATUSES, event_message, timestamp, trade_message
from algotrade.forward_test.session import Command, CommandKind, Outgoing, Session
from algotrade.forward_test.silence import Silence
from algotrade.platform import topics
from algotrade.platform.bus import caused_by
from algotrade.platform.caller import TRACEPARENT
from algotrade.platform.clock import SECOND_NS
from algotrade.v1 import events_pb2
from algotrade.v1 import forward_test_service_pb2 as pb

FILLS: Final = (EventKind.ENTRY, EventKind.EXIT)


def outgoing_of(session: Session, happenings: Sequence[Happening]) -> list[Outgoing]:
    """Return what is to be sent of a session's events, in their order."""
    return [message for happening in happenings for message in _of(session, happening)]


def outgoing_command(session: Session, command: Command, now_ns: int) -> Outgoing:
    """Return the message that wakes the worker of a session."""
    message = events_pb2.ForwardTestEvent(
        command_id=command.command_id,
        session_id=session.session_id,
        user_id=session.user_id,
        shard=session.shard,
        create_time=timestamp(now_ns),
    )
    match command.kind:
        case CommandKind.START:
            message.start.SetInParent()
        case CommandKind.PAUSE:
            message.pause.SetInParent()
        case CommandKind.RESUME:
            message.resume.SetInParent()
        case CommandKind.FLATTEN:
            message.flatten.SetInParent()
        case CommandKind.STOP_FLATTEN:
            message.stop.mode = pb.STOP_MODE_FLATTEN
        case CommandKind.STOP_KEEP:
            message.stop.mode = pb.STOP_MODE_KEEP
        case CommandKind.HALT:
            message.halt.SetInParent()
    return _outgoing(session, topics.FORWARD_TEST_EVENTS, message, command.correlation_id)


def outgoing_status(session: Session, event_ns: int) -> Outgoing:
    """Return the message that says where a session stands; ``event_ns``: of its newest tick, 0 where none came."""
    change = events_pb2.SessionStatusChange(
        status=STATUSES[session.status],
        halt_reason=session.halt_reason,
        last_sequence=session.last_sequence,
        event_time=timestamp(event_ns) if event_ns else None,
        strategy_id=session.strategy_id,
        session_name=session.name,
        symbol=session.symbol,
    )
    message = events_pb2.ForwardTestEvent(
        session_id=session.session_id, user_id=session.user_id, shard=session.shard, status=change
    )
    return _outgoing(session, topics.FORWARD_TEST_EVENTS, message, session.correlation_id)


def outgoing_silence(session: Session, silence: Silence, number: int, *, silent: bool) -> Outgoing:
    """Return the message that says that a session is silent, or no longer so."""
    told = events_pb2.SessionSilence(
        number=number,
        silent=silent,
        seconds=(silence.event_ns - silence.since_ns) // SECOND_NS,
        last_tick_sequence=silence.tick_sequence,
        strategy_id=session.strategy_id,
        session_name=session.name,
        symbol=session.symbol,
        event_time=timestamp(silence.event_ns),
    )
    message = events_pb2.ForwardTestEvent(
        session_id=session.session_id, user_id=session.user_id, shard=session.shard, silence=told
    )
    return _outgoing(session, topics.FORWARD_TEST_EVENTS, message, session.correlation_id)


def outgoing_subscription(session: Session, *, subscribed: bool) -> Outgoing:
    """Return the message that says that a session begins or ceases to want its symbol's feed."""
    message = events_pb2.SymbolSubscriptionChange(
        symbol=session.symbol, user_id=session.user_id, session_id=session.session_id, subscribed=subscribed
    )
    told = _outgoing(session, topics.SYMBOL_SUBSCRIPTIONS, message, session.correlation_id)
    return replace(told, key=session.symbol)


def _of(session: Session, happening: Happening) -> list[Outgoing]:
    event = happening.event
    head: dict[str, Any] = {"session_id": session.session_id, "user_id": session.user_id, "symbol": session.symbol}
    origin: dict[str, Any] = {
        **head,
        "artefact_hash": session.artefact_hash,
        "strategy_id": session.strategy_id,
        "session_name": session.name,
        "event": event_message(event),
    }
    if event.kind not in FILLS:
        signal = events_pb2.StrategySignal(**origin)
        return [_outgoing(session, topics.STRATEGY_SIGNALS, signal, session.correlation_id)]
    execution = events_pb2.TradeExecution(**origin)
    if happening.trade is not None:
        execution.trade.CopyFrom(trade_message(happening.trade))
    held = happening.open.signed_quantity if happening.open else 0
    update = events_pb2.PortfolioUpdate(
        **head,
        sequence=event.sequence,
        event_time=timestamp(event.event_ns),
        cash=fixed.text(event.cash),
        quantity=fixed.text(held),
        average_price=fixed.text(happening.open.entry_price if happening.open else 0),
        equity=fixed.text(event.cash + held * event.price // fixed.SCALE),
        realized_pnl=fixed.text(happening.realized_pnl),
    )
    return [
        _outgoing(session, topics.TRADE_EXECUTIONS, execution, session.correlation_id),
        _outgoing(session, topics.PORTFOLIO_UPDATES, update, session.correlation_id),
    ]


def _outgoing(session: Session, topic: topics.Topic, message: Message, correlation_id: str) -> Outgoing:
    headers = caused_by(correlation_id, TRACEPARENT.get())  # a trace ends with its call: later events have none
    return Outgoing(session.shard, topic.name, session.session_id, message.SerializeToString(), headers)
