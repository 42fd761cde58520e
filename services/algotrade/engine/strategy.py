"""A strategy that has passed every check: typed, complete and ordered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from algotrade.engine.graph import Parameter
from algotrade.engine.node_type import NodeType, ParamKind


@dataclass(frozen=True, slots=True)
class Bound:
    """A node's parameter that is a parameter of the strategy, known only when a run starts."""

    parameter: Parameter
    kind: ParamKind


# Values by kind: int for INT, float for NUMBER, units of 1e-8 for DECIMAL, str for CHOICE and TEXT.
Setting = int | float | str | Bound | None


@dataclass(frozen=True, slots=True)
class CheckedNode:
    """A node whose parameters are complete and whose inputs name existing outputs: (node id, port)."""

    id: str
    index: int
    type: NodeType
    params: Mapping[str, Setting]
    inputs: Mapping[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Strategy:
    """A valid strategy: nodes in document order, and the order in which to evaluate them."""

    name: str
    parameters: tuple[Parameter, ...]
    nodes: tuple[CheckedNode, ...]
    order: tuple[CheckedNode, ...]
