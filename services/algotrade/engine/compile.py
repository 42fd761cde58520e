"""A strategy document to an artefact: one WebAssembly module that holds everything, named by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, Final

from algotrade.engine import emit, graph, wasm
from algotrade.engine.broker import Features
from algotrade.engine.check import check
from algotrade.engine.clocks import RUN, clocks_of, warmup_field
from algotrade.engine.graph import Diagnostic, Parameter
from algotrade.engine.interpreter import Interpreter
from algotrade.engine.ir import Program
from algotrade.engine.lower import Lowered, lower, own_functions, shared_functions
from algotrade.engine.node_type import Category, ParamKind
from algotrade.engine.report import Report, report_of
from algotrade.engine.site import parameter_slot
from algotrade.engine.strategy import Bound, Strategy

SECTION: Final = "algotrade"
MANIFEST_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """A node; ``message``: what a notify node has to say."""

    id: str
    type: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a host must know to run a module; it travels inside the module, in a custom section.

    ``fields``: every field of the row, as (type, offset). ``slots``: for each strategy parameter the row's fields
    that hold it. ``events_per_bar``: no bar or tick reports more.
    """

    version: int
    stride: int
    heap: int
    fields: Mapping[str, tuple[str, int]]
    nodes: tuple[NodeEntry, ...]
    parameters: tuple[Parameter, ...]
    slots: Mapping[str, tuple[str, ...]]
    probes: tuple[tuple[str, str, str], ...]
    events_per_bar: int
    has_short: bool
    report: Report

    def encode(self) -> bytes:
        return json.dumps(self, sort_keys=True, separators=(",", ":"), default=_fields).encode()

    @staticmethod
    def decode(raw: bytes) -> Manifest:
        """Raises ValueError where the bytes are no manifest of this version."""
        values: dict[str, Any] = json.loads(raw)
        if values.get("version") != MANIFEST_VERSION:
            raise ValueError(f"manifest version {values.get('version')!r}; this is version {MANIFEST_VERSION}")
        values["fields"] = {name: (type, offset) for name, (type, offset) in values["fields"].items()}
        values["nodes"] = tuple(NodeEntry(**node) for node in values["nodes"])
        values["parameters"] = tuple(Parameter(**parameter) for parameter in values["parameters"])
        values["slots"] = {name: tuple(slots) for name, slots in values["slots"].items()}
        values["probes"] = tuple((node, port, field) for node, port, field in values["probes"])
        values["report"] = Report(**values["report"] | {key: tuple(values["report"][key]) for key in Report.LISTS})
        return Manifest(**values)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


@dataclass(frozen=True)
class Artefact:
    """The module's bytes. Everything else is read from them; ``hash`` is their SHA-256 in hex."""

    wasm: bytes
    manifest: Manifest

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256(self.wasm).hexdigest()

    @property
    def report(self) -> Report:
        return self.manifest.report

    @staticmethod
    def from_wasm(raw: bytes) -> Artefact:
        """Raises ValueError where the bytes are not an artefact."""
        return Artefact(raw, Manifest.decode(wasm.custom_section(raw, SECTION)))


@dataclass(frozen=True, slots=True)
class Compilation:
    """What became of a document. ``program`` is the IR that the artefact was made from."""

    diagnostics: tuple[Diagnostic, ...]
    artefact: Artefact | None = None
    program: Program | None = None
    strategy: Strategy | None = None


def compile_strategy(document: str | bytes | Mapping[str, Any], *, probe: bool = False) -> Compilation:
    """Compile a document (docs/strategy.md). Never raises for bad input: findings are in ``diagnostics``."""
    parsed, found = graph.parse(document)
    strategy = check(parsed, found) if parsed is not None else None
    diagnostics = tuple(dict.fromkeys(found))
    if strategy is None:
        return Compilation(diagnostics)
    lowered = lower(strategy, probe=probe)
    codes = emit.encode(lowered.program, _shared_code(lowered.features))
    manifest = _manifest(strategy, lowered, codes)
    raw = emit.module(lowered.program, codes, (SECTION, manifest.encode()))
    return Compilation(diagnostics, Artefact(raw, manifest), lowered.program, strategy)


@lru_cache(maxsize=16)
def _shared_code(features: Features) -> tuple[wasm.Code, ...]:
    """The functions that stand first in a module, encoded once for all of these features; the graph's follow."""
    functions = shared_functions(features)
    names = [*(f.name for f in functions), *own_functions(features)]
    indices = {name: index for index, name in enumerate(names)}
    return tuple(emit.encode_function(f, indices) for f in functions)


def _manifest(strategy: Strategy, lowered: Lowered, codes: Sequence[wasm.Code]) -> Manifest:
    slots: dict[str, set[str]] = {parameter.name: set() for parameter in strategy.parameters}
    for node in strategy.nodes:
        for value in node.params.values():
            if isinstance(value, Bound):
                slots[value.parameter.name].add(parameter_slot(value))
    known = lowered.row.struct.fields
    actions = sum(node.type.category is Category.ACTION for node in strategy.nodes)
    return Manifest(
        version=MANIFEST_VERSION,
        stride=lowered.stride,
        heap=lowered.program.heap,
        fields={name: (type, offset) for name, (type, offset) in known.items()},
        nodes=tuple(NodeEntry(n.id, n.type.name, str(n.params.get("message") or "")) for n in strategy.nodes),
        parameters=strategy.parameters,
        # A parameter that no reachable code reads has no slot.
        slots={name: tuple(sorted(slot for slot in names if slot in known)) for name, names in slots.items()},
        probes=tuple((node, port, field) for (node, port), field in lowered.row.probes.items()),
        events_per_bar=actions * 2 + 24,
        has_short=lowered.features.short,
        report=report_of(strategy, lowered, codes, _default_warmup(strategy, lowered)),
    )


def _default_warmup(strategy: Strategy, lowered: Lowered) -> dict[int, int]:
    """The warm-up by clock with every parameter at its default, by running the program's own ``prepare``."""
    row = lowered.program.heap
    interpreter = Interpreter(lowered.program, row + lowered.stride)
    fields = lowered.row.struct.fields
    for bound in (value for node in strategy.nodes for value in node.params.values() if isinstance(value, Bound)):
        if bound.kind is ParamKind.INT and parameter_slot(bound) in fields:
            offset = row + fields[parameter_slot(bound)][1]
            interpreter.memory[offset : offset + 4] = int(bound.parameter.default).to_bytes(4, "little", signed=True)
    interpreter.call("prepare", row)
    places = {clock: row + fields[warmup_field(clock)][1] for clock in (RUN, *clocks_of(strategy).coarser)}
    return {clock: int.from_bytes(interpreter.memory[at : at + 4], "little") for clock, at in places.items()}
