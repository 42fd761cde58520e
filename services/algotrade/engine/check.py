"""From a document to a strategy that can be compiled, or to every reason why it cannot, all at once."""

from __future__ import annotations

import heapq
import reprlib
from collections.abc import Mapping
from typing import Any

from algotrade.engine import fixed
from algotrade.engine.graph import Diagnostic, Document, Edge, Node, is_number
from algotrade.engine.node_type import BINDABLE, Category, NodeType, Param, ParamKind, Port
from algotrade.engine.nodes import CATALOGUE
from algotrade.engine.strategy import Bound, CheckedNode, Setting, Strategy


def check(document: Document, found: list[Diagnostic]) -> Strategy | None:
    """Judge a document; findings are appended. None if any of them, or of those before, is an error."""
    return _Checker(document, found).strategy()


class _Checker:
    def __init__(self, document: Document, found: list[Diagnostic]) -> None:
        self.document, self.found = document, found
        self.nodes: dict[str, Node] = {}
        self.types: dict[str, NodeType] = {}
        self.parameters = {p.name: p for p in document.parameters}
        self.used_parameters: set[str] = set()
        self.inputs: dict[str, dict[str, list[tuple[str, str]]]] = {}

    def error(self, code: str, message: str, **where: str | None) -> None:
        self.found.append(Diagnostic("error", code, message, **where))

    def warning(self, code: str, message: str, **where: str | None) -> None:
        self.found.append(Diagnostic("warning", code, message, **where))

    def strategy(self) -> Strategy | None:
        self.collect_nodes()
        params = {id: self.settings(node) for id, node in self.nodes.items() if id in self.types}
        self.collect_edges()
        for id in self.types:
            self.required_inputs(id)
        order = self.topological_order()
        self.actions()
        self.unused(order)
        if any(d.severity == "error" for d in self.found):
            return None
        checked = {
            id: CheckedNode(
                id, i, self.types[id], params[id], {port: tuple(s) for port, s in self.inputs.get(id, {}).items()}
            )
            for i, id in enumerate(self.nodes)
        }
        return Strategy(
            self.document.name,
            self.document.parameters,
            tuple(checked.values()),
            tuple(checked[id] for id in order),
        )

    def collect_nodes(self) -> None:
        for node in self.document.nodes:
            if node.id in self.nodes:
                self.error("duplicate_id", f"two nodes have the id {node.id!r}", node_id=node.id)
                continue
            self.nodes[node.id] = node
            type = CATALOGUE.get(node.type)
            if type is None:
                self.error("unknown_node_type", f"there is no node type {node.type!r}", node_id=node.id)
            elif node.version != type.version:
                self.error("unknown_node_version", f"{node.type} has no version {node.version}", node_id=node.id)
            else:
                self.types[node.id] = type

    # ------------------------------------------------------------------ parameters

    def settings(self, node: Node) -> dict[str, Setting]:
        type = self.types[node.id]
        for name in node.params:
            if type.param(name) is None:
                self.error("unknown_param", f"{type.name} has no parameter {name!r}", node_id=node.id, param=str(name))
        found = {param.name: self.setting(node.id, param, node.params.get(param.name)) for param in type.params}
        problem = type.rule(found) if type.rule else None
        if problem:
            self.error("out_of_range", f"{problem[0]} {problem[1]}", node_id=node.id, param=problem[0])
        return found

    def setting(self, node_id: str, param: Param, value: Any) -> Setting:
        if value is None:
            value = param.default
            if value is None:
                return None
        if isinstance(value, dict):
            return self.bound(node_id, param, value)
        problem = _problem(param, value)
        if problem:
            code = "out_of_range" if problem.startswith("is outside") or param.choices else "invalid_param"
            self.error(code, f"{param.name} {reprlib.repr(value)} {problem}", node_id=node_id, param=param.name)
            return None
        if param.kind is ParamKind.DECIMAL:
            return fixed.from_number(value)
        if param.kind is ParamKind.INT:
            return int(value)
        return float(value) if param.kind is ParamKind.NUMBER else str(value)

    def bound(self, node_id: str, param: Param, value: Mapping[str, Any]) -> Setting:
        def fail(code: str, message: str) -> None:
            self.error(code, f"{param.name}: {message}", node_id=node_id, param=param.name)

        name = value.get("param")
        if set(value) != {"param"} or not isinstance(name, str):
            fail("invalid_param", 'a value is a constant or {"param": NAME}')
            return None
        if param.kind not in BINDABLE:
            fail("invalid_param", "this value is fixed when the strategy is compiled and takes no parameter")
            return None
        parameter = self.parameters.get(name)
        if parameter is None:
            fail("unknown_parameter", f"the strategy has no parameter {name!r}")
            return None
        self.used_parameters.add(name)
        if param.kind is ParamKind.INT and parameter.type != "int":
            fail("type_mismatch", f"parameter {name!r} is {parameter.type}, not int")
            return None
        if param.sizes_memory and parameter.max is None:
            fail("missing_max", f"parameter {name!r} sizes memory and must declare max")
            return None
        for end in (parameter.min, parameter.max, parameter.default):
            problem = None if end is None else _problem(param, end)
            if problem:
                fail("out_of_range", f"parameter {name!r}: {end} {problem}")
                return None
        return Bound(parameter, param.kind)

    # ------------------------------------------------------------------ edges

    def collect_edges(self) -> None:
        seen: set[str] = set()
        for edge in self.document.edges:
            if edge.id in seen:
                self.error("duplicate_id", f"two edges have the id {edge.id!r}", edge_id=edge.id)
                continue
            seen.add(edge.id)
            ends = [(edge.source, "source"), (edge.target, "target")]
            missing = [(id, role) for id, role in ends if id not in self.nodes]
            for id, role in missing:
                self.error("unknown_node", f"the {role} {id!r} is not a node", edge_id=edge.id)
            if not missing and edge.source in self.types and edge.target in self.types:
                self.connect(edge)

    def connect(self, edge: Edge) -> None:
        source, target = self.types[edge.source], self.types[edge.target]
        output = self.port(edge, source.outputs, edge.source_handle, edge.source, "output", first=True)
        input = self.port(edge, target.inputs, edge.target_handle, edge.target, "input", first=False)
        if output is None or input is None:
            return
        if output.kind != input.kind:
            self.error(
                "type_mismatch",
                f"{output.name} of {edge.source!r} is {output.kind}, {input.name} of {edge.target!r} is {input.kind}",
                node_id=edge.target,
                edge_id=edge.id,
            )
            return
        sources = self.inputs.setdefault(edge.target, {}).setdefault(input.name, [])
        if sources and not input.many:
            self.error(
                "too_many_inputs",
                f"{input.name} of {edge.target!r} takes one edge",
                node_id=edge.target,
                edge_id=edge.id,
            )
            return
        sources.append((edge.source, output.name))

    def port(
        self, edge: Edge, ports: tuple[Port, ...], handle: str | None, node_id: str, role: str, *, first: bool
    ) -> Port | None:
        """The port a handle names; without one, the only port, or the first of several outputs."""
        if handle is None:
            if ports and (first or len(ports) == 1):
                return ports[0]
            problem = f"has several {role}s; name one" if ports else f"has no {role}"
            self.error("unknown_handle", f"{node_id!r} {problem}", node_id=node_id, edge_id=edge.id)
            return None
        port = next((p for p in ports if p.name == handle), None)
        if port is None:
            self.error("unknown_handle", f"{node_id!r} has no {role} {handle!r}", node_id=node_id, edge_id=edge.id)
        return port

    def required_inputs(self, id: str) -> None:
        type, connected = self.types[id], self.inputs.get(id, {})
        for port in type.inputs:
            if not port.required or connected.get(port.name):
                continue
            if type.name == "compare" and port.name == "b" and self.nodes[id].params.get("value") is not None:
                continue
            if self.attempted(id, port):
                continue
            if type.category is Category.ACTION:
                self.error("unreachable_action", f"nothing reaches {port.name} of this {type.name}", node_id=id)
            else:
                self.error("missing_input", f"{port.name} of this {type.name} is not connected", node_id=id)

    def attempted(self, id: str, port: Port) -> bool:
        """Whether an edge to this input exists but was refused: one finding is enough."""
        refused = {d.edge_id for d in self.found if d.edge_id and d.severity == "error"}
        named = (None, port.name) if len(self.types[id].inputs) == 1 else (port.name,)
        return any(e.target == id and e.target_handle in named and e.id in refused for e in self.document.edges)

    # ------------------------------------------------------------------ the whole

    def topological_order(self) -> list[str]:
        """Kahn's algorithm; among nodes that are ready, document order decides."""
        position = {id: i for i, id in enumerate(self.nodes)}
        ids = list(self.nodes)
        waiting = dict.fromkeys(ids, 0)
        followers: dict[str, list[str]] = {id: [] for id in ids}
        for target, ports in self.inputs.items():
            for sources in ports.values():
                for source, _ in sources:
                    waiting[target] += 1
                    followers[source].append(target)
        ready = [position[id] for id in ids if waiting[id] == 0]
        order: list[str] = []
        while ready:
            id = ids[heapq.heappop(ready)]
            order.append(id)
            for follower in followers[id]:
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    heapq.heappush(ready, position[follower])
        for id in self.in_cycle(set(ids) - set(order), followers):
            self.error("cycle", "this node depends on itself", node_id=id)
        return order

    def in_cycle(self, stuck: set[str], followers: Mapping[str, list[str]]) -> list[str]:
        """Of the nodes that never became ready, those on a cycle rather than merely behind one."""

        def reaches_itself(start: str) -> bool:
            seen: set[str] = set()
            todo = [f for f in followers[start] if f in stuck]
            while todo:
                id = todo.pop()
                if id == start:
                    return True
                if id not in seen:
                    seen.add(id)
                    todo.extend(f for f in followers[id] if f in stuck)
            return False

        return [id for id in self.nodes if id in stuck and reaches_itself(id)]

    def actions(self) -> None:
        types = list(self.types.values())
        if not any(type.category is Category.ACTION for type in types):
            self.error("no_action", "the strategy has no action, so it can never trade")
        seen: dict[str, str] = {}
        for id, type in self.types.items():
            if type.category is not Category.RISK:
                continue
            if type.name in seen:
                self.error("duplicate_exit", f"{seen[type.name]!r} is a {type.name} already", node_id=id)
            seen.setdefault(type.name, id)
            if type.name in ("stop_loss", "take_profit"):
                self.exit_level(id)
        if "stop_loss" not in seen:
            self.sized_without_stop()

    def sized_without_stop(self) -> None:
        """A size by risk is measured by the distance to the stop."""
        for id in self.types:
            if self.nodes[id].params.get("size_mode") == "risk_percent":
                self.error(
                    "missing_stop",
                    "size_mode risk_percent is measured by the distance to a stop_loss, and there is none",
                    node_id=id,
                    param="size_mode",
                )

    def exit_level(self, id: str) -> None:
        """A stop or target has exactly one source for its level."""
        given = [name for name in ("percent", "atr_multiple") if self.nodes[id].params.get(name) is not None]
        if self.inputs.get(id, {}).get("level"):
            given.append("level")
        if len(given) != 1:
            ways = "percent, atr_multiple or the input level"
            self.error(
                "ambiguous_level", f"give exactly one of {ways}; given: {', '.join(given) or 'none'}", node_id=id
            )

    def unused(self, order: list[str]) -> None:
        """Warn of nodes and parameters that lead to no action."""
        useful = {id for id, t in self.types.items() if t.category in (Category.ACTION, Category.RISK)}
        for id in reversed(order):
            if id in useful:
                useful.update(source for sources in self.inputs.get(id, {}).values() for source, _ in sources)
        for id in self.types:
            if id not in useful:
                self.warning("unused_node", "this node leads to no action", node_id=id)
        for name in (name for name in self.parameters if name not in self.used_parameters):
            self.warning("unused_parameter", f"no node uses parameter {name!r}", param=name)


def _problem(param: Param, value: Any) -> str | None:
    """Why a constant cannot be this parameter's value, or None."""
    if param.kind in (ParamKind.CHOICE, ParamKind.TEXT):
        if not isinstance(value, str):
            return "is not a text"
        if param.choices and value not in param.choices:
            return f"is not one of {', '.join(param.choices)}"
        return None if param.check is None else param.check(value)
    if param.kind is ParamKind.DECIMAL:
        try:
            fixed.from_number(value)
        except ValueError as e:
            return f"is not exact: {e}" if "decimals" in str(e) else "is not a number"
        value = float(value)
    elif not is_number(value, integer=param.kind is ParamKind.INT):
        return "is not a whole number" if param.kind is ParamKind.INT else "is not a number"
    low, high = param.minimum, param.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        return f"is outside {'' if low is None else low} to {'' if high is None else high}".replace("  ", " ")
    return None
