"""What an optimisation is to do, read from what its owner writes: a task, a search, and how many trials that makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from algotrade.backtest.optimise import search
from algotrade.backtest.optimise.judge import Fold, Objective, Task, folds_of
from algotrade.backtest.optimise.space import Point, Space
from algotrade.engine import metrics
from algotrade.engine.compile import Artefact
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings
from algotrade.platform import limits

METHODS: Final = ("grid", "random", "tpe")
TRIALS, SEED, OBJECTIVE, FOLDS, TEST_SHARE = 100, 1, "sharpe", 1, 0.25  # what is left out


class PlanError(ValueError):
    """What cannot be done; ``field`` names what it was asked by."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search and to judge: ``trials`` counts for the methods random and tpe; ``test_share`` is of the data."""

    method: str = METHODS[0]
    trials: int = TRIALS
    seed: int = SEED
    objective: Objective = Objective(OBJECTIVE)  # noqa: RUF009  (frozen)
    folds: int = FOLDS
    test_share: float = TEST_SHARE

    def count(self, space: Space) -> int:
        """How many trials there are to be."""
        if self.method == "grid":
            return space.size
        return min(self.trials, space.size) if self.method == "random" else self.trials

    def check(self, space: Space) -> None:
        """Raise PlanError for a search that cannot be."""
        if self.method not in METHODS:
            raise PlanError("method", f"{self.method} is not one of {', '.join(METHODS)}")
        if space.size > limits.MAX_POINTS:
            raise PlanError("axes", f"{space.size:,} points; at most {limits.MAX_POINTS:,}")
        asked = space.size if self.method == "grid" else self.trials
        if asked > limits.MAX_TRIALS:
            raise PlanError("trials", f"{asked:,} trials; at most {limits.MAX_TRIALS:,}")

    def search(self, space: Space) -> search.Search:
        """Return the search at its beginning. Raises PlanError."""
        self.check(space)
        if self.method == "grid":
            return search.grid(space)
        if self.method == "random":
            return search.random(space, self.trials, self.seed)
        return search.Tpe(space, self.trials, self.seed)

    def cut(self, bars: int) -> tuple[Fold, ...]:
        """Cut so many bars into folds. Raises PlanError for fewer than two bars in one, or an impossible cut."""
        if not 0 <= self.folds <= limits.MAX_FOLDS:
            raise PlanError("folds", f"at most {limits.MAX_FOLDS}")
        if not 0 < self.test_share < 1:
            raise PlanError("test", "is to be between 0 and 1")
        found = folds_of(bars, self.folds, self.test_share)
        parts = [part for fold in found for part in ((fold.train, fold.test) if self.folds else (fold.train,))]
        if any(end - start < 2 for start, end in parts):
            raise PlanError("folds", f"{bars} bars are too few")
        return found

    def task(self, artefact: Artefact, bars: Records, settings: RunSettings, fixed: Point | None = None) -> Task:
        """Return what every trial depends on beside its point. Raises PlanError."""
        if self.objective.metric not in metrics.names():
            raise PlanError("objective", f"there is no metric {self.objective.metric}")
        values: Mapping[str, int | float] = fixed or {}
        return Task(artefact, bars, settings, self.cut(len(bars)), self.objective, values)
