"""The points of a session's chart: what it held and had at the close of each bar.

The bars are the chart's (see `charts`); cash and quantity follow from the session's fills before the tick that closed
the bar. A bar is the session's from the first that closed while it could order to the last that its row has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.metrics.figure import Floats, Integers
from algotrade.engine.records import BAR, Records
from algotrade.forward_test.charts import ChartBar, chart_interval
from algotrade.forward_test.session import Session
from algotrade.platform import limits
from algotrade.platform.errors import NotFound, ResourceExhausted


@dataclass(frozen=True, slots=True)
class Fill:
    """What a session had after an order was filled. ``quantity`` is negative when short."""

    tick_sequence: int
    cash: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """Bars of a session and its fills, as of one moment; ``more``: whether later bars were left out."""

    session: Session
    bars: Sequence[ChartBar]
    fills: Sequence[Fill]
    more: bool


class PointStore(Protocol):
    """The port: where bars and fills are kept."""

    async def drawn(self, session: Session, interval: int, after_ns: int, most_bars: int, most_fills: int) -> Drawn:
        """Return what is drawn of a session behind a time. Raises KeyError where the session has gone."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """A bar with what a session had at its close; amounts in units of 1e-8."""

    bar: ChartBar
    equity: int
    cash: int
    quantity: int


class Points:
    """Points by time, worked out when they are looked at."""

    def __init__(self, drawn: Drawn, interval: int) -> None:
        """Take what is drawn."""
        self.more = drawn.more
        self._bars = drawn.bars
        self._fills = [Fill(0, drawn.session.settings.initial_cash, 0), *drawn.fills]
        closed = np.array([bar.closed_sequence for bar in drawn.bars], np.int64)
        filled = np.array([fill.tick_sequence for fill in drawn.fills], np.int64)
        # A bar of time is closed by the first tick that is not its own; one of the feed's by its last.
        self._last = np.searchsorted(filled, closed, side="left" if interval else "right")

    def __len__(self) -> int:
        return len(self._bars)

    def __getitem__(self, index: int) -> Point:
        bar, fill = self._bars[index], self._fills[self._last[index]]
        worth = fill.quantity * bar.close // fixed.SCALE
        return Point(bar, fill.cash + worth, fill.cash, fill.quantity)

    @property
    def equity(self) -> Floats:
        """Equity at each close, for statistics and pictures (f64)."""
        cash = np.array([fill.cash for fill in self._fills], np.float64)[self._last] / fixed.SCALE
        quantity = self.quantity / fixed.SCALE
        closes = np.array([bar.close for bar in self._bars], np.float64) / fixed.SCALE
        return np.asarray(cash + quantity * closes, np.float64)

    @property
    def quantity(self) -> Integers:
        """What was held at each close, in units of 1e-8."""
        return np.asarray(np.array([fill.quantity for fill in self._fills], np.int64)[self._last])

    @property
    def bars(self) -> Records:
        """The bars (BAR records)."""
        return np.array([(b.start_ns, b.open, b.high, b.low, b.close, b.volume) for b in self._bars], BAR)


async def points_of(
    store: PointStore, session: Session, after_ns: int = -1, most: int = limits.MAX_CHART_BARS
) -> Points:
    """Return a session's points behind a time. Raises NotFound, and ResourceExhausted for more fills than are read."""
    interval = chart_interval(session.settings.interval)
    try:
        drawn = await store.drawn(session, interval, after_ns, most, limits.MAX_CHARTED_FILLS + 1)
    except KeyError:
        raise NotFound("SESSION_NOT_FOUND", "no such session", session_id=session.session_id) from None
    if len(drawn.fills) > limits.MAX_CHARTED_FILLS:
        raise ResourceExhausted(
            "LIMIT_REACHED",
            f"a chart reads at most {limits.MAX_CHARTED_FILLS} fills",
            limit="charted_fills",
            value=limits.MAX_CHARTED_FILLS,
        )
    return Points(drawn, interval)
