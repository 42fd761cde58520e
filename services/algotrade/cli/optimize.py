"""`algotrade optimize`: many values of a strategy's parameters over one bar file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from algotrade.cli import inputs
from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import (
    AllowShortOption,
    BarsArgument,
    CashOption,
    FeeOption,
    FillOption,
    GraphArgument,
    IntervalOption,
    JsonOption,
    PathOption,
    SkipBadOption,
    SlippageOption,
)

if TYPE_CHECKING:
    from algotrade.backtest.optimise.judge import Task, Trial
    from algotrade.backtest.optimise.outcome import Outcome
    from algotrade.backtest.optimise.plan import Plan
    from algotrade.backtest.optimise.search import Search
    from algotrade.backtest.optimise.space import Space
    from algotrade.engine.compile import Artefact
    from algotrade.engine.settings import RunSettings

_MOST_THREADS: Final = 64


def optimize(
    graph: GraphArgument,
    bars: BarsArgument,
    assignments: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="NAME=VALUES", help="Values of a parameter: 5:50:5, or 10,20,50, or 7; repeatable."
        ),
    ],
    method: Annotated[str, typer.Option(metavar="NAME", help="grid, random or tpe.")] = "grid",
    trials: Annotated[int, typer.Option(metavar="N", help="How many points random and tpe try.", min=1)] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Of random and tpe; the same seed tries the same.", min=0)] = 1,
    objective: Annotated[str, typer.Option(metavar="METRIC", help="What to seek the most of.")] = "sharpe",
    minimize: Annotated[bool, typer.Option(help="Seek the least of it instead.")] = False,
    folds: Annotated[
        int, typer.Option(metavar="N", help="Test stretches (walk-forward); 0: all is in sample.", min=0)
    ] = 1,
    test: Annotated[float, typer.Option(metavar="SHARE", help="Of the data in the test stretches together.")] = 0.25,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="[default: the processors]", min=1, max=_MOST_THREADS, show_default=False),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, or `local`, instead of threads.", show_default=False),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep every trial; given again, go on where it ends.", show_default=False),
    ] = None,
    cash: CashOption = None,
    fee_bps: FeeOption = None,
    slippage_bps: SlippageOption = None,
    fill: FillOption = None,
    interval: IntervalOption = None,
    path: PathOption = None,
    allow_short: AllowShortOption = False,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
) -> None:
    """Find parameters over a bar file.

    Every trial is judged on the bars it may be chosen by and on those behind them.
    """
    given: dict[str, str | bool | None] = {
        "initial_cash": cash,
        "fee_bps": fee_bps,
        "slippage_bps": slippage_bps,
        "fill": fill,
        "interval": interval,
        "path": path,
        "allow_short": allow_short or None,
    }
    with failures_told(as_json=json):
        settings = inputs.run_settings(given)
        _, artefact = inputs.compile_graph(graph)
        axes = axes_of(assignments)
        space, plan = _space(axes, artefact), _plan(method, trials, seed, objective, minimize, folds, test)
        task, search = _planned(plan, space, artefact, inputs.read_bar_file(bars, skip_bad=skip_bad).bars, settings)
        outcome = _study(task, search, plan.count(space), axes, method, seed, threads, cluster, journal)
        if json:
            print_json(outcome_json(task, outcome, method, space.size))
        else:
            from algotrade.cli.render_study import show_study

            show_study(task, outcome, method, space)


def axes_of(assignments: Sequence[str]) -> dict[str, str]:
    """Read ``name=values``. Raises CommandError."""
    axes: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or name in axes:
            problem = "given twice" if equals else "write name=values"
            raise CommandError("invalid_parameter", f"--set {assignment}: {problem}", parameter=name)
        axes[name] = text
    return axes


def _space(axes: dict[str, str], artefact: Artefact) -> Space:
    from algotrade.backtest.optimise.space import SpaceError, space_of

    try:
        return space_of(axes, artefact.manifest.parameters)
    except SpaceError as error:
        raise CommandError(
            "invalid_parameter", f"--set {error.field}: {error.message}", parameter=error.field
        ) from None


def _plan(method: str, trials: int, seed: int, objective: str, minimize: bool, folds: int, test: float) -> Plan:
    from algotrade.backtest.optimise.judge import Objective
    from algotrade.backtest.optimise.plan import Plan

    return Plan(method, trials, seed, Objective(objective, -1 if minimize else 1), folds, test)


def _planned(plan: Plan, space: Space, artefact: Artefact, bars: Any, settings: RunSettings) -> tuple[Task, Search]:
    from algotrade.backtest.optimise.judge import Judge
    from algotrade.backtest.optimise.plan import PlanError
    from algotrade.engine.settings import SettingsError

    try:
        task = plan.task(artefact, bars, settings)
        Judge(task)
        return task, plan.search(space)
    except PlanError as error:
        option = "set" if error.field == "axes" else error.field
        raise CommandError("invalid_setting", f"--{option}: {error.message}", field=error.field) from None
    except SettingsError as error:
        raise inputs.setting_failure(error) from None


def _study(
    task: Task,
    search: Search,
    count: int,
    axes: dict[str, str],
    method: str,
    seed: int,
    threads: int | None,
    address: str | None,
    path: Path | None,
) -> Outcome:
    from algotrade.backtest.optimise import study
    from algotrade.backtest.optimise.outcome import Tally
    from algotrade.backtest.optimise.workers import workers_of

    tally = Tally(task)
    with ExitStack() as stack:
        journal = None
        if path is not None:
            try:
                journal = study.Journal(path, study.identity(task, axes, method, seed, count))
            except study.JournalError as error:
                raise CommandError("journal", f"--journal: {error}", path=str(path)) from None
            stack.enter_context(closing(journal))
        workers = stack.enter_context(workers_of(task, threads or os.cpu_count() or 1, address))
        told = stack.enter_context(_progress(count))
        for trial in study.trials(task, search, workers, journal):
            tally.add(trial)
            told(tally.best)
    return tally.outcome(seed)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Trial | None], None]]:
    """A bar on standard error where somebody watches."""
    import sys

    if not sys.stderr.isatty():
        yield lambda best: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("trials, best {task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("–", total=total)
        yield lambda best: shown.update(task, advance=1, description=_point(best))


def _point(trial: Trial | None) -> str:
    return "–" if trial is None else " ".join(f"{name}={value:g}" for name, value in trial.point.items())


def outcome_json(task: Task, outcome: Outcome, method: str, points: int) -> dict[str, Any]:
    """The answer of docs/cli.md."""
    return {
        "artefact": task.artefact.hash,
        "objective": asdict(task.objective),
        "method": method,
        "points": points,
        "trials": outcome.trials,
        "unscored": outcome.unscored,
        "ranking": [asdict(trial) for trial in outcome.ranking],
        "walk_forward": [asdict(choice) for choice in outcome.choices],
        "walk_forward_efficiency": outcome.efficiency,
        "deflated_sharpe": outcome.deflated_sharpe,
        "resampled": None if outcome.resampled is None else asdict(outcome.resampled),
    }
