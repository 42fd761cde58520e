"""Results for people: tables on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from algotrade.cli.failure import diagnostic_lines, printable
from algotrade.cli.inputs import time_text
from algotrade.engine import fixed

if TYPE_CHECKING:
    from algotrade.cli.backtest import Outcome
    from algotrade.engine.compile import Compilation
    from algotrade.engine.explain import Explanation
    from algotrade.engine.metrics import Metric
    from algotrade.engine.node_type import NodeType, Param
    from algotrade.engine.strategy import Strategy
    from algotrade.engine.trades import Trade

_TRADES_SHOWN: Final = 20
_BAD_ROWS_SHOWN: Final = 10
_DASH: Final = "–"
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def new_table(*headings: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left")
    return table


def _title(strategy: Strategy | None) -> str:
    return printable(strategy.name) if strategy and strategy.name else "Strategy"


# Backtest


def show_outcome(outcome: Outcome, written: Sequence[Path]) -> None:
    """Print a finished backtest: what ran, its trades, its metrics, its months, and the files that were written."""
    console = Console()
    strategy, result = outcome.compilation.strategy, outcome.result
    console.print(Text(_title(strategy), style="bold"))
    for key, value in _facts(outcome):
        console.print(Text(f"  {key:<11} {value}"), soft_wrap=True)
    for line in diagnostic_lines(outcome.compilation.diagnostics):
        console.print(Text(f"  {line}", style="yellow"), soft_wrap=True)
    if outcome.settings.fill == "close":
        console.print(Text("  optimistic: orders fill at the close that decided them", style="yellow"))
    if result.halted is not None:
        console.print(Text(f"  halted: {result.halted}", style="red"))
    _show_bad_rows(console, outcome)
    console.print()
    _show_trades(console, result.trades)
    if result.notices:
        said = ", ".join(f"{printable(node)} {count}" for node, count in sorted(result.notices.items()))
        console.print(Text(f"Notices: {said}"))
    if result.rejections:
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(result.rejections.items()))
        console.print(Text(f"Rejections: {listed}\n"))
    _show_metrics(console, outcome.metrics)
    _show_months(console, outcome.monthly_returns)
    for path in written:
        console.print(Text(f"Written: {path}"), soft_wrap=True)


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    result, bars, settings = outcome.result, outcome.file.bars, outcome.settings.as_text()
    span = f"{time_text(bars['ts'][0])} to {time_text(bars['ts'][-1])}"
    speed = f"compiled in {outcome.compile_ns / 1e6:.1f} ms, ran in {outcome.run_ns / 1e6:.1f} ms"
    facts = [
        ("artefact", outcome.artefact.hash),
        ("data", outcome.file.data_hash),
        ("bars", f"{result.bars:,}, {span}, warm-up {result.warmup_bars}"),
        ("settings", ", ".join(f"{name} {_word(value)}" for name, value in settings.items())),
        ("timing", f"{speed} ({outcome.ns_per_bar:.1f} ns a bar)"),
    ]
    if outcome.parameters:
        chosen = ", ".join(f"{printable(name)} {value:g}" for name, value in outcome.parameters.items())
        facts.insert(3, ("parameters", chosen))
    return facts


def _word(value: str | bool) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _show_bad_rows(console: Console, outcome: Outcome) -> None:
    bad = outcome.file.bad_rows
    if not bad:
        return
    console.print(Text(f"  {len(bad)} bad row(s) left out", style="yellow"))
    for row in bad[:_BAD_ROWS_SHOWN]:
        console.print(Text(f"    line {row.line}: {row.reason}", style="yellow"), soft_wrap=True)
    if len(bad) > _BAD_ROWS_SHOWN:
        console.print(Text(f"    and {len(bad) - _BAD_ROWS_SHOWN} more", style="yellow"))


def _show_trades(console: Console, trades: Sequence[Trade]) -> None:
    if not trades:
        console.print("No trades.\n")
        return
    hidden = len(trades) - _TRADES_SHOWN
    if hidden > 0:
        console.print(Text(f"{hidden:,} earlier trades not shown (--json has all)", style="dim"))
    numbers = ("#", "quantity", "entry price", "exit price", "fees", "pnl")
    table = new_table("#", "side", "quantity", "entry", "entry price", "exit", "exit price", "fees", "pnl", "reason",
                   numbers=numbers)  # fmt: skip
    table.padding = (0, 1, 0, 0)
    for column in table.columns:
        column.overflow = "fold"  # a narrow terminal must not hide digits
        column.min_width = 10 if column.header in ("entry", "exit") else None
    first = max(hidden, 0)
    for number, trade in enumerate(trades[first:], start=first + 1):
        table.add_row(*_trade_cells(number, trade))
    console.print(table)
    console.print()


def _trade_cells(number: int, trade: Trade) -> list[str | Text]:
    pnl = Text(_DASH)
    if trade.pnl is not None:
        pnl = Text(_short(trade.pnl, 2), style="green" if trade.pnl > 0 else "red" if trade.pnl < 0 else "")
    reason = "open" if trade.exit_ts is None else (trade.exit_reason or _DASH)
    return [
        str(number),
        trade.side,
        _short(trade.quantity),
        _moment(trade.entry_ts),
        _short(trade.entry_price),
        _DASH if trade.exit_ts is None else _moment(trade.exit_ts),
        _DASH if trade.exit_price is None else _short(trade.exit_price),
        _short(trade.fees, 2),
        pnl,
        f"{reason} (ambiguous)" if trade.ambiguous else reason,
    ]


def _short(units: int, decimals: int = 4) -> str:
    """Fewer decimals where the number is not small: tables are for reading, --json is exact."""
    text = fixed.text(units)
    whole, _, fraction = text.partition(".")
    return text if abs(units) < fixed.SCALE or not fraction else f"{whole}.{fraction[:decimals]}"


def _moment(ns: int) -> str:
    return time_text(ns).removesuffix("T00:00:00Z").replace("T", " ").removesuffix("Z")


def _show_metrics(console: Console, metrics: Sequence[Metric]) -> None:
    table = new_table("metric", "value", "definition", numbers=("value",))
    table.columns[2].style = "dim"
    for metric in metrics:
        table.add_row(metric.name.replace("_", " "), figure(metric), metric.definition)
    console.print(table)


def _show_months(console: Console, months: Mapping[str, float]) -> None:
    """Print returns in percent, a row a year; the last column compounds them."""
    table = new_table("%", *_MONTHS, "year", numbers=(*_MONTHS, "year"))
    for year in sorted({month[:4] for month in months}):
        gains = [months.get(f"{year}-{number:02}") for number in range(1, 13)]
        whole = 100 * (prod(1 + gain / 100 for gain in gains if gain is not None) - 1)
        table.add_row(year, *(_gain(gain) for gain in gains), _gain(whole))
    console.print()
    console.print(table)
    console.print()


def _gain(percent: float | None) -> Text:
    if percent is None:
        return Text("")
    text = f"{percent:.0f}" if abs(percent) >= 10 else f"{percent:.1f}"  # thirteen columns in a narrow terminal
    return Text(text, style="green" if percent > 0 else "red" if percent < 0 else "")


def figure(metric: Metric) -> str:
    """A metric's value as people read it."""
    value = metric.value
    if value is None:
        return _DASH
    if metric.unit == "money":
        return str(value)
    if metric.unit == "percent":
        return f"{float(value):.2f} %"
    if metric.unit == "seconds":
        return _duration(float(value))
    return str(value) if isinstance(value, int) else f"{float(value):.3f}"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:g} s"


