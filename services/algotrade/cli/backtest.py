"""`algotrade backtest`: one strategy over one bar file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from algotrade.cli import inputs
from algotrade.cli.data import DEFAULT_BAR, BarOption, ProviderOption, bars_of
from algotrade.cli.failure import CommandError, diagnostics_json, failures_told, print_json
from algotrade.cli.options import (
    AllowShortOption,
    CashOption,
    DayTimezoneOption,
    FeeOption,
    FillOption,
    GraphArgument,
    IntervalOption,
    JsonOption,
    LotStepOption,
    MaxPositionOption,
    MinNotionalOption,
    OptionalBarsArgument,
    PathOption,
    PriceStepOption,
    SetOption,
    SkipBadOption,
    SlippageOption,
)

if TYPE_CHECKING:
    from algotrade.engine.backtest import BacktestResult
    from algotrade.engine.compile import Artefact, Compilation
    from algotrade.engine.metrics import Metric
    from algotrade.engine.records import Records
    from algotrade.engine.settings import RunSettings
    from algotrade.engine.trades import Trade
    from algotrade.platform.bars_file import BarFile

_EXPORT: Final = "Write the %s: .csv, .json or .parquet."
_PROGRESS_FROM_BARS: Final = 1_000_000  # a shorter run is over before a bar could be read


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished backtest and all that it depended on."""

    compilation: Compilation
    artefact: Artefact
    file: BarFile
    settings: RunSettings
    parameters: dict[str, int | float]
    result: BacktestResult
    metrics: tuple[Metric, ...]
    monthly_returns: dict[str, float]  # percent by YYYY-MM
    compile_ns: int
    run_ns: int

    @property
    def ns_per_bar(self) -> float:
        return self.run_ns / len(self.file.bars)


def backtest(
    graph: GraphArgument,
    bars: OptionalBarsArgument = None,
    symbol: Annotated[
        str | None, typer.Option(metavar="NAME", help="Run over bars of a symbol.", show_default=False)
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="… from a time.", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="… to before one.", show_default=False)
    ] = None,
    bar: BarOption = DEFAULT_BAR,
    provider: ProviderOption = "coinbase",
    cash: CashOption = None,
    fee_bps: FeeOption = None,
    slippage_bps: SlippageOption = None,
    fill: FillOption = None,
    interval: IntervalOption = None,
    assignments: SetOption = None,
    path: PathOption = None,
    lot_step: LotStepOption = None,
    price_step: PriceStepOption = None,
    min_notional: MinNotionalOption = None,
    max_position_percent: MaxPositionOption = None,
    allow_short: AllowShortOption = False,
    day_timezone: DayTimezoneOption = None,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a chart.", show_default=False)] = None,
    trades: Annotated[Path | None, typer.Option(metavar="FILE", help=_EXPORT % "trades", show_default=False)] = None,
    equity: Annotated[Path | None, typer.Option(metavar="FILE", help=_EXPORT % "curves", show_default=False)] = None,
) -> None:
    """Run a strategy over a bar file, or over bars of a symbol, which are downloaded where they are missing.

    Prints the trades and the metrics; --plot writes a chart, --trades and --equity write tables.
    """
    given: dict[str, str | bool | None] = {
        "initial_cash": cash,
        "fee_bps": fee_bps,
        "slippage_bps": slippage_bps,
        "fill": fill,
        "interval": interval,
        "path": path,
        "lot_step": lot_step,
        "price_step": price_step,
        "min_notional": min_notional,
        "max_position_percent": max_position_percent,
        "allow_short": allow_short or None,
        "day_timezone": day_timezone,
    }
    if (bars is None) == (symbol is None):
        raise typer.BadParameter("give either a file of bars, or --symbol")
    if (symbol is None) != (start is None):
        raise typer.BadParameter("--symbol and --from go together")
    with failures_told(as_json=json):
        _check_paths(plot, trades, equity)

        def read() -> BarFile:
            if bars is not None:
                return inputs.read_bar_file(bars, skip_bad=skip_bad)
            return bars_of(symbol or "", provider, bar, start or "", end)

        outcome = run(graph, read, given, assignments or ())
        _write_files(outcome, plot, trades, equity)
        if json:
            past = {"source": _source(symbol, provider, bar, outcome.file.bars)} if symbol else {}
            print_json(outcome_json(outcome, skip_bad=skip_bad) | past)
        else:
            from algotrade.cli.render import show_outcome

            show_outcome(outcome, [path for path in (plot, trades, equity) if path is not None])


def _source(symbol: str, provider: str, bar: str, bars: Records) -> dict[str, str]:
    """Return where bars of a symbol are from, and which first and last came of it."""
    first, last = inputs.time_text(bars["ts"][0]), inputs.time_text(bars["ts"][-1])
    return {"provider": provider, "symbol": symbol, "bar": bar, "first": first, "last": last}


