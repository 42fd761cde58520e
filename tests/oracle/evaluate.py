"""A graph at one bar's close, node by node, with Kleene logic and no state but the lists of what was consumed.

A number is (value, error bound). A decision that another correct order of floating-point operations could turn is
noted in `fragile`: two right programs may differ from there on, so a comparison of them stops there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from oracle import indicators
from oracle.document import ACTIONS, GUARDS, Graph, Node
from oracle.indicators import UNDEFINED, Value

Truth = bool | None
Port = tuple[str, str]
SCALE = 100_000_000

COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@dataclass(frozen=True)
class Bar:
    """A closed bar: start in ns, prices in 1e-8, volume as it came."""

    ts: int
    open: int
    high: int
    low: int
    close: int
    volume: float


@dataclass(frozen=True)
class Book:
    """What the position and account nodes show at a close, from exact integers (average_price is NaN when flat)."""

    position: dict[str, Value]
    account: dict[str, Value]


def lookback(node: Node) -> int:
    """TA-Lib's lookback of one node, and ours of those TA-Lib does not have."""
    p = node.params
    match node.type:
        case "sma" | "ema" | "wma" | "bbands":
            return int(p["timeperiod"]) - 1
        case "rsi" | "atr":
            return int(p["timeperiod"])
        case "macd":
            return max(int(p["fastperiod"]), int(p["slowperiod"])) - 1 + int(p["signalperiod"]) - 1
        case "crossover" | "crossunder":
            return 1
        case "lag":
            return int(p["n"])
        case "stop_loss" | "take_profit":
            return int(p["timeperiod"]) if "atr_multiple" in p else 0
    return 0


def warmup(graph: Graph) -> int:
    """Longest sum of lookbacks along a path that ends in an action."""
    seen: dict[str, int] = {}

    def depth(node_id: str) -> int:
        if node_id not in seen:
            node = graph.nodes[node_id]
            before = [depth(source) for ports in node.sources.values() for source, _ in ports]
            seen[node_id] = lookback(node) + max(before, default=0)
        return seen[node_id]

    return max(depth(node.id) for node in graph.of_type(*ACTIONS))


def number(value: float, err: float) -> Value:
    """A result of arithmetic: anything that is not finite is NaN."""
    return (value, err) if math.isfinite(value) else UNDEFINED


def price_field(bar: Bar, name: str) -> Value:
    o, h, l, c = (getattr(bar, f) / SCALE for f in ("open", "high", "low", "close"))  # noqa: E741
    inexact = indicators.ROUNDING * h
    match name:
        case "hl2":
            return (h + l) / 2, 0.0  # one rounding, whichever way round
        case "hlc3":
            return (h + l + c) / 3, inexact
        case "ohlc4":
            return (o + h + l + c) / 4, inexact
    return {"open": o, "high": h, "low": l, "close": c}[name], 0.0


def time_field(ts: int, name: str, timezone: str) -> float:
    seconds, _ = divmod(ts, 1_000_000_000)
    if name == "timestamp":
        return ts / 1_000_000_000
    local = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(timezone))
    return float(local.weekday() if name == "day_of_week" else getattr(local, name))


def arithmetic(kind: str, left: Value, right: Value) -> Value:
    (a, ea), (b, eb) = left, right
    if math.isnan(a) or math.isnan(b):
        return UNDEFINED
    match kind:
        case "add":
            return number(a + b, ea + eb + (1e-15 * abs(a + b) if ea + eb else 0.0))
        case "sub":
            return number(a - b, ea + eb + (1e-15 * abs(a - b) if ea + eb else 0.0))
        case "mul":
            return number(a * b, abs(a) * eb + abs(b) * ea + ea * eb)
    if b == 0 and eb == 0:
        return UNDEFINED
    if abs(b) <= eb:
        return 0.0, math.inf  # whether it is defined at all is in doubt: marked at once by `Evaluator`
    return number(a / b, (ea + abs(a / b) * eb) / (abs(b) - eb))


def kleene_and(values: list[Truth]) -> Truth:
    if any(v is False for v in values):
        return False
    return None if any(v is None for v in values) else True


def kleene_or(values: list[Truth]) -> Truth:
    if any(v is True for v in values):
        return True
    return None if any(v is None for v in values) else False


def kleene_not(value: Truth) -> Truth:
    return None if value is None else not value


