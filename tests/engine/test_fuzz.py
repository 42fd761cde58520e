"""Broken drawings: good ones with something torn out, doubled, bent or blown up. Each gets a finding with its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from oracle.random_graphs import case

from algotrade.engine import limits
from algotrade.engine.compile import compile_strategy
from algotrade.engine.nodes import CATALOGUE

Json = dict[str, Any]
GOOD = 100  # drawings that are broken in many ways
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        "",
        "x",
        "\ud800",
        "ℵ₀\u202e",
        -1,
        0,
        0.5,
        1e308,
        -1e308,
        10**400,
        2**63,
        [],
        {},
        [1],
        {"param": "nope"},
    ),
    *({"param": 3}, {"param": "nope", "x": 1}, "NaN", "Infinity", "1e9", "0" * 500),
)


def bend_param(document: Json, rng: Random) -> None:
    node = rng.choice(document["nodes"])
    kind = CATALOGUE.get(node["type"])
    names = [param.name for param in kind.params] if kind else []
    params = node.setdefault("data", {}).setdefault("params", {})
    params[rng.choice([*names, "nothing"])] = rng.choice(ODD)


def bend_field(document: Json, rng: Random) -> None:
    entry = rng.choice([*document["nodes"], *document["edges"]])
    entry[rng.choice(["id", "type", "source", "target", "sourceHandle", "targetHandle", "data"])] = rng.choice(ODD)


def drop_edge(document: Json, rng: Random) -> None:
    if document["edges"]:
        document["edges"].remove(rng.choice(document["edges"]))


def drop_node(document: Json, rng: Random) -> None:
    document["nodes"].remove(rng.choice(document["nodes"]))


def double(document: Json, rng: Random) -> None:
    entries = document[rng.choice(["nodes", "edges"])]
    if entries:
        entries.insert(rng.randrange(len(entries)), copy.deepcopy(rng.choice(entries)))


def cross(document: Json, rng: Random) -> None:
    """An edge between any two nodes, on any handles: mostly a wrong type, a second edge into one input, or a circle."""
    ends = [rng.choice(document["nodes"]) for _ in range(2)]
    edge: Json = {"id": f"wild{rng.randrange(1000)}", "source": ends[0]["id"], "target": ends[1]["id"]}
    kind = CATALOGUE.get(ends[1]["type"] if isinstance(ends[1].get("type"), str) else "")
    if kind and kind.inputs and rng.random() < 0.8:
        edge["targetHandle"] = rng.choice(kind.inputs).name
    document["edges"].append(edge)


def circle(document: Json, rng: Random) -> None:
    wired = [edge for edge in document["edges"] if isinstance(edge.get("source"), str)]
    if wired:
        edge = rng.choice(wired)
        document["edges"].append({"id": "back", "source": edge["target"], "target": edge["source"]})


def retype(document: Json, rng: Random) -> None:
    rng.choice(document["nodes"])["type"] = rng.choice([*CATALOGUE, "sm", "SMA", " sma", "__init__"])


def other_shape(document: Json, rng: Random) -> None:
    document[rng.choice(["nodes", "edges", "parameters", "version", "name"])] = rng.choice(ODD)


BREAKS: tuple[Callable[[Json, Random], None], ...] = (
    *(bend_param, bend_param, bend_field, bend_field, drop_edge, drop_node, double, cross, cross, circle, retype),
    other_shape,
)


@lru_cache(maxsize=GOOD)
def good(seed: int) -> Json:
    return case(seed).document


def broken(seed: int) -> Json:
    """A good drawing with up to three things done to it. It may still be good: many edges are one too many only."""
    rng = Random(f"fuzz {seed}")
    document: Json = copy.deepcopy(good(seed % GOOD))
    for _ in range(rng.choice((1, 1, 2, 3))):
        try:
            rng.choice(BREAKS)(document, rng)
        except (AttributeError, IndexError, KeyError, TypeError):
            continue  # what it would bend is bent already
    return document


def judge(document: Json) -> bool:
    """Whether it is broken: then nothing is made of it, and each finding has words and, unless it is whole, a place."""
    compilation = compile_strategy(document)
    errors = [found for found in compilation.diagnostics if found.severity == "error"]
    assert (compilation.artefact is None) == bool(errors)
    for found in errors:
        assert found.code
        assert found.message
        placed = found.node_id or found.edge_id or found.param
        whole = found.code in WHOLE or found.message.startswith(("nodes[", "edges[", "parameters["))
        assert placed or whole, found
    return bool(errors)


# Of the document as a whole.
WHOLE = {"invalid_document", "unknown_version", "no_action", "too_many_nodes", "too_many_edges", "too_many_parameters"}


@pytest.mark.parametrize("chunk", range(10))
def test_broken_drawings(chunk: int) -> None:
    found = sum(judge(broken(seed)) for seed in range(chunk * 140, (chunk + 1) * 140))
    assert found >= 100  # the ten chunks together: more than a thousand


@pytest.mark.nightly
@pytest.mark.parametrize("chunk", range(100))
def test_many_broken_drawings(chunk: int) -> None:
    found = sum(judge(broken(seed)) for seed in range(2_000 + chunk * 140, 2_000 + (chunk + 1) * 140))
    assert found >= 100


def test_a_million_nodes() -> None:
    """Refused before anything is done with them, also as text, which is refused by its length."""
    many = [{"id": str(index), "type": "price"} for index in range(1_000_000)]
    (found, *_) = compile_strategy({"nodes": many, "edges": []}).diagnostics
    assert found.code == "too_many_nodes"
    (found,) = compile_strategy(json.dumps({"nodes": many, "edges": []})).diagnostics
    assert found.code == "document_too_large"


def test_a_deep_chain_and_a_deep_document() -> None:
    count = limits.MAX_NODES - 3
    nodes = [{"id": "p", "type": "price"}, *({"id": f"n{i}", "type": "neg"} for i in range(count))]
    nodes += [{"id": "c", "type": "compare", "data": {"params": {"value": 0}}}, {"id": "b", "type": "buy"}]
    chain = ["p", *(f"n{i}" for i in range(count)), "c", "b"]
    edges = [
        {"id": f"e{i}", "source": a, "target": b, **({"targetHandle": "a"} if b == "c" else {})}
        for i, (a, b) in enumerate(pairwise(chain))
    ]
    assert compile_strategy({"nodes": nodes, "edges": edges}).artefact is not None
    edges.append({"id": "back", "source": f"n{count - 1}", "target": "n0"})
    codes = {found.code for found in compile_strategy({"nodes": nodes, "edges": edges}).diagnostics}
    assert codes & {"cycle", "too_many_inputs"}
    deep = "[" * 100_000 + "]" * 100_000
    (found,) = compile_strategy('{"nodes": ' + deep + "}").diagnostics
    assert found.code == "invalid_json"
