"""A study for people: the best trials, in sample beside out of sample, and how much of it may be luck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from algotrade.backtest.optimise.selection import RESAMPLED
from algotrade.cli.render import new_table

if TYPE_CHECKING:
    from algotrade.backtest.optimise.judge import Figures, Task, Trial
    from algotrade.backtest.optimise.outcome import Outcome
    from algotrade.backtest.optimise.space import Space

_SHOWN: Final = 10
_SURE: Final = 95.0  # percent
_DASH: Final = "–"


def show_study(task: Task, outcome: Outcome, method: str, space: Space) -> None:
    """Print what a study found."""
    console = Console()
    aim = "least" if task.objective.sign < 0 else "most"
    console.print(
        Text(f"{method} over {space.size:,} points: {outcome.trials:,} trials, {aim} {task.objective.metric}")
    )
    if outcome.unscored:
        console.print(Text(f"  {outcome.unscored:,} trials have no {task.objective.metric}", style="yellow"))
    if outcome.best is None:
        console.print("No trial could be scored.")
        return
    console.print()
    _ranking(console, task, outcome)
    if outcome.choices:
        _walk(console, task, outcome)
    _luck(console, outcome)


def _ranking(console: Console, task: Task, outcome: Outcome) -> None:
    metric = task.objective.metric
    names = list(outcome.best.point) if outcome.best else []
    heads = ["#", *names, metric, "return", "drawdown", "trades", f"{metric} out", "return out"]
    table = new_table(*heads, numbers=heads)
    for place, trial in enumerate(outcome.ranking[:_SHOWN], start=1):
        inside, outside = _mean(trial.in_sample), _mean(trial.out_of_sample)
        cells = [_number(inside[metric]), _percent(inside["total_return"]), _percent(inside["max_drawdown"])]
        cells += [_number(inside["trades"]), _number(outside.get(metric)), _percent(outside.get("total_return"))]
        table.add_row(str(place), *(f"{trial.point[name]:g}" for name in names), *cells)
    console.print(table)
    console.print(Text("means over the folds; out: on the bars behind those it is chosen by\n", style="dim"))


def _walk(console: Console, task: Task, outcome: Outcome) -> None:
    metric = task.objective.metric
    table = new_table(
        "fold", "chosen", metric, f"{metric} out", "return out", numbers=(metric, f"{metric} out", "return out")
    )
    for choice in outcome.choices:
        table.add_row(
            str(choice.fold + 1),
            point_text(choice.trial),
            _number(choice.in_sample[metric]),
            _number(choice.out_of_sample[metric]),
            _percent(choice.out_of_sample["total_return"]),
        )
    console.print(table)
    if outcome.efficiency is not None:
        console.print(Text(f"walk-forward efficiency {100 * outcome.efficiency:.0f} % (growth a year out / in sample)"))
    console.print()


def _luck(console: Console, outcome: Outcome) -> None:
    if outcome.deflated_sharpe is not None:
        sure = 100 * outcome.deflated_sharpe
        best = f"the probability that the best of {outcome.trials:,} trials is more than luck"
        console.print(Text(f"deflated Sharpe {sure:.1f} %: {best}", style="" if sure >= _SURE else "yellow"))
    if (found := outcome.resampled) is not None:
        low, middle, high = found.returns
        typical, deep = found.drawdowns
        drawn = (
            f"return {low:.1f} / {middle:.1f} / {high:.1f} % (5, 50, 95 of 100), a loss in {found.loss_probability:.0f}"
        )
        console.print(Text(f"its trades drawn anew {RESAMPLED:,} times: {drawn} of 100"))
        console.print(Text(f"its trades in another order: drawdown {typical:.1f} / {deep:.1f} % (50, 95 of 100)"))


def point_text(trial: Trial) -> str:
    """Name a point's values."""
    return " ".join(f"{name}={value:g}" for name, value in trial.point.items())


def _mean(folds: tuple[Figures, ...]) -> dict[str, float | None]:
    names = folds[0] if folds else {}
    columns = {name: [figures[name] for figures in folds] for name in names}
    return {
        name: None if None in values else sum(v for v in values if v is not None) / len(values)
        for name, values in columns.items()
    }


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.0f}" if value == int(value) else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return _DASH if value is None else f"{value:.1f} %"
