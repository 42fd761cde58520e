"""Performance statistics of one run, each with its unit and the definition it is computed by.

Bases: equity is taken at bar closes (cash + quantity x close); a return is its change from one close to the next; the
benchmark buys at the first open and holds, without costs; the risk-free rate is 0; per-trade figures count closed
trades only, each exit portion as one trade, net of both fees; days and months are UTC's; a year of bars is inferred
from the bars themselves (see `periods_per_year`).
Money is exact and kept as decimal text; every other value is a float or an int, or None where it is undefined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from algotrade.engine.metrics.curve import benchmark, drawdowns, monthly_returns, periods_per_year
from algotrade.engine.metrics.figure import Figure, Metric, Run, Value, metric
from algotrade.engine.metrics.growth import growth, surroundings
from algotrade.engine.metrics.risk import risk, shape
from algotrade.engine.metrics.trading import trading
from algotrade.engine.records import BAR

if TYPE_CHECKING:
    from algotrade.engine.trades import Trade

__all__ = [
    "Metric",
    "Run",
    "Value",
    "benchmark",
    "drawdowns",
    "essentials",
    "monthly_returns",
    "names",
    "of_trades",
    "performance",
    "periods_per_year",
    "values",
]


def performance(run: Run) -> tuple[Metric, ...]:
    """All statistics of a run, in the order in which they are shown."""
    if not len(run.bars) or len(run.bars) != len(run.equity):
        raise ValueError(f"{len(run.bars)} bars and {len(run.equity)} points of equity")
    return _judge(chain(growth(run), surroundings(run), risk(run), shape(run), trading(run.trades)))


def essentials(run: Run) -> tuple[Metric, ...]:
    """The statistics that take least time, for many runs: growth, ratios of return to risk, trades."""
    return _judge(chain(growth(run), risk(run), trading(run.trades)))


def of_trades(trades: Sequence[Trade]) -> tuple[Metric, ...]:
    """The statistics that need trades alone, open ones among them, for runs that keep no equity at bar closes."""
    return _judge(trading(trades))


@cache
def names() -> frozenset[str]:
    """The names of all statistics of a run, as a run over two bars has them."""
    bars = np.ones(2, BAR)
    bars["ts"] = [0, 1]
    return frozenset(one.name for one in performance(Run(bars, np.ones(2), 1, 1, ())))


def values(metrics: Iterable[Metric]) -> dict[str, Value]:
    """Name -> value, ready for JSON."""
    return {one.name: one.value for one in metrics}


def _judge(figures: Iterable[Figure]) -> tuple[Metric, ...]:
    with np.errstate(all="ignore"):
        return tuple(metric(*figure) for figure in figures)
