"""Optimisations: the same whoever works for them, gone on with where they ended, judged out of sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import series
from agreement import compiled
from graphs import drawing

from algotrade.backtest.optimise import search as searches
from algotrade.backtest.optimise.judge import Fold, Judge, Objective, Task, Trial, folds_of
from algotrade.backtest.optimise.outcome import Tally
from algotrade.backtest.optimise.selection import efficiency, expected_best, resample
from algotrade.backtest.optimise.space import Point, Space, SpaceError, space_of
from algotrade.backtest.optimise.study import Journal, JournalError, identity, trials
from algotrade.backtest.optimise.workers import Threads, cluster
from algotrade.engine import metrics
from algotrade.engine.backtest import backtest
from algotrade.engine.metrics.risk import probability_above
from algotrade.engine.settings import RunSettings

PARAMETERS = [
    {"name": "fast", "type": "int", "default": 5, "min": 2, "max": 60},
    {"name": "slow", "type": "int", "default": 20, "min": 2, "max": 200},
    {"name": "stop", "type": "float", "default": 5.0, "min": 0.5, "max": 50.0, "step": 0.5},
]
DOCUMENT = drawing(
    {
        "close": "price",
        "f": ("sma", {"timeperiod": {"param": "fast"}}),
        "s": ("sma", {"timeperiod": {"param": "slow"}}),
        "up": "crossover",
        "dn": "crossunder",
        "b": "buy",
        "x": "sell",
        "stop": ("stop_loss", {"percent": {"param": "stop"}}),
    },
    "close>f close>s f>up.a s>up.b f>dn.a s>dn.b up>b dn>x",
    PARAMETERS,
)
AXES = {"fast": "5:25:5", "slow": "20,40,60", "stop": "3:6:1.5"}
SHARPE = Objective("sharpe")


def task(folds: int = 2, objective: Objective = SHARPE) -> Task:
    artefact = compiled(DOCUMENT).artefact
    assert artefact is not None
    bars = series.aapl()
    return Task(artefact, bars, RunSettings(), folds_of(len(bars), folds, 0.4), objective)


def space(axes: dict[str, str] = AXES) -> Space:
    artefact = compiled(DOCUMENT).artefact
    assert artefact is not None
    return space_of(axes, artefact.manifest.parameters)


def searched(method: str, over: Space) -> searches.Search:
    if method == "grid":
        return searches.grid(over)
    return searches.random(over, 30, 7) if method == "random" else searches.Tpe(over, 40, 7)


@pytest.mark.parametrize("method", ["grid", "random", "tpe"])
def test_the_same_whatever_the_number_of_workers(method: str) -> None:
    found = []
    for threads in (1, 3):
        with Threads(task(), threads) as workers:
            found.append(list(trials(task(), searched(method, space()), workers)))
    assert found[0] == found[1]
    assert len(found[0]) == {"grid": 45, "random": 30, "tpe": 40}[method]
    assert [trial.number for trial in found[0]] == list(range(len(found[0])))


def test_a_cluster_finds_the_same() -> None:
    one = task()
    with Threads(one, 1) as workers:
        here = list(trials(one, searched("tpe", space()), workers))
    with cluster(one, None) as remote:
        assert list(trials(one, searched("tpe", space()), remote)) == here


def test_a_trial_is_a_backtest_of_each_stretch() -> None:
    """In sample from the first bar; out of sample with as many bars before as the strategy needs, and no more."""
    one = task(folds=1)
    point = {"fast": 10, "slow": 40, "stop": 3.0}
    trial = Judge(one).trial(0, point)
    (fold,) = one.folds
    inside = backtest(one.artefact, one.bars[: fold.train[1]], one.settings, point)
    assert trial.in_sample[0]["trades"] == len(inside.trades)
    assert trial.in_sample[0]["total_return"] == pytest.approx(
        100 * (inside.final_equity / one.settings.initial_cash - 1)
    )
    start, end = fold.test
    assert inside.warmup_bars == 40
    outside = backtest(one.artefact, one.bars[start - 40 : end], one.settings, point)
    assert min(trade.entry_ts for trade in outside.trades) > one.bars["ts"][start]
    judged = metrics.values(
        metrics.performance(
            metrics.Run(
                one.bars[start:end],
                outside.equity[40:],
                one.settings.initial_cash,
                outside.final_equity,
                outside.trades,
            )
        )
    )
    for name, value in trial.out_of_sample[0].items():
        assert value == pytest.approx(judged[name]), name


def test_folds_follow_one_another() -> None:
    assert folds_of(1000, 0, 0.25) == (Fold((0, 1000), (1000, 1000)),)
    assert folds_of(1000, 1, 0.25) == (Fold((0, 750), (750, 1000)),)
    assert folds_of(1000, 2, 0.4) == (Fold((0, 600), (600, 800)), Fold((200, 800), (800, 1000)))
    uneven = folds_of(101, 3, 0.3)
    assert uneven[0].test[0] == 71
    assert [fold.test[1] for fold in uneven[:-1]] == [fold.test[0] for fold in uneven[1:]]
    assert uneven[-1].test[1] == 101
    assert {fold.train[1] - fold.train[0] for fold in uneven} == {71}


class Counting:
    """Workers that note what they are asked for, and stop answering after a while."""

    def __init__(self, workers: Threads, most: int) -> None:
        self.workers, self.left, self.asked = workers, most, 0

    def judge(self, first: int, points: Sequence[Point]) -> Iterator[Trial]:
        for trial in self.workers.judge(first, points):
            if not self.left:
                raise InterruptedError
            self.left -= 1
            self.asked += 1
            yield trial


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("method", ["grid", "tpe"])
def test_a_study_goes_on_where_it_ended(method: str, torn: bool, tmp_path: Path) -> None:
    one, path = task(), tmp_path / "study.jsonl"
    study = identity(one, AXES, method, 7, 40)
    with Threads(one, 2) as workers:
        whole = list(trials(one, searched(method, space()), workers))
        journal = Journal(path, study)
        with pytest.raises(InterruptedError):
            list(trials(one, searched(method, space()), Counting(workers, 21), journal))
        journal.close()
        if torn:  # killed while it wrote
            path.write_bytes(path.read_bytes()[:-10])
        counting = Counting(workers, 1000)
        again = Journal(path, study)
        assert list(trials(one, searched(method, space()), counting, again)) == whole
        again.close()
    assert counting.asked == len(whole) - 21 + torn
    assert len(path.read_text().splitlines()) == len(whole) + 1


def test_a_journal_of_another_study(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    Journal(path, identity(task(), AXES, "grid", 7, 45)).close()
    with pytest.raises(JournalError, match="of another study"):
        Journal(path, identity(task(), AXES, "grid", 8, 45))
    path.write_text("{}\nno json\n")
    with pytest.raises(JournalError):
        Journal(path, {})


def test_the_outcome() -> None:
    one = task(objective=Objective("total_return"))
    tally = Tally(one)
    with Threads(one, 2) as workers:
        found = list(trials(one, searched("grid", space()), workers))
    for trial in found:
        tally.add(trial)
    outcome = tally.outcome(seed=1)
    scores = {trial.number: sum(fold["total_return"] or 0 for fold in trial.in_sample) / 2 for trial in found}
    assert [trial.number for trial in outcome.ranking] == sorted(scores, key=lambda n: (-scores[n], n))[:20]
    for choice in outcome.choices:
        best = max(trial.in_sample[choice.fold]["total_return"] or 0 for trial in found)
        assert choice.in_sample["total_return"] == best
        assert choice.out_of_sample == choice.trial.out_of_sample[choice.fold]
    assert len(outcome.choices) == 2
    assert outcome.deflated_sharpe is not None
    assert 0 < outcome.deflated_sharpe < 1
    assert outcome == tally.outcome(seed=1)
    least = Tally(replace(one, objective=Objective("total_return", -1)))
    for trial in found:
        least.add(trial)
    assert least.best is not None
    assert least.best.number == min(scores, key=lambda n: (scores[n], n))


def test_a_strategy_that_never_trades_has_no_score() -> None:
    one = task(folds=0)
    tally = Tally(one)
    tally.add(Judge(one).trial(0, {"fast": 40, "slow": 40, "stop": 3.0}))
    assert (tally.trials, tally.unscored, tally.outcome(1).best) == (1, 1, None)


# ------------------------------------------------------------------ luck


def test_deflated_sharpe_as_in_the_paper() -> None:
    """Bailey and López de Prado (2014), the example: 100 trials of variance 1/2 a year, five years of days, SR 2.5."""
    alternating = [sqrt(0.5 / 250 * 99 / 100) * sign for sign in (1, -1)] * 50  # deviation (n - 1) of sqrt(1/500)
    by_chance = expected_best(alternating)
    assert by_chance == pytest.approx(0.1132, abs=5e-5)
    assert probability_above(2.5 / sqrt(250), by_chance, 1250, -3, 10) == pytest.approx(0.9004, abs=5e-4)
    assert expected_best([1.0]) == 0.0


def test_trades_in_another_order() -> None:
    one = task(folds=0)
    result = backtest(one.artefact, one.bars, one.settings, {"fast": 5, "slow": 20, "stop": 3.0})
    found = resample(result.trades, one.settings.initial_cash, seed=3)
    assert found is not None
    assert found == resample(result.trades, one.settings.initial_cash, seed=3)
    assert found.returns[0] < found.returns[1] < found.returns[2]
    assert found.drawdowns[1] < found.drawdowns[0] < 0
    assert resample(result.trades[:1], one.settings.initial_cash, seed=3) is None


def test_walk_forward_efficiency() -> None:
    assert efficiency([20.0, 10.0], [6.0, 9.0]) == pytest.approx(0.5)
    assert efficiency([None, -10.0], [6.0, 9.0]) is None


# ------------------------------------------------------------------ spaces


def test_axes() -> None:
    found = space({"fast": "5:50:20", "stop": "0.5:2", "slow": "30"})
    assert [axis.values for axis in found.axes] == [(5, 25, 45), (0.5, 1.0, 1.5, 2.0), (30,)]
    points = list(found.points())
    assert len(points) == found.size == 12
    assert [found.point(index) for index in range(12)] == points
    assert space({"stop": "1:1.3:0.1"}).axes[0].values == pytest.approx((1.0, 1.1, 1.2, 1.3))


@pytest.mark.parametrize(
    "axes",
    [
        {"nope": "1:2:1"},
        {"fast": "1:70:1"},
        {"fast": "5:1:1"},
        {"fast": "5:10:0"},
        {"fast": "5:x:1"},
        {"fast": "2.5,3"},
        {"fast": "5,5"},
        {"fast": "5"},
        {"fast": "1:2:3:4"},
        {"stop": "nan,1"},
        {"stop": "0.5:50:0.00001"},
        {},
    ],
)
def test_axes_that_cannot_be(axes: dict[str, str]) -> None:
    with pytest.raises(SpaceError) as error:
        space(axes)
    assert error.value.field == next(iter(axes), "space")


def test_random_points_differ_and_stay_the_same() -> None:
    over = space({"fast": "2:60:1", "slow": "2:200:1"})

    def drawn(seed: int) -> list[Any]:
        search, points = searches.random(over, 50, seed), []
        while batch := search.ask():
            points += [tuple(point.values()) for point in batch]
        return points

    assert len(set(drawn(1))) == 50
    assert drawn(1) == drawn(1) != drawn(2)
    assert np.ptp([fast for fast, _ in drawn(1)]) > 30
