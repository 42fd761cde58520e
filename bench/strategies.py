"""Strategies that are all different, as people draw them: an indicator or two, rules to enter and to leave, a stop."""

from __future__ import annotations

from table import Json, edge


def strategy(number: int) -> Json:
    """The strategy of a number, another for every number: six shapes, each with periods and levels of its own."""
    shape, variant = number % len(SHAPES), number // len(SHAPES)
    kinds, wires, params = SHAPES[shape](variant)
    guards = {"stop": ("stop_loss", {"percent": round(1.5 + variant % 97 / 50, 2)})}
    if variant % 2:
        guards["target"] = ("take_profit", {"percent": round(3 + variant % 89 / 40, 3)})
    nodes = {name: (kind, params.get(name, {})) for name, kind in kinds.items()} | guards
    return {
        "version": 1,
        "name": f"strategy {number}",
        "nodes": [{"id": name, "type": kind, "data": {"params": given}} for name, (kind, given) in nodes.items()],
        "edges": [edge(f"e{i}", wire) for i, wire in enumerate(wires.split())],
    }


Shape = tuple[dict[str, str], str, dict[str, Json]]


def _averages(v: int) -> Shape:
    kind = ("sma", "ema", "wma")[v % 3]
    kinds = {"p": "price", "fast": kind, "slow": kind, "up": "crossover", "dn": "crossunder", "b": "buy", "x": "sell"}
    params: dict[str, Json] = {"fast": {"timeperiod": 5 + v % 40}, "slow": {"timeperiod": 50 + v // 40}}
    return kinds, "p>fast p>slow fast>up.a slow>up.b fast>dn.a slow>dn.b up>b dn>x", params


def _oversold(v: int) -> Shape:
    kinds = {"p": "price", "r": "rsi", "low": "constant", "high": "constant", "up": "crossover", "dn": "crossunder"}
    params: dict[str, Json] = {
        "r": {"timeperiod": 7 + v % 20}, "low": {"value": 25 + v // 20 % 15}, "high": {"value": 60 + v // 300 % 20}
    }  # fmt: skip
    wires = "p>r r>up.a low>up.b r>dn.a high>dn.b up>b dn>x"
    return kinds | {"b": "buy", "x": "sell"}, wires, params


def _macd(v: int) -> Shape:
    kinds = {"p": "price", "m": "macd", "up": "crossover", "dn": "crossunder", "b": "buy", "x": "sell"}
    params: dict[str, Json] = {
        "m": {"fastperiod": 6 + v % 12, "slowperiod": 20 + v // 12 % 15, "signalperiod": 5 + v // 180}
    }
    return kinds, "p>m m.macd>up.a m.signal>up.b m.macd>dn.a m.signal>dn.b up>b dn>x", params


def _bands(v: int) -> Shape:
    kinds = {"p": "price", "bb": "bbands", "up": "crossover", "dn": "crossunder", "b": "buy", "x": "sell"}
    params: dict[str, Json] = {"bb": {"timeperiod": 10 + v % 40, "nbdevup": 1 + v // 40 / 16, "nbdevdn": 2}}
    return kinds, "p>bb p>up.a bb.lower>up.b p>dn.a bb.upper>dn.b up>b dn>x", params


def _channel(v: int) -> Shape:
    """Out of a channel as wide as the market moves."""
    kinds = {"p": "price", "m": "sma", "a": "atr", "top": "add", "bottom": "sub", "up": "crossover"}
    params: dict[str, Json] = {"m": {"timeperiod": 10 + v % 60}, "a": {"timeperiod": 5 + v // 60}}
    wires = "p>m m>top.a a>top.b m>bottom.a a>bottom.b p>up.a top>up.b p>dn.a bottom>dn.b up>b dn>x"
    return kinds | {"dn": "crossunder", "b": "buy", "x": "sell"}, wires, params


def _trend(v: int) -> Shape:
    """A crossing that counts only while the longer trend rises."""
    kinds = {"p": "price", "fast": "ema", "slow": "ema", "long": "sma", "up": "crossover", "dn": "crossunder"}
    kinds |= {"over": "compare", "both": "and", "b": "buy", "x": "sell"}
    wires = "p>fast p>slow p>long fast>up.a slow>up.b fast>dn.a slow>dn.b p>over.a long>over.b up>both over>both"
    params: dict[str, Json] = {
        "fast": {"timeperiod": 4 + v % 16}, "slow": {"timeperiod": 21 + v // 16 % 20},
        "long": {"timeperiod": 60 + v // 320}, "over": {"op": ">"},
    }  # fmt: skip
    return kinds, wires + " both>b dn>x", params


SHAPES = (_averages, _oversold, _macd, _bands, _channel, _trend)
