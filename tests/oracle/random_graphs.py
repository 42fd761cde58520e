"""Random valid strategies over the first catalogue, with settings that fit a tape. The same seed gives the same case.

Comparisons are drawn between numbers of one kind (prices with prices, oscillators with levels), so that the graphs
trade; now and then anything meets anything, so that nothing is safe by habit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from graphs import drawing

from oracle.document import INPUTS
from oracle.random_actions import add_actions
from oracle.random_bars import LENGTHS, Tape, tape
from oracle.settings import SCALE

Json = dict[str, Any]
NUMBERS = (
    *("sma", "sma", "ema", "ema", "wma", "rsi", "rsi", "macd", "bbands", "atr", "lag"),
    *("add", "sub", "sub", "mul", "div", "volume", "time", "constant", "position", "account"),
)
COARSER = {60: ("5m", "15m", "1h"), 300: ("15m", "1h"), 3_600: ("4h", "1d"), 86_400: ("1d",)}


@dataclass(frozen=True)
class Case:
    seed: int
    document: Json
    settings: Json
    parameters: Json
    tape: Tape


def case(seed: int, longest: int = LENGTHS[-1]) -> Case:
    bars = tape(seed, longest=longest)
    rng = Random(f"graph {seed}")
    settings = draw_settings(rng, bars)
    maker = Maker(rng, bars, settings)
    document = maker.document()
    if any(kind in ("short", "reverse") for kind, _ in maker.nodes.values()):
        settings["allow_short"] = True
    return Case(seed, document, settings, maker.overrides, bars)


def text(units: int) -> str:
    return format(Decimal(units) / SCALE, "f")


def draw_settings(rng: Random, bars: Tape) -> Json:
    grid = 10 ** (len(str(bars.price)) - 4)
    whole_lots = rng.random() < 0.2 and bars.price < 1_000 * SCALE
    settings: Json = {
        "initial_cash": rng.choice(("10000", "10000", "2500.5", "100000.00000001")),
        "fee_bps": rng.choice(("10", "10", "0", "7.5", "25.125")),
        "slippage_bps": rng.choice(("0", "0", "5", "1.25")),
        "fill": rng.choice(("next_tick", "next_tick", "next_tick", "close")),
        "lot_step": "1" if whole_lots else rng.choice(("0.00000001", "0.00000001", "0.001")),
        "price_step": text(max(1, rng.choice((1, 1, grid, 5 * grid)))),
        "min_notional": rng.choice(("0", "0", "0", "0", "10", "10", "1000.5")),
        "max_position_percent": rng.choice(("100",) * 7 + ("60.5",)),
        "path": rng.choice(("tradingview", "tradingview", "worst")),
        "day_timezone": rng.choice(("UTC", "UTC", "America/New_York", "Asia/Kolkata")),
    }
    if rng.random() < 0.15:
        settings["interval"] = rng.choice(COARSER[bars.width])
    if rng.random() < 0.5:  # half the runs lean on the defaults
        settings = {name: value for name, value in settings.items() if rng.random() < 0.5}
    return settings


class Maker:
    """Grows one graph: first numbers, then truths over them, then actions over those."""

    def __init__(self, rng: Random, bars: Tape, settings: Json) -> None:
        self.rng, self.price = rng, bars.price / SCALE
        self.cash = float(settings.get("initial_cash", "10000"))
        self.nodes: Json = {}
        self.wires: list[str] = []
        self.parameters: list[Json] = []
        self.overrides: Json = {}
        self.numbers: dict[str, list[str]] = {"price": [], "average": [], "centred": [], "free": []}
        self.truths: list[str] = []

    def document(self) -> Json:
        rng = self.rng
        for field in rng.sample(("close", "open", "high", "low", "hl2", "hlc3", "ohlc4"), rng.choice((1, 1, 2, 3))):
            self.numbers["price"].append(self.add("price", {"field": field}))
        self.average(rng.choice(("sma", "ema", "wma", "lag")), self.pick("price"))
        for _ in range(rng.choice((1, 2, 3, 5, 8, 14))):
            self.number()
        for _ in range(rng.choice((2, 2, 3, 4, 6))):
            self.truth()
        for _ in range(rng.choice((0, 0, 1, 2, 4))):
            self.logic()
        add_actions(self)
        return drawing(self.nodes, " ".join(self.wires), self.parameters)

    def add(self, kind: str, params: Json | None = None, **inputs: str | list[str]) -> str:
        """A node; the handle of a node's only input is sometimes left to its default."""
        node_id = f"{kind}_{len(self.nodes)}"
        self.nodes[node_id] = (kind, params or {})
        for handle, sources in inputs.items():
            bare = len(INPUTS[kind]) == 1 and self.rng.random() < 0.5
            for source in [sources] if isinstance(sources, str) else sources:
                self.wires.append(f"{source}>{node_id}" if bare else f"{source}>{node_id}.{handle}")
        return node_id

    def pick(self, *kinds: str) -> str:
        ports = [port for kind in kinds for port in self.numbers[kind]]
        return self.rng.choice(ports or self.numbers["price"])

    def any_number(self) -> str:
        return self.pick("price", "average", "centred", "free")

    def period(self, low: int = 2) -> Any:
        """A period, sometimes bound to a parameter with the bound that its memory needs."""
        value = self.rng.choice((low, 3, 5, 9, 14, 20, 30, 55))
        return self.bind("int", value, low, 60) if self.rng.random() < 0.25 else value

    def bind(self, kind: str, value: Any, low: Any, high: Any) -> Json:
        name = f"p{len(self.parameters)}"
        declared = {"name": name, "type": kind, "default": value, "min": low, "max": high, "step": 1}
        self.parameters.append(declared)
        if self.rng.random() < 0.5:
            other = self.rng.randint(low, high) if kind == "int" else round(self.rng.uniform(low, high), 3)
            self.overrides[name] = other
        return {"param": name}

    # Numbers

    def number(self) -> None:
        kind = self.rng.choice(NUMBERS)
        match kind:
            case "sma" | "ema" | "wma" | "lag":
                self.average(kind, self.any_number())
            case "rsi":
                self.numbers["free"].append(self.add(kind, {"timeperiod": self.period()}, input=self.any_number()))
            case "atr":
                self.numbers["centred"].append(self.add(kind, {"timeperiod": self.period(1)}))
            case "macd":
                self.macd()
            case "bbands":
                self.bbands()
            case "add" | "sub" | "mul" | "div":
                self.arithmetic(kind)
            case _:
                self.source(kind)

    def average(self, kind: str, source: str) -> None:
        """A smoothed or delayed number is of the kind of its source, save that one of a price is an average."""
        params = {"n": self.period(1)} if kind == "lag" else {"timeperiod": self.period()}
        made = self.add(kind, params, input=source)
        family = next(family for family, ports in self.numbers.items() if source in ports)
        self.numbers["average" if family == "price" else family].append(made)

    def macd(self) -> None:
        params = self.rng.choice(
            (
                {},
                {"fastperiod": 3, "slowperiod": 8, "signalperiod": 4},
                {"fastperiod": 9, "slowperiod": 5, "signalperiod": 1},
            )
        )
        node_id = self.add("macd", dict(params), input=self.pick("price", "average"))
        self.numbers["centred"] += [node_id, f"{node_id}.signal", f"{node_id}.hist"]

    def bbands(self) -> None:
        params = {
            "timeperiod": self.period(),
            "nbdevup": self.rng.choice((1, 2, 2.5)),
            "nbdevdn": self.rng.choice((1, 2)),
        }
        node_id = self.add("bbands", params, input=self.pick("price", "average"))
        self.numbers["average"] += [node_id, f"{node_id}.middle", f"{node_id}.lower"]

    def arithmetic(self, kind: str) -> None:
        a, b = self.any_number(), self.any_number()
        if kind == "sub" and self.rng.random() < 0.7:
            a, b = self.pick("price", "average"), self.pick("average")
        made = self.add(kind, a=a, b=b)
        self.numbers["centred" if kind == "sub" else "free"].append(made)

    def source(self, kind: str) -> None:
        rng = self.rng
        match kind:
            case "volume":
                self.numbers["free"].append(self.add(kind))
            case "time":
                field = rng.choice(("timestamp", "year", "month", "day", "day_of_week", "hour", "minute"))
                zone = rng.choice(("UTC", "America/New_York", "Asia/Kolkata"))
                self.numbers["free"].append(self.add(kind, {"field": field, "timezone": zone}))
            case "constant":
                value = rng.choice((0, 1, -2.5, round(self.price * rng.uniform(0.8, 1.2), 6)))
                self.numbers["average" if value > 1 else "free"].append(self.add(kind, {"value": value}))
            case "position":
                node_id = self.add(kind)
                outputs = ("side", "quantity", "average_price", "unrealized_pnl", "bars_held")
                self.numbers["free"] += [f"{node_id}.{output}" for output in outputs]
            case "account":
                node_id = self.add(kind)
                self.numbers["free"] += [f"{node_id}.{o}" for o in ("equity", "cash", "drawdown", "day_pnl")]

    # Truths

    def truth(self) -> None:
        rng = self.rng
        shape = rng.choice(("cross", "cross", "prices", "prices", "level", "level", "anything"))
        if shape == "cross":
            a, b = self.pair()
            self.truths += [self.add(kind, a=a, b=b) for kind in ("crossover", "crossunder")]
        elif shape == "prices":
            a, b = self.pair()
            self.truths.append(self.add("compare", {"op": rng.choice((">", ">=", "<", "<="))}, a=a, b=b))
        elif shape == "level":
            self.truths.append(self.level())
        else:
            op = rng.choice((">", ">=", "<", "<=", "==", "!="))
            self.truths.append(self.add("compare", {"op": op}, a=self.any_number(), b=self.any_number()))

    def opposites(self) -> tuple[str, str]:
        """A condition that comes and goes on most tapes, and its opposite."""
        a, b = self.pair()
        if self.rng.random() < 0.5:
            return self.add("crossover", a=a, b=b), self.add("crossunder", a=a, b=b)
        above = self.add("compare", {"op": self.rng.choice((">", "<="))}, a=a, b=b)
        return above, self.add("not", input=above)

    def pair(self) -> tuple[str, str]:
        """A price or average and another average, either way round: bare fields of one bar hardly ever cross."""
        b = self.pick("average")
        others = [port for port in self.numbers["price"] + self.numbers["average"] if port != b]
        a = self.rng.choice(others)
        return (a, b) if self.rng.random() < 0.5 else (b, a)

    def level(self) -> str:
        """A comparison with a number, `b` left open: an oscillator with its level, or anything with a likely one."""
        rng = self.rng
        ports = [p for p in self.numbers["centred"] + self.numbers["free"] if not p.startswith("constant")]
        port = rng.choice(ports or self.numbers["price"])
        kind = port.split("_")[0]
        value: Any = rng.choice((0, 0, 1, 2, 50))
        if kind == "rsi":
            value = rng.choice((30, 45, 55, 70, 38.5))
        elif kind == "time":
            value = rng.choice((2, 3, 11, 15))
        elif kind == "account":
            value = rng.choice((0, 1, 2.5, self.cash, self.cash * 0.9))
        elif kind == "price":
            value = round(self.price * rng.uniform(0.9, 1.1), 6)
        if rng.random() < 0.2:
            value = self.bind("float", float(value), float(value) - 10, float(value) + 10)
        op = rng.choice((">", ">=", "<", "<=", "==", "!=")) if rng.random() < 0.3 else rng.choice((">", "<"))
        return self.add("compare", {"op": op, "value": value}, a=port)

    def logic(self) -> None:
        rng = self.rng
        kind = rng.choice(("and", "or", "not"))
        if kind == "not":
            self.truths.append(self.add(kind, input=rng.choice(self.truths)))
            return
        count = min(len(self.truths), rng.choice((1, 2, 2, 3)))
        self.truths.append(self.add(kind, inputs=rng.sample(self.truths, count)))
