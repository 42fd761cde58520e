"""Performance statistics of one run, each with its unit and the definition it is computed by.

Bases: equity is taken at bar closes (cash + quantity x close); a return is its change from one close to the next; the
risk-free rate is 0; per-trade figures count closed trades only, each exit portion as one trade, net of both fees;
a year of bars is inferred from the bars themselves (see `periods_per_year`).
Money is exact and kept as decimal text; every other value is a float or an int, or None where it is undefined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from algotrade.engine import fixed
from algotrade.engine.records import Records

if TYPE_CHECKING:
    from algotrade.engine.trades import Trade

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Unit = Literal["percent", "ratio", "money", "count", "seconds"]
Value = float | int | str | None

_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400 * _SECOND
_YEAR: Final = 31_557_600 * _SECOND  # 365.25 days


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure. `value` is decimal text for money, None where undefined; `unit` says how to show it."""

    name: str
    value: Value
    unit: Unit
    definition: str


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is judged by.

    `bars`: BAR records, shape (n,), n > 0; `equity`: float64, shape (n,), at each close; amounts in units of 1e-8.
    """

    bars: Records
    equity: Floats
    initial_cash: int
    final_equity: int
    trades: Sequence[Trade]


def performance(run: Run) -> tuple[Metric, ...]:
    """All statistics of a run, in the order in which they are shown."""
    if not len(run.bars) or len(run.bars) != len(run.equity):
        raise ValueError(f"{len(run.bars)} bars and {len(run.equity)} points of equity")
    with np.errstate(all="ignore"):
        return tuple(_metric(*figure) for figure in _figures(run))


def of_trades(trades: Sequence[Trade]) -> tuple[Metric, ...]:
    """The statistics that need trades alone, open ones among them, for runs that keep no equity at bar closes."""
    with np.errstate(all="ignore"):
        return tuple(_metric(*figure) for figure in _trading(trades))


def values(metrics: Iterable[Metric]) -> dict[str, Value]:
    """Name -> value, ready for JSON."""
    return {metric.name: metric.value for metric in metrics}


_Figure = tuple[str, float | None, Unit, str]


def _metric(name: str, number: float | None, unit: Unit, definition: str) -> Metric:
    value: Value = number
    if number is None:
        value = None
    elif unit == "money":
        value = fixed.text(int(number))
    elif not np.isfinite(number):
        value = None
    elif unit == "count" and float(number).is_integer():
        value = int(number)
    return Metric(name, value, unit, definition)


def _figures(run: Run) -> Iterable[_Figure]:
    yield from _growth(run)
    yield from _risk(run)
    yield from _trading(run.trades)


def _growth(run: Run) -> Iterable[_Figure]:
    ratio = run.final_equity / run.initial_cash if run.initial_cash else None
    first, last = run.bars[0], run.bars[-1]
    hold = float(last["close"]) / float(first["open"]) - 1
    yield "initial_cash", run.initial_cash, "money", "cash at the start"
    yield "final_equity", run.final_equity, "money", "cash + quantity x close at the last bar"
    yield "net_profit", run.final_equity - run.initial_cash, "money", "final equity - initial cash"
    yield "total_return", _percent(_less(ratio, 1)), "percent", "final equity / initial cash - 1"
    yield "cagr", _percent(_cagr(run)), "percent", "(final equity / initial cash) ^ (1 / years of 365.25 days) - 1"
    yield "buy_and_hold_return", _percent(hold), "percent", "last close / first open - 1, without costs"
    yield "exposure", 100 * float(np.mean(_held(run))), "percent", "bars at whose close a position was open / all bars"


def _risk(run: Run) -> Iterable[_Figure]:
    year = periods_per_year(run.bars["ts"])
    returns = _returns(run.equity)
    mean, spread = (float(np.mean(returns)), float(np.std(returns, ddof=1))) if len(returns) > 1 else (None, None)
    downside = sqrt(float(np.mean(np.minimum(returns, 0) ** 2))) if len(returns) else None
    depth, days = _drawdown(run)
    annual = None if year is None else sqrt(year)
    yield "periods_per_year", year, "count", _PERIODS
    yield (
        "volatility",
        _percent(_times(spread, annual)),
        "percent",
        "deviation of returns (n - 1) x sqrt(periods a year)",
    )
    yield "sharpe", _times(_over(mean, spread), annual), "ratio", "mean return / deviation x sqrt(periods a year)"
    yield (
        "sortino",
        _times(_over(mean, downside), annual),
        "ratio",
        "mean return / root mean square of the returns below 0 (over all returns) x sqrt(periods a year)",
    )
    yield "calmar", _over(_cagr(run), -depth), "ratio", "CAGR / -max drawdown"
    yield "max_drawdown", 100 * depth, "percent", "lowest equity / its running peak (initial cash included) - 1"
    yield (
        "max_drawdown_duration",
        days,
        "seconds",
        "longest time from a peak to the close that reached it again, or to the end",
    )


def _trading(trades: Sequence[Trade]) -> Iterable[_Figure]:
    closed = [trade for trade in trades if trade.pnl is not None]
    pnl = [int(trade.pnl) for trade in closed if trade.pnl is not None]
    wins, losses = [p for p in pnl if p > 0], [p for p in pnl if p < 0]
    shares = np.array([100 * p / _cost(trade) for p, trade in zip(pnl, closed, strict=True)], np.float64)
    seconds = [(int(t.exit_ts) - int(t.entry_ts)) / _SECOND for t in closed if t.exit_ts is not None]
    some = bool(closed)
    spread = float(np.std(np.array(pnl, np.float64), ddof=1)) if len(pnl) > 1 else None
    expectancy = sum(pnl) / len(pnl) if some else None
    yield "trades", len(trades), "count", "all trades, open ones included"
    yield "closed_trades", len(closed), "count", "trades with an exit; the figures below count these only"
    yield "win_rate", 100 * len(wins) / len(closed) if some else None, "percent", "trades with pnl > 0 / closed trades"
    yield "profit_factor", _over(sum(wins), -sum(losses)), "ratio", "sum of gains / -sum of losses"
    yield "payoff_ratio", _over(_mean(wins), -(_mean(losses) or 0)), "ratio", "average gain / -average loss"
    yield "expectancy", _rounded_mean(pnl), "money", "mean pnl of a trade"
    yield (
        "sqn",
        _times(_over(expectancy, spread), sqrt(len(pnl))),
        "ratio",
        "mean pnl / its deviation (n - 1) x sqrt(trades)",
    )
    yield "average_trade", float(np.mean(shares)) if some else None, "percent", "mean of pnl / (quantity x entry price)"
    yield "best_trade", float(np.max(shares)) if some else None, "percent", "greatest pnl / (quantity x entry price)"
    yield "worst_trade", float(np.min(shares)) if some else None, "percent", "least pnl / (quantity x entry price)"
    yield "best_trade_pnl", max(pnl) if some else None, "money", "greatest pnl"
    yield "worst_trade_pnl", min(pnl) if some else None, "money", "least pnl"
    yield "max_consecutive_losses", _longest_run(p < 0 for p in pnl), "count", "longest run of trades with pnl < 0"
    yield "average_duration", _mean(seconds), "seconds", "mean time from entry to exit"
    yield "max_duration", max(seconds, default=None), "seconds", "longest time from entry to exit"
    yield "fees_paid", sum(int(trade.fees) for trade in trades), "money", "fees of all fills, open trades included"
    yield (
        "ambiguous_trades",
        sum(trade.ambiguous for trade in closed),
        "count",
        "exits that depended on the path inside a bar",
    )


# The parts

_PERIODS: Final = "bars a year, inferred: 365 days (252 without bars on weekends) x median bars a day"


def periods_per_year(stamps: Integers) -> float | None:
    """Bars a year, inferred from their stamps (int64 ns, ascending); None for fewer than two bars.

    365 days, or 252 where a week or more has no bar on a weekend (UTC), times the median of bars a day; within one
    day: 365 days / the median spacing; where that is over 1.5 days: 365.25 days / the median spacing.
    """
    if len(stamps) < 2:
        return None
    spacing = float(np.median(np.diff(stamps)))
    if spacing <= 0:
        return None
    if spacing > 1.5 * _DAY:
        return _YEAR / spacing
    days = stamps // _DAY
    bars_a_day = np.unique(days, return_counts=True)[1]
    if len(bars_a_day) == 1:
        return 365 * _DAY / spacing
    weekend = (days + 3) % 7 >= 5  # the epoch was a Thursday
    year = 252 if days[-1] - days[0] >= 7 and not weekend.any() else 365
    return year * float(np.median(bars_a_day))


def drawdowns(equity: Floats, initial_cash: int) -> Floats:
    """Equity / its running peak - 1 at each close (shape n); the initial cash is the first peak."""
    peaks = np.maximum(np.maximum.accumulate(equity), initial_cash / fixed.SCALE)
    return np.asarray(equity / peaks - 1, np.float64)


def _drawdown(run: Run) -> tuple[float, float]:
    depth = drawdowns(run.equity, run.initial_cash)
    under = depth < 0
    index = np.arange(len(under))
    peak = np.maximum.accumulate(np.where(under, 0, index))
    stamps = run.bars["ts"]
    spells = np.where(under[1:] | under[:-1], stamps[1:] - stamps[peak[:-1]], 0)
    return min(float(depth.min()), 0.0), float(spells.max(initial=0)) / _SECOND


def _returns(equity: Floats) -> Floats:
    return np.asarray(equity[1:] / equity[:-1] - 1, np.float64)


def _cagr(run: Run) -> float | None:
    stamps = run.bars["ts"]
    if len(stamps) < 2 or not run.initial_cash:
        return None
    years = (int(stamps[-1]) - int(stamps[0]) + float(np.median(np.diff(stamps)))) / _YEAR
    ratio = max(run.final_equity / run.initial_cash, 0.0)
    return float(np.power(np.float64(ratio), 1 / years)) - 1


def _held(run: Run) -> npt.NDArray[np.bool_]:
    """At which closes a position was open."""
    stamps = run.bars["ts"]
    steps = np.zeros(len(stamps) + 1, np.int64)
    for trade in run.trades:
        entered = max(int(np.searchsorted(stamps, trade.entry_ts, side="right")) - 1, 0)
        left = len(stamps)
        if trade.exit_ts is not None:
            left = max(int(np.searchsorted(stamps, trade.exit_ts, side="right")) - 1, entered)
        steps[entered] += 1
        steps[left] -= 1
    return np.cumsum(steps)[:-1] > 0


def _cost(trade: Trade) -> float:
    return int(trade.quantity) * int(trade.entry_price) / fixed.SCALE


def _longest_run(flags: Iterable[bool]) -> int:
    longest = length = 0
    for flag in flags:
        length = length + 1 if flag else 0
        longest = max(longest, length)
    return longest


def _rounded_mean(amounts: Sequence[int]) -> int | None:
    """The mean to the nearest unit of 1e-8, in integers; halves go up."""
    return (2 * sum(amounts) + len(amounts)) // (2 * len(amounts)) if amounts else None


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def _over(top: float | None, bottom: float | None) -> float | None:
    return None if top is None or not bottom else top / bottom


def _times(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left * right


def _less(left: float | None, right: float) -> float | None:
    return None if left is None else left - right


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
