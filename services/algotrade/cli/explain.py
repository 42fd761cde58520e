"""`algotrade explain`: every port's value at one bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from algotrade.cli import inputs
from algotrade.cli.failure import RefusedError, failures_told, print_json
from algotrade.cli.options import (
    BarsArgument,
    CashOption,
    DayTimezoneOption,
    FeeOption,
    FillOption,
    GraphArgument,
    IntervalOption,
    JsonOption,
    PathOption,
    SetOption,
    SkipBadOption,
    SlippageOption,
)

if TYPE_CHECKING:
    from algotrade.engine.explain import Explanation


def explain(
    graph: GraphArgument,
    bars: BarsArgument,
    at: Annotated[str, typer.Option(metavar="TIME", help="A time within the bar, ISO 8601 or epoch.")],
    cash: CashOption = None,
    fee_bps: FeeOption = None,
    slippage_bps: SlippageOption = None,
    fill: FillOption = None,
    interval: IntervalOption = None,
    assignments: SetOption = None,
    path: PathOption = None,
    day_timezone: DayTimezoneOption = None,
    skip_bad: SkipBadOption = False,
    json: JsonOption = False,
) -> None:
    """Explain one bar of a backtest.

    Prints the value of every port at its close, and why there was an order or none.
    """
    given: dict[str, str | bool | None] = {
        "initial_cash": cash,
        "fee_bps": fee_bps,
        "slippage_bps": slippage_bps,
        "fill": fill,
        "interval": interval,
        "path": path,
        "day_timezone": day_timezone,
    }
    with failures_told(as_json=json):
        answer, explanation = _explain(graph, bars, at, given, assignments or (), skip_bad=skip_bad)
        if json:
            print_json(answer)
        else:
            from algotrade.cli.render import show_explanation

            show_explanation(explanation)


def _explain(
    graph: Path, bars: Path, at: str, given: dict[str, str | bool | None], assignments: Sequence[str], *, skip_bad: bool
) -> tuple[dict[str, Any], Explanation]:
    from algotrade.engine.compile import compile_strategy
    from algotrade.engine.explain import explain as explain_bar
    from algotrade.engine.settings import SettingsError

    ts = inputs.time_argument(at, "--at")
    settings = inputs.run_settings(given)
    document = inputs.read_graph(graph)
    probed = compile_strategy(document, probe=True)
    plain = compile_strategy(document).artefact
    if probed.artefact is None or probed.strategy is None or plain is None:
        raise RefusedError(str(graph), probed.diagnostics)
    parameters = inputs.parameter_values(assignments, plain.manifest.parameters)
    file = inputs.read_bar_file(bars, skip_bad=skip_bad)
    try:
        explanation = explain_bar(probed.strategy, probed.artefact, file.bars, settings, parameters, ts)
    except SettingsError as error:
        raise inputs.setting_failure(error) from None
    return {"artefact": plain.hash, "data_hash": file.data_hash} | explanation_json(explanation), explanation


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Port values by node and port, null where undefined or unknown, and what each action did."""
    from dataclasses import asdict

    ports: dict[str, dict[str, Any]] = {}
    for (node, port), value in explanation.ports.items():
        ports.setdefault(node, {})[port] = value
    return {
        "time": inputs.time_text(explanation.ts),
        "bar": explanation.bar,
        "warmup_bars": explanation.warmup_bars,
        "ports": ports,
        "actions": [asdict(action) for action in explanation.actions],
    }
