"""A whole run: rows of a bar file → ticks → bars → decisions → trades, in the shape the command line prints.

Rows are `(ts_ns, open, high, low, close, volume)` with prices in 1e-8. Interval `native` closes a bar with each row's
fourth tick; a coarser one groups rows from the epoch and closes with the first tick at or past the end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from oracle.broker import SCALE, Broker, Entry, Exit, Settings, Trade, down, percent
from oracle.document import ENTRIES, EXITS, Graph, Node, read
from oracle.evaluate import Bar, Book, Evaluator, warmup
from oracle.indicators import ROUNDING, UNDEFINED

Row = tuple[int, int, int, int, int, float]
Tick = tuple[int, int | None, float]  # time, price (None: a time marker), size
SECONDS = {
    "1s": 1,
    "5s": 5,
    "15s": 15,
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "4h": 14400,
    "1d": 86400,
}


@dataclass
class Result:
    trades: list[Trade]
    rejections: Counter[str]
    final_equity: int
    bars: int
    warmup_bars: int
    fragile: list[tuple[int, str]]
    equity: list[int] = field(default_factory=list)
    largest: int = 0  # amount or quantity met: the oracle's integers do not overflow, the engine's may not

    def as_json(self) -> dict[str, Any]:
        """The fields of `algotrade backtest --json` that follow from the contract alone."""
        return {
            "bars": self.bars,
            "warmup_bars": self.warmup_bars,
            "final_equity": plain(self.final_equity),
            "trades": [trade_json(t) for t in self.trades],
            "rejections": dict(self.rejections),
        }


def plain(amount: int) -> str:
    """1e-8 units as a plain decimal without trailing zeros."""
    text = format(Decimal(amount) / SCALE, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def stamp(ts: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts // 1000)
    return moment.isoformat().replace("+00:00", "Z")


def trade_json(t: Trade) -> dict[str, Any]:
    return {
        "side": t.side,
        "quantity": plain(t.quantity),
        "entry_time": stamp(t.entry_ts),
        "entry_price": plain(t.entry_price),
        "exit_time": None if t.exit_ts is None else stamp(t.exit_ts),
        "exit_price": None if t.exit_price is None else plain(t.exit_price),
        "fees": plain(t.fees),
        "pnl": None if t.pnl is None else plain(t.pnl),
        "exit_reason": t.exit_reason,
        "ambiguous": t.ambiguous,
    }


def four_prices(row: Row, path: str) -> list[int]:
    """Open, the extreme that comes first, the other, close. Long only, so the worst path meets the low first."""
    _, first, high, low, last, _ = row
    high_first = high - first <= first - low and path != "worst"
    return [first, high, low, last] if high_first else [first, low, high, last]


def backtest(
    document: Any,
    rows: Sequence[Row],
    settings: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Result:
    return Run(read(document, parameters), Settings.parse(settings or {})).over(rows)


def replay(
    document: Any,
    ticks: Sequence[Tick],
    settings: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Result:
    """The same over trades: bars are built from them, all of them are real."""
    return Run(read(document, parameters), Settings.parse(settings or {})).over_ticks(ticks)


class Run:
    """One graph, one broker, one pass over the rows or ticks."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        self.graph, self.settings = graph, settings
        self.broker = Broker(settings)
        self.evaluator = Evaluator(graph)
        self.warmup = warmup(graph)
        self.building: Bar | None = None
        self.discard = False  # the bar being built began mid-interval
        self.since = 0  # time of the first record seen
        self.last_ts = 0
        self.peak = self.day_start = self.last_equity = settings.initial_cash
        self.day: date | None = None
        self.equity: list[int] = []
        self.set_percent_guards()

    def over(self, rows: Sequence[Row]) -> Result:
        native = self.settings.interval == "native"
        for row in rows:
            prices = four_prices(row, self.settings.path)
            if not native:
                self.close_if_past(row[0])
            for k, price in enumerate(prices):
                self.broker.tick(row[0], price, real=k == 0)
            self.grow(row)
            self.last_ts = row[0]
            if native:
                self.close()
        return self.result(rows[-1][4] if rows else 0)

    def over_ticks(self, ticks: Sequence[Tick]) -> Result:
        last = 0
        for ts, price, size in ticks:
            self.since = min(self.since or ts, ts)
            if self.settings.interval != "tick":
                self.close_if_past(ts)
            if price is None:
                continue
            self.broker.tick(ts, price, real=True)
            self.grow((ts, price, price, price, price, size))
            self.last_ts, last = ts, price
            if self.settings.interval == "tick":
                self.close()
        return self.result(last)

    def result(self, last_price: int) -> Result:
        broker = self.broker
        still_open = broker.open_trade()
        trades = broker.trades + ([still_open] if still_open else [])
        final = broker.equity(last_price)
        count, fragile = len(self.evaluator.bars), self.evaluator.fragile
        return Result(trades, +broker.rejections, final, count, self.warmup, fragile, self.equity, broker.largest)

    # Bars

    def close_if_past(self, ts: int) -> None:
        if self.building is None:
            return
        width = SECONDS[self.settings.interval] * 1_000_000_000
        if ts >= self.building.ts + width:
            if self.discard:
                self.building = None
            else:
                self.close()
            self.discard = False

    def grow(self, row: Row) -> None:
        """Put a row into the bar being built. A file's only bar of a row is the row itself."""
        ts, o, h, low, c, v = row
        b = self.building
        if b is not None:
            self.building = Bar(b.ts, b.open, max(b.high, h), min(b.low, low), c, b.volume + v)
            return
        start = ts
        if self.settings.interval not in ("native", "tick"):
            start = ts - ts % (SECONDS[self.settings.interval] * 1_000_000_000)
            self.since = self.since or ts
            self.discard = self.since > start
        self.building = Bar(start, o, h, low, c, v)

    def close(self) -> None:
        """The bar's close: the graph decides on what is known now."""
        bar = self.building
        assert bar is not None
        self.building = None
        if self.broker.position is not None:
            self.broker.position.closes += 1
        self.roll_day(bar.ts)
        equity = self.broker.equity(bar.close)
        self.peak = max(self.peak, equity)
        self.evaluator.close(bar, self.book(bar, equity))
        doubtful = self.sample_guards()
        self.decide(bar)
        if doubtful and (self.broker.position or self.broker.pending_entry):
            self.evaluator.fragile.append((len(self.evaluator.bars) - 1, doubtful))
        self.last_equity = equity
        self.equity.append(self.broker.equity(bar.close))

    def roll_day(self, ts: int) -> None:
        """day_pnl counts from the equity at the last close of the previous day."""
        seconds = ts // 1_000_000_000
        today = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(self.settings.day_timezone)).date()
        if today != self.day:
            self.day, self.day_start = today, self.last_equity

    def book(self, bar: Bar, equity: int) -> Book:
        held = self.broker.position

        def money(amount: int) -> tuple[float, float]:
            return amount / SCALE, 2e-8 + ROUNDING * equity / SCALE

        flat = (0.0, 0.0)
        drawdown = 100 * (self.peak - equity) / self.peak
        account = {
            "equity": (equity / SCALE, 0.0) if held is None else money(equity),
            "cash": (self.broker.cash / SCALE, 0.0),
            "drawdown": (drawdown, 1e-9 if drawdown else 0.0),
            "day_pnl": flat if held is None and equity == self.day_start else money(equity - self.day_start),
        }
        if held is None:
            position = {"side": flat, "quantity": flat, "average_price": UNDEFINED}
            return Book(position | {"unrealized_pnl": flat, "bars_held": flat}, account)
        pnl = held.quantity * bar.close // SCALE - held.basis  # the open fee is not in it
        position = {
            "side": (1.0, 0.0),
            "quantity": (held.quantity / SCALE, 0.0),
            "average_price": (held.price / SCALE, ROUNDING * held.price / SCALE),
            "unrealized_pnl": money(pnl),
            "bars_held": (float(held.closes), 0.0),
        }
        return Book(position, account)

    # Decisions

    def decide(self, bar: Bar) -> None:
        warm = len(self.evaluator.bars) - 1 >= self.warmup
        exits = [n for n in self.graph.of_type(*EXITS) if self.fires(n)]
        entries = [n for n in self.graph.of_type(*ENTRIES) if self.fires(n)]
        if exits:
            # The largest portion wins, the first of equals; and no entry, even when flat.
            if warm and self.broker.position is not None:
                best = max(exits, key=share_of)
                self.broker.pending_exit = Exit(best.id, best.type, share_of(best))
        elif not warm:
            self.broker.rejections["warming_up"] += len(entries)
        else:
            self.enter(entries)
        if self.settings.fill == "close":
            self.fill_now(bar)

    def enter(self, entries: list[Node]) -> None:
        if not entries:
            return
        if self.broker.position is not None:
            self.broker.rejections["already_long"] += len(entries)
            return
        first, *rest = entries
        self.broker.pending_entry = Entry(first.id, first.params["size_mode"], first.params["size"])
        self.broker.rejections["already_long"] += len(rest)

    def fill_now(self, bar: Bar) -> None:
        """`fill: close`: at the close that was just seen, with the time of its last tick; guards live from the next."""
        self.broker.market(self.last_ts, bar.close)

    def fires(self, node: Node) -> bool:
        return self.evaluator.truths[node.sources["when"][0]] is True

    # Guards

    def set_percent_guards(self) -> None:
        for node in self.graph.of_type("stop_loss", "take_profit"):
            if node.one("level") is None and "atr_multiple" not in node.params:
                name = "stop_percent" if node.type == "stop_loss" else "target_percent"
                setattr(self.broker.guards, name, percent(node.params["percent"]))

    def sample_guards(self) -> str | None:
        """Levels are sampled at every close, also for the position that is held; distances only count at an entry.

        Gives the node, if any, whose level another order of floating-point operations could put a step elsewhere.
        """
        doubtful = None
        for node in self.graph.of_type("stop_loss", "take_profit"):
            kind = "stop" if node.type == "stop_loss" else "target"
            if node.one("level") is not None:
                level, doubt = self.evaluator.numbers[node.id, "level"]
                if math.isnan(level):
                    continue  # not consumed: the level of before stands
                step = self.settings.price_step
                rounded = down(math.floor(level * SCALE), step)
                if doubt and rounded != down(math.floor((level - doubt) * SCALE), step):
                    doubtful = node.id
                if doubt and rounded != down(math.floor((level + doubt) * SCALE), step):
                    doubtful = node.id
                at = rounded if rounded > 0 else None
                setattr(self.broker.guards, f"{kind}_level", at)
                if self.broker.position is not None:
                    setattr(self.broker.position, kind, at)
            elif "atr_multiple" in node.params:
                atr, doubt = self.evaluator.numbers[node.id, "atr"]
                scale = float(node.params["atr_multiple"]) * SCALE
                distance = None if math.isnan(atr) else atr * scale
                if doubt and math.floor((atr - doubt) * scale) != math.floor((atr + doubt) * scale):
                    doubtful = node.id
                setattr(self.broker.guards, f"{kind}_distance", distance)
        return doubtful


def share_of(node: Node) -> Any:
    return percent(node.params["portion"]) if node.type == "sell" else percent(100)
