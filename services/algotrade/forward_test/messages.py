"""Sessions, events and trades as messages, for the API and for the bus alike."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.engine import fixed
from algotrade.engine.metrics import Metric
from algotrade.forward_test.changes import Mark
from algotrade.forward_test.points import Point
from algotrade.forward_test.session import Event, Session, SessionTrade, Status
from algotrade.platform.clock import SECOND_NS
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2

STATUSES: Final = {
    Status.CREATED: pb.SESSION_STATUS_CREATED,
    Status.RUNNING: pb.SESSION_STATUS_RUNNING,
    Status.PAUSED: pb.SESSION_STATUS_PAUSED,
    Status.STOPPING: pb.SESSION_STATUS_STOPPING,
    Status.STOPPED: pb.SESSION_STATUS_STOPPED,
    Status.HALTED: pb.SESSION_STATUS_HALTED,
}
SIDES: Final = {"long": pb.TRADE_SIDE_LONG, "short": pb.TRADE_SIDE_SHORT}


def session_message(session: Session) -> pb.Session:
    """Write a session."""
    return pb.Session(
        session_id=session.session_id,
        name=session.name,
        strategy_id=session.strategy_id,
        strategy_version=session.strategy_version,
        artefact_hash=session.artefact_hash,
        symbol=session.symbol,
        settings=types_pb2.RunSettings(**session.settings.as_text()),  # type: ignore[arg-type]
        parameters=session.parameters,
        status=STATUSES[session.status],
        halt_reason=session.halt_reason,
        cash=fixed.text(session.cash),
        quantity=fixed.text(session.quantity),
        average_price=fixed.text(session.average_price),
        last_price=fixed.text(session.last_price),
        equity=fixed.text(session.equity),
        realized_pnl=fixed.text(session.realized_pnl),
        total_trades=session.total_trades,
        winning_trades=session.winning_trades,
        warmup_bars=session.warmup_bars,
        bars=session.bars,
        last_sequence=session.last_sequence,
        last_tick_sequence=session.last_tick_sequence,
        feed_state=types_pb2.FeedState.ValueType(session.feed_state),
        segment=session.segment,
        source=session.source,
        create_time=_moment(session.create_time),
        start_time=_moment(session.start_time),
        stop_time=_moment(session.stop_time),
    )


def event_message(event: Event) -> pb.SessionEvent:
    """Write an event. Its kinds are numbered as the engine numbers them."""
    return pb.SessionEvent(
        sequence=event.sequence,
        kind=pb.SessionEventKind.ValueType(event.kind),
        event_time=timestamp(event.event_ns),
        tick_sequence=event.tick_sequence,
        node_id=event.node_id,
        reason=event.reason,
        side=event.side,
        price=fixed.text(event.price),
        quantity=fixed.text(event.quantity),
        amount=fixed.text(event.amount),
        fee=fixed.text(event.fee),
        pnl="" if event.pnl is None else fixed.text(event.pnl),
        cash=fixed.text(event.cash),
    )


def read_event(session_id: str, told: pb.SessionEvent) -> Event:
    """Read what `event_message` wrote. Raises ValueError where an amount is none."""
    return Event(
        session_id=session_id,
        sequence=told.sequence,
        kind=told.kind,
        event_ns=told.event_time.ToNanoseconds(),
        tick_sequence=told.tick_sequence,
        node_id=told.node_id,
        reason=told.reason,
        side=told.side,
        price=fixed.parse(told.price),
        quantity=fixed.parse(told.quantity),
        amount=fixed.parse(told.amount),
        fee=fixed.parse(told.fee),
        pnl=fixed.parse(told.pnl) if told.pnl else None,
        cash=fixed.parse(told.cash),
    )


def trade_message(trade: SessionTrade) -> pb.Trade:
    """Write a trade, closed or open."""
    return pb.Trade(
        trade_id=trade.trade_id,
        session_id=trade.session_id,
        side=SIDES[trade.side],
        quantity=fixed.text(trade.quantity),
        entry_time=timestamp(trade.entry_ns),
        entry_price=fixed.text(trade.entry_price),
        exit_time=None if trade.exit_ns is None else timestamp(trade.exit_ns),
        exit_price="" if trade.exit_price is None else fixed.text(trade.exit_price),
        fees=fixed.text(trade.fees),
        pnl="" if trade.pnl is None else fixed.text(trade.pnl),
        exit_reason=trade.exit_reason or "",
        ambiguous=trade.ambiguous,
        sequence=trade.sequence,
    )


def position_message(session: Session, held: SessionTrade) -> pb.Position:
    """Write what a session holds."""
    return pb.Position(
        session_id=session.session_id,
        session_name=session.name,
        session_status=STATUSES[session.status],
        symbol=session.symbol,
        side=SIDES[held.side],
        quantity=fixed.text(held.quantity),
        average_price=fixed.text(held.entry_price),
        last_price=fixed.text(session.last_price),
        fees=fixed.text(held.fees),
        unrealized_pnl=fixed.text(session.unrealized_pnl),
        entry_time=timestamp(held.entry_ns),
    )


def mark_message(mark: Mark) -> pb.SessionMark:
    """Write what a session is worth."""
    return pb.SessionMark(
        event_time=timestamp(mark.event_ns),
        last_price=fixed.text(mark.last_price),
        equity=fixed.text(mark.equity),
        unrealized_pnl=fixed.text(mark.unrealized_pnl),
        bars=mark.bars,
    )


def point_message(point: Point) -> pb.ChartPoint:
    """Write a point of a chart."""
    return pb.ChartPoint(
        start_time=timestamp(point.start_ns),
        open=fixed.text(point.open),
        high=fixed.text(point.high),
        low=fixed.text(point.low),
        close=fixed.text(point.close),
        volume=point.volume,
        equity=fixed.text(point.equity),
        cash=fixed.text(point.cash),
        quantity=fixed.text(point.quantity),
    )


def metric_message(metric: Metric) -> pb.SessionMetric:
    """Write a figure."""
    value = metric.value
    if isinstance(value, float):
        value = format(Decimal(repr(value)), "f")  # the shortest decimal that reads back as the same number
    return pb.SessionMetric(
        name=metric.name, value="" if value is None else str(value), unit=metric.unit, definition=metric.definition
    )


def timestamp(ns: int) -> Timestamp:
    """Write nanoseconds since the epoch."""
    return Timestamp(seconds=ns // SECOND_NS, nanos=ns % SECOND_NS)


def _moment(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    written = Timestamp()
    written.FromDatetime(time)
    return written
