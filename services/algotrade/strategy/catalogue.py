"""The engine's catalogue of nodes as messages."""

from __future__ import annotations

from typing import Final

from google.protobuf.struct_pb2 import Value

from algotrade.engine.node_type import NodeType, Param, Port, PortKind
from algotrade.engine.nodes import CATALOGUE
from algotrade.v1 import strategy_service_pb2 as pb

_PORT_TYPES: Final = {PortKind.NUMBER: pb.PORT_TYPE_NUMBER, PortKind.BOOL: pb.PORT_TYPE_BOOL}


def node_types() -> list[pb.NodeType]:
    """Return every node type, by category and name."""
    return [_node_type(node) for node in sorted(CATALOGUE.values(), key=lambda node: (node.category.value, node.name))]


def _node_type(node: NodeType) -> pb.NodeType:
    return pb.NodeType(
        name=node.name,
        version=node.version,
        category=node.category.value,
        summary=node.summary,
        inputs=[_port(port, required=port.required) for port in node.inputs],
        outputs=[_port(port, required=False) for port in node.outputs],
        parameters=[_parameter(param) for param in node.params],
    )


def _port(port: Port, *, required: bool) -> pb.NodePort:
    return pb.NodePort(name=port.name, type=_PORT_TYPES[port.kind], required=required, many=port.many)


def _parameter(param: Param) -> pb.NodeParameter:
    written = pb.NodeParameter(
        name=param.name,
        type=param.kind.value,
        choices=param.choices,
        description=f"{param.summary} Unit: {param.unit}." if param.unit else param.summary,
        min=param.minimum,
        max=param.maximum,
    )
    if param.default is not None:
        written.default_value.CopyFrom(_value(param.default))
    return written


def _value(default: float | str) -> Value:
    return Value(string_value=default) if isinstance(default, str) else Value(number_value=default)
