"""The catalogue: every node type by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algotrade.engine.node_type import NodeType
from algotrade.engine.nodes import (
    actions,
    bands,
    data,
    exits,
    heikin_ashi,
    logic,
    maths,
    memory,
    momentum,
    oscillators,
    overlap,
    patterns,
    risk,
    statistics,
    trend,
    volatility,
    volume,
)

_FAMILIES = (
    data,
    heikin_ashi,
    overlap,
    bands,
    momentum,
    oscillators,
    trend,
    volume,
    volatility,
    statistics,
    patterns,
    maths,
    logic,
    memory,
    actions,
    exits,
    risk,
)

CATALOGUE: Final[Mapping[str, NodeType]] = {node.name: node for family in _FAMILIES for node in family.NODES}
