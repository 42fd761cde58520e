"""What a point is worth: one backtest a segment of the data, in sample and out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from algotrade.backtest.optimise.space import Point
from algotrade.engine import metrics
from algotrade.engine.backtest import Backtests, fitting
from algotrade.engine.compile import Artefact
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings

Figures = Mapping[str, float | None]
# What is kept of every trial, whatever the objective is.
KEPT: Final = ("total_return", "cagr", "sharpe", "sortino", "max_drawdown", "trades", "win_rate", "profit_factor")


@dataclass(frozen=True, slots=True)
class Fold:
    """Bars to choose by, and the bars behind them to judge the choice by: indices, ends excluded."""

    train: tuple[int, int]
    test: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Trial:
    """A point with its figures, one entry a fold. ``number`` counts from 0 in the order asked."""

    number: int
    point: Point
    in_sample: tuple[Figures, ...]
    out_of_sample: tuple[Figures, ...]

    def score(self, objective: Objective) -> float | None:
        """The mean of the objective over the folds, in sample; None where it is undefined in one of them."""
        values = [figures[objective.metric] for figures in self.in_sample]
        known = [value for value in values if value is not None]
        return objective.sign * sum(known) / len(known) if len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric to seek the most of, or the least."""

    metric: str
    sign: int = 1


@dataclass(frozen=True)
class Task:
    """All that trials depend on beside their points."""

    artefact: Artefact
    bars: Records
    settings: RunSettings
    folds: tuple[Fold, ...]
    objective: Objective
    fixed: Point = field(default_factory=dict)


def folds_of(bars: int, folds: int, test_share: float) -> tuple[Fold, ...]:
    """Cut data into a first stretch to learn from and ``folds`` test stretches of equal length behind it.

    The tests cover ``test_share`` of the data together; each learns from as many bars before it as the first does.
    Without folds everything is in sample.
    """
    if not folds:
        return (Fold((0, bars), (bars, bars)),)
    tested = round(bars * test_share)
    train = bars - tested
    edges = [train + tested * index // folds for index in range(folds + 1)]
    return tuple(Fold((start - train, start), (start, end)) for start, end in pairwise(edges))


class Judge:
    """Runs points, one at a time. Not for several threads at once: each has one of its own."""

    def __init__(self, task: Task) -> None:
        """Copy the bars into the artefact's memory, once."""
        self._task = task
        self._settings = fitting(task.settings, task.bars, task.artefact)
        self._backtests = Backtests(task.artefact, task.bars)

    def trial(self, number: int, point: Point) -> Trial:
        """Judge a point."""
        folds = self._task.folds
        inside = tuple(self._figures(fold.train, point) for fold in folds)
        outside = tuple(self._figures(fold.test, point) for fold in folds if fold.test[0] < fold.test[1])
        return Trial(number, point, inside, outside)

    def run(self, segment: tuple[int, int], point: Point) -> metrics.Run:
        """Run a segment; bars before it, as many as there are and the strategy needs, warm it up."""
        start, end = segment
        parameters = {**self._task.fixed, **point}
        before = min(start, self._backtests.warmup_bars(self._settings, parameters)) if start else 0
        result = self._backtests.run(self._settings, parameters, span=slice(start - before, end))
        return metrics.Run(  # no entry was possible in the warm-up, so the equity there is the cash
            result.data[before:],
            result.equity[before:],
            result.settings.initial_cash,
            result.final_equity,
            result.trades,
        )

    def _figures(self, segment: tuple[int, int], point: Point) -> Figures:
        run, objective = self.run(segment, point), self._task.objective.metric
        found = metrics.values(metrics.essentials(run))
        if objective not in found:
            found = metrics.values(metrics.performance(run))
        return {name: None if (value := found[name]) is None else float(value) for name in (*KEPT, objective)}
