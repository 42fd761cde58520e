"""The drawing, read plainly: nodes with bound parameters, edges with their default handles filled in.

Only valid documents are expected here; the diagnostics of bad ones are tested on the engine directly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

BARS_ONLY: tuple[str, ...] = ()
INPUTS: dict[str, tuple[str, ...]] = {
    "price": BARS_ONLY,
    "volume": BARS_ONLY,
    "time": BARS_ONLY,
    "constant": BARS_ONLY,
    "position": BARS_ONLY,
    "account": BARS_ONLY,
    "atr": BARS_ONLY,
    "sma": ("input",),
    "ema": ("input",),
    "wma": ("input",),
    "rsi": ("input",),
    "macd": ("input",),
    "bbands": ("input",),
    "lag": ("input",),
    "not": ("input",),
    "and": ("inputs",),
    "or": ("inputs",),
    "compare": ("a", "b"),
    "crossover": ("a", "b"),
    "crossunder": ("a", "b"),
    "add": ("a", "b"),
    "sub": ("a", "b"),
    "mul": ("a", "b"),
    "div": ("a", "b"),
    "buy": ("when",),
    "sell": ("when",),
    "close": ("when",),
    "hold": ("when",),
    "short": ("when",),
    "cover": ("when",),
    "reverse": ("when",),
    "notify": ("when",),
    "no_entry": ("when",),
    "stop_loss": ("level",),
    "take_profit": ("level",),
    "trailing_stop": BARS_ONLY,
    "break_even": BARS_ONLY,
    "time_stop": BARS_ONLY,
    "max_position": BARS_ONLY,
    "max_drawdown_halt": BARS_ONLY,
    "daily_loss_limit": BARS_ONLY,
    "max_trades_per_day": BARS_ONLY,
}
OUTPUTS: dict[str, tuple[str, ...]] = {
    "macd": ("macd", "signal", "hist"),
    "bbands": ("upper", "middle", "lower"),
    "position": ("side", "quantity", "average_price", "unrealized_pnl", "bars_held"),
    "account": ("equity", "cash", "drawdown", "day_pnl"),
}
SIZE: dict[str, Any] = {"size_mode": "percent_equity", "size": 100}
ENTRY: dict[str, Any] = {**SIZE, "order_type": "market", "limit_offset_percent": 0, "expire_bars": None}
DEFAULTS: dict[str, dict[str, Any]] = {
    "price": {"field": "close"},
    "time": {"field": "timestamp", "timezone": "UTC"},
    "sma": {"timeperiod": 30},
    "ema": {"timeperiod": 30},
    "wma": {"timeperiod": 30},
    "rsi": {"timeperiod": 14},
    "atr": {"timeperiod": 14},
    "macd": {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9},
    "bbands": {"timeperiod": 20, "nbdevup": 2, "nbdevdn": 2},
    "lag": {"n": 1},
    "buy": ENTRY,
    "short": ENTRY,
    "reverse": SIZE,
    "sell": {"portion": 100},
    "cover": {"portion": 100},
    "notify": {"message": "", "throttle_bars": 0},
    "stop_loss": {"timeperiod": 14},
    "take_profit": {"timeperiod": 14},
    "trailing_stop": {"percent": 5, "activation_percent": 0},
    "break_even": {"trigger_percent": 1},
    "time_stop": {"bars": 10},
    "max_position": {"percent": 100},
    "max_drawdown_halt": {"percent": 20},
    "daily_loss_limit": {"percent": 5},
    "max_trades_per_day": {"n": 10},
}
ENTRIES = ("buy", "short")
EXITS = ("sell", "cover", "close", "reverse", "time_stop", "max_drawdown_halt", "daily_loss_limit")
GUARDS = ("stop_loss", "take_profit")
LIMITS = ("max_position", "max_drawdown_halt", "daily_loss_limit", "max_trades_per_day", "no_entry")
ACTIONS = (*ENTRIES, *EXITS, *GUARDS, *LIMITS, "trailing_stop", "break_even", "hold", "notify")


@dataclass
class Node:
    """A node with its parameters bound; `sources` maps an input to the (node id, output) pairs that feed it."""

    id: str
    type: str
    params: dict[str, Any]
    sources: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def one(self, handle: str) -> tuple[str, str] | None:
        """The single source of an input, or None where it is left open."""
        return self.sources[handle][0] if self.sources.get(handle) else None


@dataclass
class Graph:
    nodes: dict[str, Node]  # in document order

    def of_type(self, *types: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.type in types]


def read(document: str | bytes | Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> Graph:
    """Parse a document; numbers stay exact decimals until a node asks for a float."""
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    raw = json.loads(text, parse_float=Decimal)
    bound = {p["name"]: p["default"] for p in raw.get("parameters", [])} | dict(parameters or {})
    nodes: dict[str, Node] = {}
    for entry in raw["nodes"]:
        given = entry.get("data", {}).get("params", {})
        params = dict(DEFAULTS.get(entry["type"], {}))
        for name, value in given.items():
            params[name] = bound[value["param"]] if isinstance(value, dict) else value
        nodes[entry["id"]] = Node(entry["id"], entry["type"], params)
    for edge in raw["edges"]:
        source, target = nodes[edge["source"]], nodes[edge["target"]]
        output = edge.get("sourceHandle") or OUTPUTS.get(source.type, ("value",))[0]
        handle = edge.get("targetHandle") or INPUTS[target.type][0]
        target.sources.setdefault(handle, []).append((source.id, output))
    return Graph(nodes)


def exact(value: Any) -> Decimal:
    """A parameter as the exact decimal that was written."""
    return value if isinstance(value, Decimal) else Decimal(str(value))