# Compile


def show_compilation(compilation: Compilation, answer: dict[str, Any], output: Path | None) -> None:
    """Print what the compiler made of a strategy."""
    console = Console()
    strategy = compilation.strategy
    console.print(Text(_title(strategy), style="bold"))
    report = answer["report"]
    facts = [
        ("artefact", answer["artefact"]),
        ("size", f"{answer['wasm_bytes']:,} bytes, {answer['state_bytes']:,} bytes of state a session"),
        ("warm-up", f"{_warmup(report)} with default parameters"),
        ("cost", f"at most {report['fuel_per_bar']:,} instructions a bar"),
        ("reads", ", ".join(report["feeds"]) or _DASH),
        ("orders", ", ".join(report["orders"]) or _DASH),
        ("never", ", ".join(report["never"]) or _DASH),
        ("node order", printable(" ".join(answer["node_order"]))),
        ("compiled in", f"{answer['timing']['compile_ms']:.1f} ms"),
    ]
    for key, value in facts:
        console.print(Text(f"  {key:<11} {value}"), soft_wrap=True)
    for parameter in answer["parameters"]:
        bounds = f"{_bound(parameter['min'])} to {_bound(parameter['max'])}"
        line = f"  parameter   {printable(parameter['name'])} = {parameter['default']} ({parameter['type']}, {bounds})"
        console.print(Text(line), soft_wrap=True)
    for line in diagnostic_lines(compilation.diagnostics):
        console.print(Text(f"  {line}", style="yellow"), soft_wrap=True)
    if output is not None:
        console.print(Text(f"Written to {output}"), soft_wrap=True)


def _warmup(report: Mapping[str, Any]) -> str:
    coarser = [f"{bars} of {timeframe}" for timeframe, bars in report["warmup_by_timeframe"].items()]
    return ", ".join([f"{report['warmup_bars']} bars", *coarser])


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


# Nodes


def show_nodes(types: Sequence[NodeType]) -> None:
    """Print the catalogue, a block a category."""
    console = Console()
    for category in dict.fromkeys(node.category for node in types):
        console.print(Text(category.value, style="bold"))
        table = new_table("node", "inputs", "outputs", "parameters", "what it is")
        for node in types:
            if node.category is category:
                inputs = [
                    port.name + ("" if port.required else "?") + ("…" if port.many else "") for port in node.inputs
                ]
                outputs = [port.name for port in node.outputs]
                parameters = [_parameter(param) for param in node.params]
                cells = [node.name, *(", ".join(names) for names in (inputs, outputs, parameters)), node.summary]
                table.add_row(*(escape(cell) for cell in cells))
        console.print(table)
        console.print()


def _parameter(param: Param) -> str:
    if param.default is None:
        return f"{param.name}?"
    default = f"{param.default:g}" if isinstance(param.default, float) else str(param.default)
    return f"{param.name}={default}"


# Explain


def show_explanation(explanation: Explanation) -> None:
    """Print every port's value at a bar and what became of it."""
    console = Console()
    place = f"bar {explanation.bar}, {time_text(explanation.ts)}, warm-up {explanation.warmup_bars}"
    console.print(Text(place, style="bold"))
    table = new_table("node", "port", "value", numbers=("value",))
    for (node, port), value in explanation.ports.items():
        table.add_row(Text(printable(node)), Text(port), port_text(value))
    console.print(table)
    console.print()
    for action in explanation.actions:
        console.print(Text(printable(action.sentence)), soft_wrap=True)


def port_text(value: float | bool | None) -> str:
    """A port's value as people read it: unknown and undefined are a dash."""
    if value is None:
        return _DASH
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.10g}"
