"""Random strategies that use the whole catalogue of indicators: a case of the oracle's generator, and more upon it.

The oracle does not know most of these nodes, so such a case is for holding the ways to run it to each other.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from graphs import edge
from oracle.random_graphs import Case, case

from algotrade.engine.node_type import Category, NodeType, Param, ParamKind, PortKind
from algotrade.engine.nodes import CATALOGUE

FAMILIES = (
    Category.OVERLAP,
    Category.MOMENTUM,
    Category.VOLUME,
    Category.VOLATILITY,
    Category.STATISTICS,
    Category.PATTERN,
)
KINDS = [name for name, node in CATALOGUE.items() if node.category in FAMILIES or name == "heikin_ashi"]
SECONDS = {"1h": 3_600, "4h": 14_400, "1d": 86_400}


def wide_case(seed: int) -> Case:
    base = case(seed)
    rng = Random(f"wide {seed}")
    document = {**base.document, "nodes": list(base.document["nodes"]), "edges": list(base.document["edges"])}
    document["parameters"] = list(base.document.get("parameters", []))
    settings = dict(base.settings)
    if "interval" not in settings:
        settings["native_seconds"] = base.tape.width
    _Grower(rng, document, base.tape.width if "interval" not in settings else 0).grow(rng.choice((2, 4, 8)))
    return replace(base, document=document, settings=settings)


class _Grower:
    def __init__(self, rng: Random, document: Any, width: int) -> None:
        self.rng, self.document, self.width = rng, document, width
        self.numbers, self.truths = [], []
        for node in document["nodes"]:
            for port in CATALOGUE[node["type"]].outputs:
                if port.kind is PortKind.NUMBER:
                    self.numbers.append(f"{node['id']}.{port.name}")

    def add(self, kind: str, params: Any, **inputs: str) -> str:
        node_id = f"wide_{kind}_{len(self.document['nodes'])}"
        self.document["nodes"].append({"id": node_id, "type": kind, "data": {"params": params}})
        for handle, source in inputs.items():
            name = f"w{len(self.document['edges'])}"
            self.document["edges"].append(edge(name, f"{source}>{node_id}.{handle}"))
        return node_id

    def grow(self, count: int) -> None:
        rng = self.rng
        for _ in range(count):
            self.indicator(CATALOGUE[rng.choice(KINDS)])
        for action in ("buy", "sell"):
            a, b = rng.sample(self.numbers, 2)
            truth = self.add("compare", {"op": rng.choice((">", "<", ">="))}, a=a, b=b)
            if self.truths:
                both = self.add(rng.choice(("and", "or")), {}, inputs=f"{truth}.value")
                self.document["edges"].append(
                    edge(f"w{len(self.document['edges'])}", f"{rng.choice(self.truths)}>{both}.inputs")
                )
                truth = both
            self.add(action, {}, when=f"{truth}.value")

    def indicator(self, node: NodeType) -> None:
        """Of ports that are there already, its own kind's among them; what it gives is joined into an action."""
        rng = self.rng
        inputs = {port.name: rng.choice(self.numbers) for port in node.inputs if port.required or rng.random() < 0.5}
        made = self.add(node.name, {param.name: self.value(param) for param in node.params}, **inputs)
        first, *_ = node.outputs
        if first.kind is PortKind.NUMBER:
            self.numbers += [f"{made}.{port.name}" for port in node.outputs]
            some = rng.choice(node.outputs).name
            above = self.add("compare", {"op": ">", "value": rng.choice((0, 1, 50))}, a=f"{made}.{some}")
            self.truths.append(f"{above}.value")
        else:
            self.truths += [f"{made}.{port.name}" for port in node.outputs]

    def value(self, param: Param) -> Any:
        rng = self.rng
        if param.kind is ParamKind.INT:
            least = int(param.minimum or 0)
            value = rng.choice((least, least + 1, 5, 9, 14, 30))
            return self.bound(value, least) if rng.random() < 0.2 else value
        if param.name == "timeframe":
            longer = [name for name, seconds in SECONDS.items() if self.width and seconds > self.width]
            return rng.choice(longer) if longer and rng.random() < 0.2 else None
        if param.kind is ParamKind.CHOICE:
            return rng.choice(param.choices)
        return (
            param.default if rng.random() < 0.5 else rng.choice((1, 1.5, 2.25) if param.maximum != 1 else (0, 0.5, 1))
        )

    def bound(self, value: int, least: int) -> Any:
        name = f"wide{len(self.document['parameters'])}"
        declared = {"name": name, "type": "int", "default": value, "min": least, "max": 40, "step": 1}
        self.document["parameters"].append(declared)
        return {"param": name}
