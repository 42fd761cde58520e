"""Notifications, channels and rules as messages, for the API and for the bus alike."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.notification.notice import Channel, Choice, Delivery, Kind, Notification, Rule
from algotrade.platform.clock import SECOND_NS
from algotrade.v1 import notification_service_pb2 as pb


def notification_message(notification: Notification) -> pb.Notification:
    """Write a notification."""
    n = notification.notice
    return pb.Notification(
        notification_id=n.notification_id,
        sequence=notification.sequence,
        kind=pb.NotificationKind.ValueType(n.kind),
        severity=pb.NotificationSeverity.ValueType(n.severity),
        title=n.title,
        body=n.body,
        session_id=n.session_id,
        strategy_id=n.strategy_id,
        symbol=n.symbol,
        node_id=n.node_id,
        reason=n.reason,
        price=n.price,
        quantity=n.quantity,
        pnl=n.pnl,
        count=notification.count,
        event_sequence=n.event_sequence,
        event_time=timestamp(n.event_ns) if n.event_ns else None,
        create_time=moment(notification.create_time),
        read_time=moment(notification.read_time),
    )


def channel_message(channel: Channel) -> pb.Channel:
    """Write a channel, without its address."""
    return pb.Channel(
        channel_id=channel.channel_id,
        name=channel.name,
        service=channel.service,
        masked_url=channel.masked_url,
        create_time=moment(channel.create_time),
    )


def rule_message(rule: Rule) -> pb.Rule:
    """Write a rule."""
    choice = rule.choice
    return pb.Rule(
        rule_id=rule.rule_id,
        channel_id=rule.channel_id,
        choice=pb.RuleChoice(
            kinds=[pb.NotificationKind.ValueType(kind) for kind in sorted(choice.kinds)],
            session_ids=sorted(choice.session_ids),
            strategy_ids=sorted(choice.strategy_ids),
            min_severity=pb.NotificationSeverity.ValueType(choice.min_severity),
            throttle_seconds=choice.throttle_seconds,
            digest_seconds=choice.digest_seconds,
        ),
        disabled=rule.disabled,
        held_back=rule.held_back,
        create_time=moment(rule.create_time),
    )


def choice_of(given: pb.RuleChoice) -> Choice:
    """Read what a rule chooses."""
    return Choice(
        kinds=frozenset(Kind(kind) for kind in given.kinds),
        session_ids=frozenset(given.session_ids),
        strategy_ids=frozenset(given.strategy_ids),
        min_severity=given.min_severity,
        throttle_seconds=given.throttle_seconds,
        digest_seconds=given.digest_seconds,
    )


def delivery_message(delivery: Delivery) -> pb.Delivery:
    """Write a delivery."""
    return pb.Delivery(
        notification_id=delivery.notification_id,
        sequence=delivery.sequence,
        channel_id=delivery.channel_id,
        rule_id=delivery.rule_id,
        state=pb.DeliveryState.ValueType(delivery.state),
        attempts=delivery.attempts,
        failure=delivery.failure,
        create_time=moment(delivery.create_time),
        end_time=moment(delivery.end_time),
        entries=delivery.entries,
    )


def timestamp(ns: int) -> Timestamp:
    """Write nanoseconds since the epoch."""
    return Timestamp(seconds=ns // SECOND_NS, nanos=ns % SECOND_NS)


def moment(time: datetime | None) -> Timestamp | None:
    """Write a time, where there is one."""
    if time is None:
        return None
    written = Timestamp()
    written.FromDatetime(time)
    return written
