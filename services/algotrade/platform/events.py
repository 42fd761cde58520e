"""What the records of each topic say, as plain values: for people and programs that look at the bus from outside.

Where a topic is told as JSON (`Cluster.json_topics`) its records are so in Kafka only: whoever reads the bus in here
gets protobuf, however a record was written. Decimals are strings there, times RFC 3339, as protobuf's own JSON has it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToDict, MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message

from algotrade.platform import topics
from algotrade.platform.bus import CONTENT_TYPE, Record
from algotrade.platform.bus import Message as Told
from algotrade.platform.clock import utc
from algotrade.platform.topics import JSON, JSON_TOPICS, PROTOBUF
from algotrade.v1 import events_pb2

MESSAGES: Final[Mapping[str, type[Message]]] = {
    topics.MARKET_DATA_UPDATES.name: events_pb2.MarketDataUpdate,
    topics.SYMBOL_SUBSCRIPTIONS.name: events_pb2.SymbolSubscriptionChange,
    topics.STRATEGY_COMPILATIONS.name: events_pb2.StrategyCompilation,
    topics.STRATEGY_SIGNALS.name: events_pb2.StrategySignal,
    topics.TRADE_EXECUTIONS.name: events_pb2.TradeExecution,
    topics.PORTFOLIO_UPDATES.name: events_pb2.PortfolioUpdate,
    topics.FORWARD_TEST_EVENTS.name: events_pb2.ForwardTestEvent,
    topics.USER_NOTIFICATIONS.name: events_pb2.UserNotification,
    topics.REALTIME_UPDATES.name: events_pb2.RealtimeUpdate,
}


def to_json(topic: str, message: Told) -> Told:
    """Return a protobuf message of a topic of `MESSAGES` as JSON. Raises DecodeError."""
    told = MESSAGES[topic].FromString(message.payload)
    payload = MessageToJson(told, preserving_proto_field_name=True, indent=None).encode()
    return Told(message.key, payload, {**message.headers, CONTENT_TYPE: JSON})


def to_protobuf(record: Record) -> Record:
    """Return a record that was written as JSON as protobuf; any other, and one that cannot be read, as it is."""
    if record.headers.get(CONTENT_TYPE) != JSON or record.topic not in JSON_TOPICS:
        return record
    try:
        if not isinstance(values := orjson.loads(record.payload), dict):
            return record
        told = ParseDict(values, MESSAGES[record.topic](), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError):  # by what somebody else may have written
        return record
    return record._replace(payload=told.SerializeToString(), headers={**record.headers, CONTENT_TYPE: PROTOBUF})


def as_values(record: Record) -> dict[str, Any]:
    """Return a record as JSON has it: what it says under `value`, or base64 under `payload` where none can read it."""
    told: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": utc(record.write_time_ns).isoformat(),
        "key": record.key,
        "headers": dict(record.headers),
    }
    value = _value(record)
    return told | ({"payload": base64.b64encode(record.payload).decode()} if value is None else {"value": value})


def _value(record: Record) -> Any:
    try:
        match record.headers.get(CONTENT_TYPE):
            case t if t == JSON:
                return orjson.loads(record.payload)
            case t if t == PROTOBUF and record.topic in MESSAGES:
                message = MESSAGES[record.topic].FromString(record.payload)
                return MessageToDict(message, preserving_proto_field_name=True)
    except (DecodeError, ValueError):
        pass
    return None
