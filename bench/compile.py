"""How long from a drawing to native code? JSON in, diagnostics, IR, module, machine code ready to run; medians.

Every drawing differs from the one before, so that nothing comes from a cache.
"""

from __future__ import annotations

import json
import time
from typing import Any

from table import Row, edge, say

from algotrade.engine import native
from algotrade.engine.compile import Artefact, compile_strategy

RUNS = 25
LIMITS = {20: 10, 200: 50}  # nodes: milliseconds
FAMILY: tuple[tuple[str, dict[str, int]], ...] = (
    ("sma", {"timeperiod": 20}),
    ("ema", {"timeperiod": 12}),
    ("rsi", {"timeperiod": 14}),
    ("macd", {}),
)


def drawing(nodes: int, variant: int) -> str:
    """A strategy of exactly this many nodes, all of which lead to its one buy: indicators compared and joined."""
    made: list[dict[str, Any]] = [{"id": "p", "type": "price"}]
    wires: list[str] = []
    pairs = (nodes - 3) // 2
    for i in range(pairs):
        kind, params = FAMILY[i % len(FAMILY)]
        params = {name: value + (variant + i) % 50 for name, value in params.items()}
        made.append({"id": f"i{i}", "type": kind, "data": {"params": params}})
        made.append({"id": f"c{i}", "type": "compare", "data": {"params": {"op": ">", "value": variant / 7 + i}}})
        wires += [f"p>i{i}", f"i{i}>c{i}.a", f"c{i}>all"]
    made += [{"id": "all", "type": "or"}, {"id": "b", "type": "buy"}]
    wires.append("all>b")
    if len(made) < nodes:
        made.append({"id": "s", "type": "stop_loss", "data": {"params": {"percent": round(1 + variant / 100, 2)}}})
    assert len(made) == nodes
    edges = [edge(f"e{i}", wire) for i, wire in enumerate(wires)]
    return json.dumps({"version": 1, "name": f"variant {variant}", "nodes": made, "edges": edges})


def required(artefact: Artefact | None) -> Artefact:
    assert artefact is not None
    return artefact


def take(nodes: int) -> tuple[Row, Row]:
    """Seconds of the whole way and of our part of it, before the machine code."""
    whole, ours = [], []
    for variant in range(RUNS + 1):
        text = drawing(nodes, variant)
        start = time.perf_counter()
        artefact = required(compile_strategy(text).artefact)
        emitted = time.perf_counter()
        native.MODULES.load(artefact.hash, artefact.wasm)
        if variant:  # the first also encodes what every module shares
            whole.append(time.perf_counter() - start)
            ours.append(emitted - start)
    size = f"{len(required(compile_strategy(drawing(nodes, 0)).artefact).wasm):,} bytes of module"
    return Row(f"{nodes} nodes", whole, size), Row("  to the module", ours)


def main() -> None:
    taken = {nodes: take(nodes) for nodes in LIMITS}
    say("Compile, JSON in to native code ready", [row for pair in taken.values() for row in pair], 1, "drawing")
    for nodes, limit in LIMITS.items():
        print(f"{nodes} nodes: {taken[nodes][0].median * 1e3:.1f} ms, median (under {limit} wanted)")


if __name__ == "__main__":
    main()
