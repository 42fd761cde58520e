"""Strategy documents for tests: a drawing from a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def drawing(nodes: Mapping[str, Any], wires: str = "", parameters: Sequence[Json] = ()) -> Json:
    """A document: `nodes` maps ids to a type or (type, params), `wires` are words `source[.output]>target[.input]`.

    drawing({"p": "price", "f": ("sma", {"timeperiod": 5})}, "p>f.input")
    """
    out: list[Json] = []
    for column, (node_id, entry) in enumerate(nodes.items()):
        kind, params = (entry, {}) if isinstance(entry, str) else entry
        data = {"data": {"params": dict(params)}} if params else {}
        out.append({"id": node_id, "type": kind, "position": {"x": 120 * column, "y": 0}, **data})
    edges = [edge(f"e{i}", word) for i, word in enumerate(wires.split(), start=1)]
    return {"version": 1, "name": "test", "parameters": list(parameters), "nodes": out, "edges": edges}


def edge(edge_id: str, word: str) -> Json:
    source, _, target = word.partition(">")
    source_id, _, output = source.partition(".")
    target_id, _, handle = target.partition(".")
    made = {"id": edge_id, "source": source_id, "target": target_id}
    return made | ({"sourceHandle": output} if output else {}) | ({"targetHandle": handle} if handle else {})


def at_prices(
    buy: float, sell: float | None = None, *, entry: Json | None = None, sale: Json | None = None, **guards: Json
) -> Json:
    """Buys where the close equals one price and sells where it equals another: orders where a test wants them."""
    nodes: Json = {
        "p": "price",
        "at_buy": ("compare", {"op": "==", "value": buy}),
        "b": ("buy", entry or {}),
    }
    wires = "p>at_buy.a at_buy>b"
    if sell is not None:
        nodes |= {"at_sell": ("compare", {"op": "==", "value": sell}), "x": ("sell", sale or {})}
        wires += " p>at_sell.a at_sell>x"
    nodes |= {kind: (kind, params) for kind, params in guards.items()}
    return drawing(nodes, wires)


def on_closes(actions: Mapping[str, tuple[str, Json, float]], **nodes: Json) -> Json:
    """Actions {id: (type, params, price)}, each of which fires where the close equals its price; and other nodes."""
    made: Json = {"p": "price"}
    wires = ""
    for name, (kind, params, price) in actions.items():
        made |= {f"at_{name}": ("compare", {"op": "==", "value": price}), name: (kind, params)}
        wires += f" p>at_{name}.a at_{name}>{name}"
    made |= {kind: (kind, params) for kind, params in nodes.items()}
    return drawing(made, wires)


def sma_cross(fast: int = 20, slow: int = 50, **buy: Any) -> Json:
    """The classic: all in when the fast mean crosses over the slow one, out when it crosses under."""
    nodes = {
        "close": ("price", {"field": "close"}),
        "f": ("sma", {"timeperiod": fast}),
        "s": ("sma", {"timeperiod": slow}),
        "up": "crossover",
        "dn": "crossunder",
        "b": ("buy", buy),
        "x": "sell",
    }
    return drawing(nodes, "close>f close>s f>up.a s>up.b f>dn.a s>dn.b up>b dn>x")


def threshold(above: float, below: float, **buy: Any) -> Json:
    """Buys while the close is above one price and sells while it is below another."""
    nodes = {
        "close": "price",
        "high": ("compare", {"op": ">", "value": above}),
        "low": ("compare", {"op": "<", "value": below}),
        "buy": ("buy", buy),
        "sell": "sell",
    }
    return drawing(nodes, "close>high.a close>low.a high>buy low>sell")
