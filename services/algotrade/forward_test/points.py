"""The points of a session's chart: what it held and had at the close of each bar.

The bars are the chart's (see `charts`); cash and quantity follow from the session's fills before the tick that closed
the bar. A bar is the session's from the first that closed while it could order to the last that its row has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.metrics.figure import Floats, Integers
from algotrade.engine.records import BAR
from algotrade.forward_test.charts import chart_interval
from algotrade.forward_test.session import Session
from algotrade.platform import limits
from algotrade.platform.errors import NotFound, ResourceExhausted

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Bars of a session and its fills by time, as of one moment; ``more``: whether later bars were left out.

    In columns, since there may be many. ``bars``: those of a `ChartBar` but for its offset; ``fills``: tick_sequence,
    and cash and quantity after it, negative when short.
    """

    session: Session
    bars: Columns
    fills: Columns
    more: bool


class PointStore(Protocol):
    """The port: where bars and fills are kept."""

    async def drawn(self, session: Session, interval: int, after_ns: int, most_bars: int, most_fills: int) -> Drawn:
        """Return what is drawn of a session behind a time. Raises KeyError where the session has gone."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """A bar with what a session had at its close; amounts in units of 1e-8."""

    start_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: float
    equity: int
    cash: int
    quantity: int


class Points:
    """Points by time, worked out when they are looked at."""

    def __init__(self, drawn: Drawn, interval: int) -> None:
        """Take what is drawn."""
        self.more = drawn.more
        names = ("start_ns", "open", "high", "low", "close", "volume")
        self.bars = np.zeros(len(drawn.bars["start_ns"]), BAR)
        for name, field in zip(names, ("ts", *names[1:]), strict=True):
            self.bars[field] = drawn.bars[name]
        initial = drawn.session.settings.initial_cash
        # A bar of time is closed by the first tick that is not its own; one of the feed's by its last.
        closed = np.array(drawn.bars["closed_sequence"], np.int64)
        side = "left" if interval else "right"
        last = np.searchsorted(np.array(drawn.fills["tick_sequence"], np.int64), closed, side=side)  # type: ignore[call-overload]
        self.cash: Integers = np.array([initial, *drawn.fills["cash"]], np.int64)[last]
        self.quantity: Integers = np.array([0, *drawn.fills["quantity"]], np.int64)[last]

    def __len__(self) -> int:
        return len(self.bars)

    def __getitem__(self, index: int) -> Point:
        ts, opened, high, low, close, volume = self.bars[index].item()[:6]
        cash, quantity = int(self.cash[index]), int(self.quantity[index])
        return Point(ts, opened, high, low, close, volume, cash + quantity * close // fixed.SCALE, cash, quantity)

    @property
    def equity(self) -> Floats:
        """Equity at each close, for statistics and pictures (f64)."""
        worth = self.quantity / fixed.SCALE * (self.bars["close"] / fixed.SCALE)
        return np.asarray(self.cash / fixed.SCALE + worth, np.float64)


async def points_of(
    store: PointStore, session: Session, after_ns: int = -1, most: int = limits.MAX_CHART_BARS
) -> Points:
    """Return a session's points behind a time. Raises NotFound, and ResourceExhausted for more fills than are read."""
    interval = chart_interval(session.settings.interval)
    try:
        drawn = await store.drawn(session, interval, after_ns, most, limits.MAX_CHARTED_FILLS + 1)
    except KeyError:
        raise NotFound("SESSION_NOT_FOUND", "no such session", session_id=session.session_id) from None
    if len(drawn.fills["cash"]) > limits.MAX_CHARTED_FILLS:
        raise ResourceExhausted(
            "LIMIT_REACHED",
            f"a chart reads at most {limits.MAX_CHARTED_FILLS} fills",
            limit="charted_fills",
            value=limits.MAX_CHARTED_FILLS,
        )
    return await asyncio.to_thread(Points, drawn, interval)