@dataclass
class Evaluator:
    """Runs a graph bar after bar; `numbers` and `truths` hold every port of the bar evaluated last."""

    graph: Graph
    bars: list[Bar] = field(default_factory=list)
    consumed: dict[str, list[tuple[Value, ...]]] = field(default_factory=dict)
    numbers: dict[Port, Value] = field(default_factory=dict)
    truths: dict[Port, Truth] = field(default_factory=dict)
    fragile: list[tuple[int, str]] = field(default_factory=list)  # (bar, node) whose decision hangs on rounding

    def close(self, bar: Bar, book: Book) -> None:
        """Evaluate every node that an action hangs on."""
        self.bars.append(bar)
        self.numbers, self.truths = {}, {}
        for node in self.graph.of_type(*ACTIONS):
            self.visit(node, book)

    def visit(self, node: Node, book: Book) -> None:
        for ports in node.sources.values():
            for source, output in ports:
                if (source, output) not in self.numbers and (source, output) not in self.truths:
                    self.visit(self.graph.nodes[source], book)
        if node.type not in ACTIONS or node.type in GUARDS:
            self.evaluate(node, book)

    def evaluate(self, node: Node, book: Book) -> None:
        if node.type in ("and", "or", "not", "compare", "crossover", "crossunder"):
            self.truths[node.id, "value"] = self.logic(node)
            return
        values = self.numeric(node, book)
        for output, value in values.items():
            if math.isinf(value[1]):
                self.note(node)
            self.numbers[node.id, output] = value

    def note(self, node: Node) -> None:
        self.fragile.append((len(self.bars) - 1, node.id))

    # Numbers

    def numeric(self, node: Node, book: Book) -> dict[str, Value]:
        p, bar = node.params, self.bars[-1]
        match node.type:
            case "price":
                return {"value": price_field(bar, p["field"])}
            case "volume":
                return {"value": (float(bar.volume), 0.0)}
            case "time":
                return {"value": (time_field(bar.ts, p["field"], p["timezone"]), 0.0)}
            case "constant":
                return {"value": (float(p["value"]), 0.0)}
            case "position":
                return book.position
            case "account":
                return book.account
            case "atr":
                return {"value": self.average_range(int(p["timeperiod"]))}
            case "stop_loss" | "take_profit":
                return self.guard(node)
            case "add" | "sub" | "mul" | "div":
                return {"value": arithmetic(node.type, self.read(node, "a"), self.read(node, "b"))}
        return self.over_history(node)

    def average_range(self, timeperiod: int) -> Value:
        bars = [(b.high / SCALE, b.low / SCALE, b.close / SCALE) for b in self.bars]
        return indicators.atr(bars, timeperiod)

    def guard(self, node: Node) -> dict[str, Value]:
        """What a stop or target needs of this close: its level input, or the range that sets its distance."""
        if node.one("level"):
            return {"level": self.read(node, "level")}
        if "atr_multiple" in node.params:
            return {"atr": self.average_range(int(node.params["timeperiod"]))}
        return {}

    def over_history(self, node: Node) -> dict[str, Value]:
        """Nodes of one input that look back over what they consumed; a NaN is not consumed and gives NaN."""
        p, x = node.params, self.read(node, "input")
        outputs = {"macd": ("macd", "signal", "hist"), "bbands": ("upper", "middle", "lower")}.get(
            node.type, ("value",)
        )
        if math.isnan(x[0]):
            return dict.fromkeys(outputs, UNDEFINED)
        history = self.consumed.setdefault(node.id, [])
        history.append((x,))
        xs = [entry[0] for entry in history]
        match node.type:
            case "sma" | "ema" | "wma" | "rsi":
                results: tuple[Value, ...] = (getattr(indicators, node.type)(xs, int(p["timeperiod"])),)
            case "macd":
                results = indicators.macd(xs, int(p["fastperiod"]), int(p["slowperiod"]), int(p["signalperiod"]))
            case "bbands":
                results = indicators.bbands(xs, int(p["timeperiod"]), float(p["nbdevup"]), float(p["nbdevdn"]))
            case "lag":
                n = int(p["n"])
                results = (xs[-1 - n] if len(xs) > n else UNDEFINED,)
            case _:
                raise ValueError(f"no such node type: {node.type}")
        return dict(zip(outputs, (number(*r) for r in results), strict=True))

    def read(self, node: Node, handle: str) -> Value:
        source = node.one(handle)
        if source is None:  # only `b` of compare may be left open
            return float(node.params["value"]), 0.0
        return self.numbers[source]

    # Truths

    def logic(self, node: Node) -> Truth:
        match node.type:
            case "and":
                return kleene_and([self.truths[port] for port in node.sources["inputs"]])
            case "or":
                return kleene_or([self.truths[port] for port in node.sources["inputs"]])
            case "not":
                return kleene_not(self.truths[node.sources["input"][0]])
        a, b = self.read(node, "a"), self.read(node, "b")
        if math.isnan(a[0]) or math.isnan(b[0]):
            return None
        same = node.one("a") == node.one("b")
        if node.type == "compare":
            return self.decide(node, str(node.params["op"]), a, b, same=same)
        history = self.consumed.setdefault(node.id, [])
        history.append((a, b))
        if len(history) < 2:
            return None
        before, now = ("<=", ">") if node.type == "crossover" else (">=", "<")
        was = self.decide(node, before, *history[-2], same=same)
        return self.decide(node, now, a, b, same=same) and was

    def decide(self, node: Node, op: str, a: Value, b: Value, *, same: bool) -> bool:
        doubt = a[1] + b[1]
        if doubt > 0 and abs(a[0] - b[0]) <= doubt and not same:
            self.note(node)
        return COMPARE[op](a[0], b[0])
