"""What a node's output held, as a message."""

from __future__ import annotations

from algotrade.v1.types_pb2 import PortValue


def port_value(node_id: str, port: str, value: float | bool | None) -> PortValue:
    """Write a value; None is a number that is NaN, or a condition that is unknown."""
    written = PortValue(node_id=node_id, port=port)
    if isinstance(value, bool):
        written.truth = value
    elif value is not None:
        written.number = value
    return written
