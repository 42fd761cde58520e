"""Every rule for bad documents: a diagnostic that names the node or edge, and never an exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from graphs import drawing, edge, sma_cross
from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.engine import limits
from algotrade.engine.compile import compile_strategy
from algotrade.engine.graph import Diagnostic

Json = dict[str, Any]


def errors(document: Any) -> list[Diagnostic]:
    compilation = compile_strategy(document)
    found = [d for d in compilation.diagnostics if d.severity == "error"]
    assert (compilation.artefact is None) == bool(found), "an artefact exactly where nothing is wrong"
    return found


def changed(change: Callable[[Json], None]) -> Json:
    """The SMA cross (nodes close f s up dn b x, edges e1 … e8) with something wrong in it."""
    document = sma_cross()
    change(document)
    return document


def node(document: Json, node_id: str) -> Json:
    found: Json = next(n for n in document["nodes"] if n["id"] == node_id)
    return found


def params(document: Json, node_id: str, **values: Any) -> None:
    node(document, node_id).setdefault("data", {}).setdefault("params", {}).update(values)


def bound(document: Json, declared: Json) -> None:
    document["parameters"] = [declared]
    params(document, "f", timeperiod={"param": declared["name"]})


def add(document: Json, kind: str, word: str = "", **values: Any) -> None:
    document["nodes"].append({"id": "new", "type": kind, "data": {"params": values}})
    if word:
        document["edges"].append(edge("extra", word))


def stop(node_id: str) -> Json:
    return {"id": node_id, "type": "stop_loss", "data": {"params": {"percent": 2}}}


def drop(document: Json, edge_id: str) -> None:
    document["edges"] = [e for e in document["edges"] if e["id"] != edge_id]


BAD: dict[str, tuple[Callable[[Json], Any], str, Json]] = {
    "unknown type": (lambda d: node(d, "f").update(type="smma"), "unknown_node_type", {"node_id": "f"}),
    "no type": (lambda d: node(d, "f").pop("type"), "unknown_node_type", {"node_id": "f"}),
    "a version to come": (lambda d: node(d, "f")["data"].update(version=9), "unknown_node_version", {"node_id": "f"}),
    "unknown parameter": (lambda d: params(d, "f", perod=3), "unknown_param", {"node_id": "f", "param": "perod"}),
    "period too short": (
        lambda d: params(d, "f", timeperiod=1),
        "out_of_range",
        {"node_id": "f", "param": "timeperiod"},
    ),
    "period too long": (
        lambda d: params(d, "f", timeperiod=limits.MAX_PERIOD + 1),
        "out_of_range",
        {"node_id": "f", "param": "timeperiod"},
    ),
    "no such field": (
        lambda d: params(d, "close", field="last"),
        "out_of_range",
        {"node_id": "close", "param": "field"},
    ),
    "not whole": (lambda d: params(d, "f", timeperiod=2.5), "invalid_param", {"node_id": "f", "param": "timeperiod"}),
    "not a number": (
        lambda d: params(d, "f", timeperiod="20"),
        "invalid_param",
        {"node_id": "f", "param": "timeperiod"},
    ),
    "true is no number": (lambda d: params(d, "f", timeperiod=True), "invalid_param", {"node_id": "f"}),
    "more than 8 decimals": (
        lambda d: params(d, "b", size=0.123456789),
        "invalid_param",
        {"node_id": "b", "param": "size"},
    ),
    "size of nothing": (lambda d: params(d, "b", size=0), "out_of_range", {"node_id": "b", "param": "size"}),
    "portion over 100": (lambda d: params(d, "x", portion=101), "out_of_range", {"node_id": "x", "param": "portion"}),
    "unbound parameter": (
        lambda d: params(d, "f", timeperiod={"param": "fast"}),
        "unknown_parameter",
        {"node_id": "f", "param": "timeperiod"},
    ),
    "memory without a bound": (
        lambda d: bound(d, {"name": "fast", "type": "int", "default": 20, "min": 2}),
        "missing_max",
        {"node_id": "f", "param": "timeperiod"},
    ),
    "a parameter that may leave the range": (
        lambda d: bound(d, {"name": "fast", "type": "int", "default": 20, "min": 1, "max": 50}),
        "out_of_range",
        {"node_id": "f", "param": "timeperiod"},
    ),
    "a float for a period": (
        lambda d: bound(d, {"name": "fast", "type": "float", "default": 20.0, "max": 50.0}),
        "type_mismatch",
        {"node_id": "f", "param": "timeperiod"},
    ),
    "default outside its bounds": (
        lambda d: bound(d, {"name": "fast", "type": "int", "default": 60, "min": 2, "max": 50}),
        "out_of_range",
        {"param": "fast"},
    ),
    "unknown output": (lambda d: d["edges"][0].update(sourceHandle="last"), "unknown_handle", {"edge_id": "e1"}),
    "unknown input": (lambda d: d["edges"][0].update(targetHandle="in"), "unknown_handle", {"edge_id": "e1"}),
    "which of two inputs": (lambda d: d["edges"][2].pop("targetHandle"), "unknown_handle", {"edge_id": "e3"}),
    "edge from nowhere": (lambda d: d["edges"][0].update(source="ghost"), "unknown_node", {"edge_id": "e1"}),
    "a comparison with nothing": (
        lambda d: add(d, "compare", "f>new.a", op=">", value=None),
        "missing_input",
        {"node_id": "new"},
    ),
    "missing input": (lambda d: drop(d, "e1"), "missing_input", {"node_id": "f"}),
    "number into a bool": (
        lambda d: d["edges"][6].update(source="f"),
        "type_mismatch",
        {"edge_id": "e7", "node_id": "b"},
    ),
    "bool into a number": (
        lambda d: d["edges"][0].update(source="up"),
        "type_mismatch",
        {"edge_id": "e1", "node_id": "f"},
    ),
    "two edges into one input": (
        lambda d: d["edges"].append(edge("e9", "close>up.a")),
        "too_many_inputs",
        {"edge_id": "e9", "node_id": "up"},
    ),
    "a cycle": (
        lambda d: d["edges"][0].update(source="s") or d["edges"][1].update(source="f"),
        "cycle",
        {"node_id": "f"},
    ),
    "a node of itself": (lambda d: d["edges"][0].update(source="f"), "cycle", {"node_id": "f"}),
    "duplicate node": (lambda d: node(d, "s").update(id="f"), "duplicate_id", {"node_id": "f"}),
    "duplicate edge": (lambda d: d["edges"][1].update(id="e1"), "duplicate_id", {"edge_id": "e1"}),
    "an action out of reach": (lambda d: drop(d, "e7"), "unreachable_action", {"node_id": "b"}),
    "two stops": (
        lambda d: d.update(nodes=[*d["nodes"], *(stop(node_id) for node_id in ("first", "again"))]),
        "duplicate_exit",
        {"node_id": "again"},
    ),
    "a stop without a level": (lambda d: add(d, "stop_loss"), "ambiguous_level", {"node_id": "new"}),
    "a stop with two": (lambda d: add(d, "stop_loss", "f>new.level", percent=2), "ambiguous_level", {"node_id": "new"}),
    "a zone of a long name": (
        lambda d: add(d, "time", field="hour", timezone="0" * 5_000),
        "invalid_param",
        {"node_id": "new", "param": "timezone"},
    ),
    "a zone that is none": (
        lambda d: add(d, "time", field="hour", timezone="Mars/Olympus"),
        "invalid_param",
        {"node_id": "new", "param": "timezone"},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_each_rule_names_its_place(name: str) -> None:
    change, code, place = BAD[name]
    found = errors(changed(change))
    matching = [d for d in found if d.code == code and all(getattr(d, key) == value for key, value in place.items())]
    assert matching, found
    assert all(0 < len(d.message) < 500 for d in found)


def test_no_action_at_all() -> None:
    (found,) = errors(drawing({"p": "price", "m": ("sma", {"timeperiod": 5})}, "p>m"))
    assert found.code == "no_action"
    assert "no_action" in {d.code for d in errors({"nodes": [], "edges": []})}


def test_a_node_that_leads_nowhere_is_a_warning() -> None:
    document = sma_cross()
    add(document, "rsi", "close>new")
    compilation = compile_strategy(document)
    assert compilation.artefact is not None
    assert [(d.severity, d.code, d.node_id) for d in compilation.diagnostics] == [("warning", "unused_node", "new")]


def test_all_findings_at_once() -> None:
    def spoil(d: Json) -> None:
        node(d, "f").update(type="nonsense")
        params(d, "s", timeperiod=0, color="red")
        d["edges"][6].update(source="close")
        drop(d, "e8")

    found = {(d.code, d.node_id, d.edge_id) for d in errors(changed(spoil))}
    assert found >= {
        ("unknown_node_type", "f", None),
        ("out_of_range", "s", None),
        ("unknown_param", "s", None),
        ("type_mismatch", "b", "e7"),
        ("unreachable_action", "x", None),
    }


def crowd(count: int) -> Json:
    """A document of so many nodes, all of which an action hangs on."""
    nodes: Json = {f"n{i}": "price" for i in range(count - 3)}
    nodes |= {"c": ("compare", {"op": ">", "value": 0}), "b": "buy", "h": "hold"}
    return drawing(nodes, "n0>c.a c>b c>h")


def test_limits() -> None:
    assert not errors(crowd(limits.MAX_NODES))
    assert "too_many_nodes" in {d.code for d in errors(crowd(limits.MAX_NODES + 1))}
    many = sma_cross()
    many["edges"] += [edge(f"m{i}", "close>f") for i in range(limits.MAX_EDGES)]
    assert "too_many_edges" in {d.code for d in errors(many)}
    padded = json.dumps(sma_cross() | {"viewport": "x" * limits.MAX_DOCUMENT_BYTES})
    assert {d.code for d in errors(padded)} == {"document_too_large"}
    longest = sma_cross(2, limits.MAX_PERIOD)
    assert not errors(longest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"graph"',
        "nul",
        b"\xff\xfe",
        "[" * 100_000,
        '{"nodes": 3}',
        '{"nodes": [1], "edges": [2]}',
    ],
)
def test_malformed_json(text: str | bytes) -> None:
    assert errors(text)


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf")])
def test_numbers_beyond_floats(value: float) -> None:
    document = changed(lambda d: add(d, "constant", value=value))
    assert [(d.node_id, d.param) for d in errors(document)] == [("new", "value")]
    declared = {"name": "fast", "type": "float", "default": value}
    assert errors(changed(lambda d: d.update(parameters=[declared])))


def test_fields_of_the_editor_are_ignored() -> None:
    document = sma_cross()
    plain = compile_strategy(document).artefact
    document |= {"viewport": {"x": 1, "y": 2, "zoom": 0.5}, "theme": "dark"}
    document |= {"notes": [{"id": "note", "text": "x"}], "groups": [{"id": "g", "title": "x", "nodes": ["fast"]}]}
    for entry in document["nodes"]:
        entry |= {"width": 120, "selected": True, "position": {"x": 7, "y": 9}}
    for entry in document["edges"]:
        entry |= {"animated": True, "style": {"stroke": "red"}}
    moved = compile_strategy(document).artefact
    assert plain is not None
    assert moved is not None
    assert moved.hash == plain.hash


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["f", "sma", "e1"])
    | st.sampled_from([10**400, -(10**400), 1e308, 2**63, -1, 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=400)
@given(st.data())
def test_nothing_raises(data: st.DataObject) -> None:
    """Any value of a good document replaced by anything: diagnostics or an artefact, never an exception."""
    document = copy.deepcopy(sma_cross())
    document["parameters"] = [{"name": "fast", "type": "int", "default": 20, "min": 2, "max": 200, "step": 1}]
    params(document, "f", timeperiod={"param": "fast"})
    add(document, "constant", value=3)
    spots = list(places(document))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(spots))
        container[key] = data.draw(JUNK)
    errors(document)


def places(value: Any) -> Any:
    """Every (container, key) inside a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])
