"""What the ports of many nodes hold at each close of a series, by the module or by the interpreter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
from agreement import InterpretedInstance
from graphs import drawing
from series import Floats

from algotrade.engine import native
from algotrade.engine.compile import Compilation, compile_strategy
from algotrade.engine.node_type import PortKind
from algotrade.engine.nodes import CATALOGUE
from algotrade.engine.records import Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings
from indicators.cases import Case

Json = dict[str, Any]
Ports = dict[tuple[str, str], Floats]


def wired(cases: Iterable[Case], x: str = "x", y: str = "y") -> Compilation:
    """A probed build of all the cases, by name; they read the close, and the high where they take two inputs."""
    nodes: Json = {"x": "price", "y": ("price", {"field": "high"})}
    wires = []
    for case in cases:
        nodes[case.name] = (case.kind, case.params)
        wires += [f"{source}>{case.name}.{port}" for port, source in zip(case.inputs, (x, y), strict=False)]
    return compiled(nodes, " ".join(wires))


def compiled(nodes: Mapping[str, Any], wires: str = "", parameters: Any = ()) -> Compilation:
    """A probed build of a drawing, each of whose nodes is made to lead to an action."""
    made: Json = dict(nodes)
    parts, numbers = [wires], []
    for name, entry in nodes.items():
        output = CATALOGUE[entry if isinstance(entry, str) else entry[0]].outputs[0]
        port = f"{name}.{output.name}"
        if output.kind is PortKind.NUMBER:
            numbers.append(port)
        else:
            parts.append(f"{port}>any")
    for i, (a, b) in enumerate(zip(numbers[::2], [*numbers[1::2], *numbers[:1]], strict=False)):
        made[f"is_{i}"] = "compare"
        parts.append(f"{a}>is_{i}.a {b}>is_{i}.b is_{i}>any")
    made |= {"any": "or", "end": "hold"}
    compilation = compile_strategy(drawing(made, " ".join([*parts, "any>end"]), parameters), probe=True)
    assert compilation.artefact is not None, compilation.diagnostics
    return compilation


def values(
    compilation: Compilation, bars: Records, parameters: Json | None = None, settings: RunSettings | None = None
) -> Ports:
    """Every port at each close; NaN where it is not defined, and a condition is 1, 0 or NaN where unknown."""
    artefact = compilation.artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    slot = sessions.add(settings or RunSettings(), parameters)
    fields = {(node, port): artefact.manifest.fields[field] for node, port, field in artefact.manifest.probes}
    first = min(offset for _, offset in fields.values())
    size = max(offset for _, offset in fields.values()) + 8 - first
    kept = bytearray()
    for i in range(len(bars)):
        sessions.run(slot, bars[i : i + 1])
        kept += sessions.snapshot(slot)[first : first + size]
    rows = np.frombuffer(bytes(kept), np.uint8).reshape(len(bars), size)
    found: Ports = {}
    for port, (kind, offset) in fields.items():
        raw = np.ascontiguousarray(rows[:, offset - first :][:, : 8 if kind == "f64" else 4])
        if kind == "f64":
            found[port] = raw.view(np.float64)[:, 0]
        else:
            found[port] = np.array([np.nan, 1.0, 0.0])[raw.view(np.int32)[:, 0]]
    return found


def interpreted(compilation: Compilation, bars: Records, parameters: Json | None = None) -> Ports:
    """The same by the interpreter."""
    program = compilation.program
    assert program is not None
    with patch.object(native, "Instance", lambda *_: InterpretedInstance(program)):
        return values(compilation, bars, parameters)
