"""A whole run: rows of a bar file → ticks → bars → decisions → trades, in the shape the command line prints.

Rows are `(ts_ns, open, high, low, close, volume)` with prices in 1e-8. Interval `native` closes a bar with each row's
fourth tick; a coarser one groups rows from the epoch and closes with the first tick at or past the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from oracle.broker import SHORT, Trade
from oracle.decide import Decisions
from oracle.document import Graph, read
from oracle.evaluate import Bar, Book
from oracle.indicators import ROUNDING, UNDEFINED
from oracle.settings import SCALE, Settings

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
    notices: Counter[str] = field(default_factory=Counter)  # by node id
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


def extremes(row: Row, path: str, side: int) -> tuple[int, int]:
    """The second and third tick: the nearer extreme first, or under `worst` the one against what is held by then."""
    _, first, high, low, _, _ = row
    high_first = high - first <= first - low
    if path == "worst" and side:
        high_first = side == SHORT
    return (high, low) if high_first else (low, high)


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


class Run(Decisions):
    """One graph, one broker, one pass over the rows or ticks."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        super().__init__(graph, settings)
        self.building: Bar | None = None
        self.discard = False  # the bar being built began mid-interval
        self.since = 0  # time of the first record seen
        self.equity: list[int] = []

    def over(self, rows: Sequence[Row]) -> Result:
        native = self.settings.interval == "native"
        for row in rows:
            ts, first, *_, last, _ = row
            if not native:
                self.close_if_past(ts)
            self.broker.tick(ts, first, real=True)
            held = self.broker.position
            for price in (*extremes(row, self.settings.path, held.side if held else 0), last):
                self.broker.tick(ts, price, real=False)
            self.grow(row)
            self.last_ts = ts
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
        return Result(
            trades,
            +broker.rejections,
            final,
            count,
            self.warmup,
            fragile,
            self.equity,
            self.notices,
            broker.largest,
        )

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
        self.decide(bar, equity)
        broker = self.broker
        if doubtful and (broker.position or broker.pending_entry or broker.waiting):
            self.evaluator.fragile.append((len(self.evaluator.bars) - 1, doubtful))
        self.last_equity = equity
        self.equity.append(self.broker.equity(bar.close))

    def roll_day(self, ts: int) -> None:
        """day_pnl counts from the equity at the last close of the previous day."""
        today = self.broker.day(ts)
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
        pnl = held.side * held.quantity * bar.close // SCALE - held.basis  # the open fee is not in it
        position = {
            "side": (float(held.side), 0.0),
            "quantity": (held.side * held.quantity / SCALE, 0.0),
            "average_price": (held.price / SCALE, ROUNDING * held.price / SCALE),
            "unrealized_pnl": money(pnl),
            "bars_held": (float(held.closes), 0.0),
        }
        return Book(position, account)
