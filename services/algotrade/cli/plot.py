"""A backtest as one HTML file: price with its fills, equity, drawdown, months. It needs nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from algotrade.cli.failure import CommandError, printable
from algotrade.engine import fixed
from algotrade.engine.metrics import benchmark, drawdowns

if TYPE_CHECKING:
    from algotrade.cli.backtest import Outcome
    from algotrade.engine.trades import Trade

_MOST_POINTS: Final = 8_000  # a line; more would only make the page slow
_MOST_CANDLES: Final = 1_500
_MOST_TRADES: Final = 20_000

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Indices = npt.NDArray[np.int64]


def write_chart(path: Path, outcome: Outcome) -> None:
    """Write the chart. Raises CommandError where the file cannot be written."""
    figure = make_subplots(
        rows=4, cols=1, vertical_spacing=0.05, row_heights=[0.42, 0.22, 0.14, 0.22],
        subplot_titles=("Price", "Equity beside buying and holding", "Drawdown, %", "Returns by month, %"),
    )  # fmt: skip
    bars, equity = outcome.result.data, outcome.result.equity
    depth = 100 * drawdowns(equity, outcome.settings.initial_cash)
    figure.add_trace(_price(bars), 1, 1)
    for trace in _markers(outcome.result.trades[:_MOST_TRADES]):
        figure.add_trace(trace, 1, 1)
    held = benchmark(bars, outcome.settings.initial_cash)
    figure.add_trace(_line(bars["ts"], held, "buy and hold", "#aaaaaa"), 2, 1)
    figure.add_trace(_line(bars["ts"], equity, "equity", "#1f77b4"), 2, 1)
    figure.add_trace(_line(bars["ts"], depth, "drawdown", "#d62728", fill="tozeroy"), 3, 1)
    figure.add_trace(_months(outcome.monthly_returns), 4, 1)
    figure.update_xaxes(matches="x", row=2)
    figure.update_xaxes(matches="x", row=3)
    figure.update_yaxes(type="category", autorange="reversed", row=4)
    strategy = outcome.compilation.strategy
    name = strategy.name if strategy and strategy.name else "Strategy"
    hashes = f"artefact {outcome.artefact.hash[:12]}, data {outcome.file.data_hash[:12]}"
    figure.update_layout(
        title={"text": f"{_plain(name)}<br><sup>{hashes}</sup>"},
        template="plotly_white",
        hovermode="x unified",
        xaxis_rangeslider_visible=False,
        height=1200,
    )
    page = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False})
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CommandError("unwritable", f"{path}: cannot be written: {error.strerror}", path=str(path)) from None


def _months(returns: Mapping[str, float]) -> Any:
    """A square a month, a row a year."""
    years = sorted({month[:4] for month in returns})
    rows = [[returns.get(f"{year}-{number:02}") for number in range(1, 13)] for year in years]
    most = max((abs(gain) for gain in returns.values()), default=0) or 1
    return go.Heatmap(
        x=list(_MONTHS), y=years, z=rows, zmin=-most, zmax=most, zmid=0, colorscale="RdYlGn", showscale=False,
        text=[["" if gain is None else f"{gain:.1f}" for gain in row] for row in rows], texttemplate="%{text}",
        name="month", hoverongaps=False,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Plotly reads some HTML in titles; a name is only a name."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;")


def _price(bars: Any) -> Any:
    if len(bars) > _MOST_CANDLES:
        return _line(bars["ts"], bars["close"] / fixed.SCALE, "close", "#555555")
    columns = {name: bars[name] / fixed.SCALE for name in ("open", "high", "low", "close")}
    return go.Candlestick(x=_times(bars["ts"]), name="price", **columns)


def _line(stamps: Indices, values: npt.NDArray[np.float64], name: str, color: str, **style: Any) -> Any:
    kept = extremes(values, _MOST_POINTS)
    return go.Scatter(
        x=_times(stamps[kept]), y=values[kept], name=name, mode="lines", line={"color": color, "width": 1}, **style
    )


def extremes(values: npt.NDArray[np.float64], most: int) -> Indices:
    """Indices of at most `most` points (at least 4) that keep the line's shape: each bucket's least and greatest."""
    if len(values) <= most:
        return np.arange(len(values), dtype=np.int64)
    edges = np.linspace(0, len(values), most // 2, dtype=np.int64)
    kept = [{0, len(values) - 1}]
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[start:end]
        kept.append({start + int(part.argmin()), start + int(part.argmax())})
    return np.array(sorted(set().union(*kept)), dtype=np.int64)


_BUYS: Final = ("triangle-up", "#2ca02c")
_SELLS: Final = ("triangle-down", "#d62728")


def _markers(trades: tuple[Trade, ...]) -> list[Any]:
    """Entries and exits: what was bought points up, what was sold down."""
    closed = [trade for trade in trades if trade.exit_ts is not None]
    entries = go.Scatter(
        x=_times(np.array([trade.entry_ts for trade in trades], np.int64)),
        y=[trade.entry_price / fixed.SCALE for trade in trades],
        text=[f"{trade.side} {fixed.text(trade.quantity)}" for trade in trades],
        name="entry", mode="markers", marker=_marks([trade.side == "long" for trade in trades]),
    )  # fmt: skip
    exits = go.Scatter(
        x=_times(np.array([trade.exit_ts for trade in closed], np.int64)),
        y=[(trade.exit_price or 0) / fixed.SCALE for trade in closed],
        text=[f"{trade.exit_reason}, pnl {fixed.text(trade.pnl or 0)}" for trade in closed],
        name="exit", mode="markers", marker=_marks([trade.side == "short" for trade in closed]),
    )  # fmt: skip
    return [entries, exits]


def _marks(bought: list[bool]) -> dict[str, Any]:
    looks = [_BUYS if one else _SELLS for one in bought]
    return {"size": 10, "symbol": [symbol for symbol, _ in looks], "color": [color for _, color in looks]}


def _times(stamps: Indices) -> Any:
    return stamps.astype("datetime64[ns]").astype("datetime64[ms]")