def _check_paths(plot: Path | None, trades: Path | None, equity: Path | None) -> None:
    if plot is not None and not plot.parent.is_dir():
        raise CommandError("unwritable", f"--plot: there is no folder {plot.parent}", path=str(plot))
    for option, path in (("--trades", trades), ("--equity", equity)):
        if path is not None:
            from algotrade.cli.export import check_path

            check_path(option, path)


def _write_files(outcome: Outcome, plot: Path | None, trades: Path | None, equity: Path | None) -> None:
    if plot is not None:
        from algotrade.cli.plot import write_chart

        write_chart(plot, outcome)
    if trades is not None:
        from algotrade.cli.export import write_trades

        write_trades(trades, [trade_json(trade) for trade in outcome.result.trades])
    if equity is not None:
        from algotrade.cli.export import write_equity

        write_equity(equity, outcome)


def run(
    graph: Path, read: Callable[[], BarFile], given: dict[str, str | bool | None], assignments: Sequence[str]
) -> Outcome:
    """Compile, read and run. Raises CommandError or RefusedError."""
    from algotrade.engine import metrics
    from algotrade.engine.backtest import backtest as run_backtest
    from algotrade.engine.native import MODULES
    from algotrade.engine.settings import SettingsError

    settings = inputs.run_settings(given)
    _ = MODULES.engine  # made once a process, so no part of a compilation
    started = perf_counter_ns()
    compilation, artefact = inputs.compile_graph(graph)
    MODULES.load(artefact.hash, artefact.wasm)
    compiled = perf_counter_ns()
    parameters = inputs.parameter_values(assignments, artefact.manifest.parameters)
    file = read()
    with _progress(len(file.bars)) as progress:
        begun = perf_counter_ns()
        try:
            result = run_backtest(artefact, file.bars, settings, parameters, progress)
        except SettingsError as error:
            raise inputs.setting_failure(error) from None
        ended = perf_counter_ns()
    whole = metrics.Run(result.data, result.equity, settings.initial_cash, result.final_equity, result.trades)
    return Outcome(
        compilation,
        artefact,
        file,
        result.settings,
        parameters,
        result,
        metrics.performance(whole),
        metrics.monthly_returns(whole),
        compiled - started,
        ended - begun,
    )


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error for long runs that somebody watches."""
    import sys

    if total < _PROGRESS_FROM_BARS or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("backtest"), BarColumn(), MofNCompleteColumn(), TextColumn("bars"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("backtest", total=total)
        yield lambda done, _total: shown.update(task, completed=done)


def outcome_json(outcome: Outcome, *, skip_bad: bool) -> dict[str, Any]:
    """The answer of docs/cli.md. Keys beyond it appear only where there is something to say."""
    from algotrade.engine import fixed, metrics

    result = outcome.result
    answer: dict[str, Any] = {
        "artefact": outcome.artefact.hash,
        "data_hash": outcome.file.data_hash,
        "bars": result.bars,
        "warmup_bars": result.warmup_bars,
        "final_equity": fixed.text(result.final_equity),
        "trades": [trade_json(trade) for trade in result.trades],
        "rejections": dict(sorted(result.rejections.items())),
        "metrics": metrics.values(outcome.metrics),
        "monthly_returns": outcome.monthly_returns,
        "timing": {
            "compile_ms": round(outcome.compile_ns / 1e6, 3),
            "run_ms": round(outcome.run_ns / 1e6, 3),
            "ns_per_bar": round(outcome.ns_per_bar, 2),
        },
    }
    if skip_bad:
        answer["bad_rows"] = [{"line": row.line, "reason": row.reason} for row in outcome.file.bad_rows]
    if outcome.settings.fill == "close":
        answer["optimistic"] = True
    if result.halted is not None:
        answer["halted"] = result.halted
    if result.notices:
        answer["notices"] = dict(sorted(result.notices.items()))
    if outcome.compilation.diagnostics:
        answer["warnings"] = diagnostics_json(outcome.compilation.diagnostics)
    return answer


def trade_json(trade: Trade) -> dict[str, Any]:
    """A trade with its money as decimal text and its times as ISO 8601."""
    from algotrade.engine import fixed

    def amount(units: int | None) -> str | None:
        return None if units is None else fixed.text(units)

    return {
        "side": trade.side,
        "quantity": fixed.text(trade.quantity),
        "entry_time": inputs.time_text(trade.entry_ts),
        "entry_price": fixed.text(trade.entry_price),
        "exit_time": None if trade.exit_ts is None else inputs.time_text(trade.exit_ts),
        "exit_price": amount(trade.exit_price),
        "fees": fixed.text(trade.fees),
        "pnl": amount(trade.pnl),
        "exit_reason": trade.exit_reason,
        "ambiguous": trade.ambiguous,
    }
