"""Times in a request that are none: seconds or nanos out of bounds, which protobuf carries and nobody can use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

LEAST_SECONDS: Final = -62_135_596_800  # the years 1 to 9999
MOST_SECONDS: Final = 253_402_300_799
MOST_NANOS: Final = 999_999_999
_TIMESTAMP: Final = Timestamp.DESCRIPTOR.full_name


def bad_timestamps(message: Message, path: str = "") -> Iterator[str]:
    """Yield the path of each."""
    for name in _leading(message.DESCRIPTOR):
        for where, value in _values(message, name):
            if isinstance(value, Timestamp):
                if not (LEAST_SECONDS <= value.seconds <= MOST_SECONDS and 0 <= value.nanos <= MOST_NANOS):
                    yield path + where
            else:
                yield from bad_timestamps(value, f"{path}{where}.")


def _values(message: Message, name: str) -> Iterable[tuple[str, Any]]:
    value, field = getattr(message, name), message.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        return [(f"{name}[{index}]", one) for index, one in enumerate(value)]
    return [(name, value)] if message.HasField(name) else []


@cache
def _leading(message: Descriptor) -> tuple[str, ...]:
    """Return the fields of a message that are times or hold some, however deep."""
    return tuple(
        field.name
        for field in message.fields
        if field.message_type and not field.message_type.GetOptions().map_entry and _holds(field.message_type, ())
    )


def _holds(message: Descriptor, above: tuple[str, ...]) -> bool:
    if message.full_name == _TIMESTAMP:
        return True
    if message.full_name in above:
        return False
    seen = (*above, message.full_name)
    return any(_holds(field.message_type, seen) for field in message.fields if field.message_type)
