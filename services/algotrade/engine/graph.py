"""The drawing as it arrives: React Flow's ``toObject()`` with a header, read into plain typed records.

Only its shape is judged here; what it means is `check.py`'s business. Unknown fields are ignored, as React Flow has
many of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from algotrade.engine.limits import (
    MAX_DOCUMENT_BYTES,
    MAX_EDGES,
    MAX_NAME_LENGTH,
    MAX_NODES,
    MAX_PARAMETERS,
)  # fmt: skip

VERSION: Final = 1
_LARGEST: Final = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding about a document, tied to where it is."""

    severity: Literal["error", "warning"]
    code: str
    message: str
    node_id: str | None = None
    edge_id: str | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named knob of the strategy. ``type`` is int or float; a step is a hint for editors and sweeps."""

    name: str
    type: str
    default: int | float
    min: int | float | None = None
    max: int | float | None = None
    step: int | float | None = None


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    type: str
    version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edge:
    id: str
    source: str
    target: str
    source_handle: str | None = None
    target_handle: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    name: str
    parameters: tuple[Parameter, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def parse(raw: str | bytes | Mapping[str, Any]) -> tuple[Document | None, list[Diagnostic]]:
    """Read a document; whatever cannot be read becomes a diagnostic and is left out. None: nothing could be."""
    reader = _Reader()
    loaded = reader.load(raw)
    return (None if loaded is None else reader.document(loaded)), reader.found


class _Reader:
    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def error(self, code: str, message: str, **where: str | None) -> None:
        self.found.append(Diagnostic("error", code, message, **where))

    def load(self, raw: str | bytes | Mapping[str, Any]) -> Mapping[str, Any] | None:
        if isinstance(raw, Mapping):
            return raw
        size = len(raw.encode(errors="replace")) if isinstance(raw, str) else len(raw)
        if size > MAX_DOCUMENT_BYTES:
            self.error("document_too_large", f"the document has {size} bytes; at most {MAX_DOCUMENT_BYTES} are allowed")
            return None
        try:
            value = json.loads(raw)
        except json.JSONDecodeError as e:
            self.error("invalid_json", f"not JSON: {e.msg} at line {e.lineno} column {e.colno}")
            return None
        except (UnicodeDecodeError, RecursionError, ValueError) as e:
            self.error("invalid_json", f"not JSON: {type(e).__name__}")
            return None
        if not isinstance(value, dict):
            self.error("invalid_document", "the document is not a JSON object")
            return None
        return value

    def document(self, raw: Mapping[str, Any]) -> Document:
        version = raw.get("version", VERSION)
        if type(version) is not int or version != VERSION:
            self.error("unknown_version", f"document version {version!r}; this is version {VERSION}")
        name = raw.get("name", "")
        if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH:
            self.error("invalid_document", f"name is not a text of at most {MAX_NAME_LENGTH} characters")
            name = ""
        parameters = self.items(raw, "parameters", MAX_PARAMETERS, "too_many_parameters", required=False)
        nodes = self.items(raw, "nodes", MAX_NODES, "too_many_nodes")
        edges = self.items(raw, "edges", MAX_EDGES, "too_many_edges", required=False)
        return Document(
            name,
            self.unique([p for i, item in enumerate(parameters) if (p := self.parameter(i, item))]),
            tuple(n for i, item in enumerate(nodes) if (n := self.node(i, item))),
            tuple(e for i, item in enumerate(edges) if (e := self.edge(i, item))),
        )

    def items(self, raw: Mapping[str, Any], key: str, most: int, code: str, *, required: bool = True) -> list[Any]:
        value = raw.get(key, None if required else [])
        if not isinstance(value, list):
            self.error("invalid_document", f"{key} is not a list")
            return []
        if len(value) > most:
            self.error(code, f"{len(value)} {key}; at most {most} are allowed")
            return []
        return value

    def unique(self, parameters: list[Parameter]) -> tuple[Parameter, ...]:
        seen: dict[str, Parameter] = {}
        for parameter in parameters:
            if parameter.name in seen:
                self.error("duplicate_id", f"two parameters are named {parameter.name!r}", param=parameter.name)
            seen[parameter.name] = parameter
        return tuple(seen.values())

    def parameter(self, index: int, raw: Any) -> Parameter | None:
        if not isinstance(raw, dict) or not _is_id(raw.get("name")):
            self.error("invalid_parameter", f"parameters[{index}] has no name")
            return None
        name, type = raw["name"], raw.get("type", "int")
        if type not in ("int", "float"):
            self.error("invalid_parameter", f"parameter {name!r}: type {type!r} is not int or float", param=name)
            return None
        values: dict[str, Any] = {key: raw.get(key) for key in ("default", "min", "max", "step")}
        for key, value in values.items():
            if (value is not None or key == "default") and not is_number(value, integer=type == "int"):
                self.error("invalid_parameter", f"parameter {name!r}: {key} {value!r} is not {type}", param=name)
                return None
        low, high, default = values["min"], values["max"], values["default"]
        if (low is not None and default < low) or (high is not None and default > high):
            self.error("out_of_range", f"parameter {name!r}: default {default} is outside {low} to {high}", param=name)
            return None
        return Parameter(name, type, default, low, high, values["step"])

    def node(self, index: int, raw: Any) -> Node | None:
        if not isinstance(raw, dict) or not _is_id(raw.get("id")):
            self.error("invalid_node", f"nodes[{index}] has no id")
            return None
        id, type, data = raw["id"], raw.get("type"), raw.get("data")
        data = {} if data is None else data
        params = data.get("params") if isinstance(data, dict) else None
        params = {} if params is None else params
        if not isinstance(data, dict) or not isinstance(params, dict):
            self.error("invalid_node", "data.params is not an object", node_id=id)
            return None
        version = data.get("version", 1)
        if not isinstance(version, int) or isinstance(version, bool):
            self.error("invalid_node", f"data.version {version!r} is not a whole number", node_id=id)
            return None
        return Node(id, type if isinstance(type, str) else "", version, params)

    def edge(self, index: int, raw: Any) -> Edge | None:
        if not isinstance(raw, dict):
            self.error("invalid_edge", f"edges[{index}] is not an object")
            return None
        id = raw["id"] if _is_id(raw.get("id")) else None
        if id is None:
            self.error("invalid_edge", f"edges[{index}] has no id")
            return None
        handles = [raw.get("sourceHandle"), raw.get("targetHandle")]
        if not (isinstance(raw.get("source"), str) and isinstance(raw.get("target"), str)):
            self.error("invalid_edge", "source and target are not both node ids", edge_id=id)
            return None
        if any(handle is not None and not isinstance(handle, str) for handle in handles):
            self.error("invalid_edge", "a handle is not a text", edge_id=id)
            return None
        return Edge(id, raw["source"], raw["target"], handles[0], handles[1])


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH


def is_number(value: object, *, integer: bool = False) -> bool:
    """A finite JSON number; ``integer``: a whole one (5.0 counts)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not abs(value) <= _LARGEST:
        return False
    return not integer or value == int(value)
