"""What a study found: the best trials, what was chosen in each fold, and how much of it may be luck."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from math import sqrt
from typing import Final

from algotrade.backtest.optimise.judge import Figures, Judge, Task, Trial
from algotrade.backtest.optimise.selection import Resampled, deflated_sharpe, efficiency, resample
from algotrade.engine.metrics import periods_per_year

RANKED: Final = 20  # of the best trials, kept in order


@dataclass(frozen=True, slots=True)
class Choice:
    """The trial that did best in sample on a fold, and what it did there and behind."""

    fold: int
    trial: Trial
    in_sample: Figures
    out_of_sample: Figures


@dataclass(frozen=True, slots=True)
class Outcome:
    """``unscored``: trials whose objective is undefined. ``best`` is the first of ``ranking``.

    ``deflated_sharpe`` (a probability, 0 to 1) and ``resampled`` are of the best trial, over the last fold's bars to
    choose by.
    """

    trials: int
    unscored: int
    ranking: tuple[Trial, ...]
    choices: tuple[Choice, ...]
    efficiency: float | None
    deflated_sharpe: float | None
    resampled: Resampled | None

    @property
    def best(self) -> Trial | None:
        """The trial of the best mean objective in sample."""
        return self.ranking[0] if self.ranking else None


class Tally:
    """Takes trials one by one and keeps what an outcome needs, which does not grow with them but for a float each."""

    def __init__(self, task: Task) -> None:
        """Begin a count."""
        self._task = task
        self._ranking: list[tuple[float, int, Trial]] = []
        self._chosen: dict[int, tuple[float, Trial]] = {}
        self._sharpes: list[float] = []
        self.trials = 0
        self.unscored = 0

    @property
    def best(self) -> Trial | None:
        """The best so far."""
        return self._ranking[0][2] if self._ranking else None

    def add(self, trial: Trial) -> None:
        """Count a trial."""
        self.trials += 1
        objective = self._task.objective
        score = trial.score(objective)
        if score is None:
            self.unscored += 1
        else:
            insort(self._ranking, (-score, trial.number, trial), key=lambda one: one[:2])
            del self._ranking[RANKED:]
        for fold, figures in enumerate(trial.in_sample):
            value = figures[objective.metric]
            if value is not None and (fold not in self._chosen or objective.sign * value > self._chosen[fold][0]):
                self._chosen[fold] = (objective.sign * value, trial)
        if (sharpe := trial.in_sample[-1]["sharpe"]) is not None:
            self._sharpes.append(sharpe)

    def outcome(self, seed: int) -> Outcome:
        """Judge what has been counted. Runs the best once more."""
        choices = tuple(
            Choice(fold, trial, trial.in_sample[fold], trial.out_of_sample[fold])
            for fold, (_, trial) in sorted(self._chosen.items())
            if trial.out_of_sample
        )
        deflated = resampled = None
        if (best := self.best) is not None:
            run = Judge(self._task).run(self._task.folds[-1].train, best.point)
            year = periods_per_year(run.bars["ts"])
            deflated = deflated_sharpe(run, self._sharpes, sqrt(year)) if year else None
            resampled = resample(run.trades, run.initial_cash, seed)
        return Outcome(
            self.trials,
            self.unscored,
            tuple(trial for _, _, trial in self._ranking),
            choices,
            efficiency([c.in_sample["cagr"] for c in choices], [c.out_of_sample["cagr"] for c in choices]),
            deflated,
            resampled,
        )
