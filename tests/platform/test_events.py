"""Records as JSON, and back: the same message, and never an exception for what somebody else has written."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message as Proto

from algotrade.platform.bus import CONTENT_TYPE, Message, Record
from algotrade.platform.events import MESSAGES, as_values, to_json, to_protobuf
from algotrade.platform.topics import JSON, JSON_TOPICS, PROTOBUF

ROUNDS = 30


def any_message(message: Proto, rng: random.Random) -> Proto:
    """Fill a message with whatever fits, some fields left out, one of each oneof."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.2:
            continue
        if field.is_repeated:
            for _ in range(rng.randrange(3)):
                if field.message_type is None:
                    getattr(message, field.name).append(scalar(field, rng))
                else:
                    any_message(getattr(message, field.name).add(), rng)
        elif field.message_type is None:
            setattr(message, field.name, scalar(field, rng))
        elif field.message_type.full_name == "google.protobuf.Timestamp":
            getattr(message, field.name).FromNanoseconds(rng.randrange(4 * 10**18))
        else:
            any_message(getattr(message, field.name), rng).SetInParent()
    return message


def scalar(field: FieldDescriptor, rng: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(8)
        case FieldDescriptor.CPPTYPE_STRING:
            return "".join(rng.choices('az"\\\n\u00e9\u20ac0.', k=8))
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice(field.enum_type.values).number
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return float(rng.randrange(-1000, 1000)) / 8
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_INT32:
            return rng.randrange(2**31)
        case _:
            return rng.randrange(2**63)


def record(topic: str, message: Message) -> Record:
    return Record(topic, 0, 0, message.key, message.payload, message.headers, 0)


@pytest.mark.parametrize("topic", sorted(JSON_TOPICS))
def test_what_is_told_as_json_comes_back_as_it_was(topic: str) -> None:
    rng = random.Random(topic)
    seen = 0
    for _ in range(ROUNDS):
        told = any_message(MESSAGES[topic](), rng)
        seen += len(told.ListFields())
        written = to_json(
            topic, Message("k", told.SerializeToString(), {CONTENT_TYPE: PROTOBUF, "correlation-id": "c"})
        )
        assert written.headers == {CONTENT_TYPE: JSON, "correlation-id": "c"}
        read = to_protobuf(record(topic, written))
        assert read.headers == {CONTENT_TYPE: PROTOBUF, "correlation-id": "c"}
        assert MESSAGES[topic].FromString(read.payload) == told
        assert as_values(record(topic, written))["value"] == as_values(read)["value"], "whoever looks sees the same"
    assert seen > ROUNDS


JUNK = (b"", b"{", b"[]", b"null", b'{"event": 5}', b'{"event": {"event_time": 5}}', b'{"session_id": [1]}', b"\xff")


@pytest.mark.parametrize("payload", JUNK)
def test_json_that_cannot_be_read_stays_what_it_is(payload: bytes) -> None:
    written = record("trade-executions", Message("k", payload, {CONTENT_TYPE: JSON}))
    assert to_protobuf(written) == written


def test_a_field_of_a_later_release_is_passed_over() -> None:
    payload = b'{"session_id": "s", "later": {"x": 1}}'
    read = to_protobuf(record("trade-executions", Message("k", payload, {CONTENT_TYPE: JSON})))
    assert MESSAGES["trade-executions"].FromString(read.payload).session_id == "s"


def test_only_what_tells_others_something_may_be_json() -> None:
    assert set(MESSAGES) > JSON_TOPICS
    for topic in ("market-data-updates", "realtime-updates", "dead-letters"):
        assert topic not in JSON_TOPICS
