"""The catalogue: every node type by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from algotrade.engine.node_type import NodeType
from algotrade.engine.nodes import actions, data, exits, logic, maths, memory, momentum, overlap, risk, volatility

_FAMILIES = (data, overlap, momentum, volatility, maths, logic, memory, actions, exits, risk)

CATALOGUE: Final[Mapping[str, NodeType]] = {node.name: node for family in _FAMILIES for node in family.NODES}
