"""In which order points are tried: all of them, some at random, or where earlier ones did well.

A search is asked for a batch and told how it went before it is asked again. The batches are of one size and told in the
order asked, so what is tried does not depend on how many workers try it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import numpy as np

from algotrade.backtest.optimise.space import Axis, Point, Space

BATCH: Final = 16


class Search(Protocol):
    """Where to look next."""

    def ask(self) -> Sequence[Point]:
        """Return the next points, none when the search is over."""
        ...

    def tell(self, scores: Sequence[float | None]) -> None:
        """Take what the points asked for last scored, greater being better; None for one that has no score."""
        ...


class _Listed:
    """Points that are known before any is tried."""

    def __init__(self, points: Iterator[Point]) -> None:
        self._points = points

    def ask(self) -> Sequence[Point]:
        return list(islice(self._points, BATCH))

    def tell(self, scores: Sequence[float | None]) -> None:
        """Change nothing."""


def grid(space: Space) -> Search:
    """Every point."""
    return _Listed(space.points())


def random(space: Space, trials: int, seed: int) -> Search:
    """So many different points, or all where there are no more."""
    generator = np.random.default_rng(seed)
    count = min(trials, space.size)
    if space.size <= 4 * count:
        chosen: Iterator[int] = iter(generator.permutation(space.size)[:count].tolist())
    else:
        chosen = islice(_different(generator, space.size), count)
    return _Listed(space.point(index) for index in chosen)


def _different(generator: np.random.Generator, size: int) -> Iterator[int]:
    seen: set[int] = set()
    while True:
        index = int(generator.integers(size))
        if index not in seen:
            seen.add(index)
            yield index


class Tpe:
    """The tree-structured Parzen estimator of Optuna (J. Bergstra and others, 2011)."""

    def __init__(self, space: Space, trials: int, seed: int) -> None:
        """Search a space by so many trials."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # A trial that is still running counts as a bad one, or a batch would be many times the same point.
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._axes = {axis.name: _distribution(axis) for axis in space.axes}
        self._values = {axis.name: axis.values for axis in space.axes}
        self._left = trials
        self._asked: list[Any] = []

    def ask(self) -> Sequence[Point]:
        """Ask for a batch."""
        count = min(BATCH, self._left)
        self._left -= count
        self._asked = [self._study.ask(self._axes) for _ in range(count)]
        return [{name: self._values[name][place] for name, place in one.params.items()} for one in self._asked]

    def tell(self, scores: Sequence[float | None]) -> None:
        """Tell the batch in the order asked."""
        from optuna.trial import TrialState

        for one, score in zip(self._asked, scores, strict=True):
            if score is None:
                self._study.tell(one, state=TrialState.FAIL)
            else:
                self._study.tell(one, score)


def _distribution(axis: Axis) -> Any:
    """The place of a value on its axis: near places are near values."""
    from optuna.distributions import IntDistribution

    return IntDistribution(0, len(axis.values) - 1)
