"""`algotrade explain`: every port's value at one bar."""

from __future__ import annotations

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
    at: Annotated[str, typer.Option(metavar="TIME", help="The start of the bar, ISO 8601 or epoch.")],
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
        from algotrade.engine.compile import compile_strategy
        from algotrade.engine.explain import explain as explain_bar

        ts = inputs.time_argument(at, "--at")
        settings = inputs.run_settings(given)
        document = inputs.read_graph(graph)
        compilation = compile_strategy(document)
        if compilation.artefact is None:
            raise RefusedError(str(graph), compilation.diagnostics)
        parameters = inputs.parameter_values(assignments or (), compilation.artefact.manifest.parameters)
        file = inputs.read_bar_file(bars, skip_bad=skip_bad)
        explanation = explain_bar(document, file.bars, settings, parameters, ts)
        if json:
            print_json(explanation_json(explanation, ts))
        else:
            from algotrade.cli.render import show_explanation

            show_explanation(explanation, ts)


def explanation_json(explanation: Explanation, ts: int) -> dict[str, Any]:
    """Port values by node and port; null is undefined or unknown."""
    ports: dict[str, dict[str, Any]] = {}
    for (node, port), value in explanation.ports.items():
        ports.setdefault(node, {})[port] = value
    return {"time": inputs.time_text(ts), "ports": ports, "sentences": list(explanation.sentences)}
