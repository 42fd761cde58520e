"""What a run made, and what holding would have made."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from algotrade.engine import fixed
from algotrade.engine.metrics.curve import benchmark, by_day, by_month
from algotrade.engine.metrics.figure import YEAR, Figure, Run, less, percent


def growth(run: Run) -> Iterable[Figure]:
    """Profit, and how fast it grew."""
    ratio = run.final_equity / run.initial_cash if run.initial_cash else None
    peak = max(run.initial_cash, round(float(run.equity.max()) * fixed.SCALE))
    realized = sum(int(trade.pnl) for trade in run.trades if trade.pnl is not None)
    yield "initial_cash", run.initial_cash, "money", "cash at the start"
    yield "final_equity", run.final_equity, "money", "cash + quantity x close at the last bar"
    yield "equity_peak", peak, "money", "highest equity at a close"
    yield "net_profit", run.final_equity - run.initial_cash, "money", "final equity - initial cash"
    yield (
        "open_trade_pnl",
        run.final_equity - run.initial_cash - realized,
        "money",
        "net profit - pnl of closed trades: what is still held, less the fees of its entry",
    )
    yield "total_return", percent(less(ratio, 1)), "percent", "final equity / initial cash - 1"
    yield "cagr", percent(cagr(run)), "percent", "(final equity / initial cash) ^ (1 / years of 365.25 days) - 1"


def surroundings(run: Run) -> Iterable[Figure]:
    """Benchmark, exposure, and the best and worst days and months."""
    held = benchmark(run.bars, fixed.SCALE)
    yield "buy_and_hold_return", percent(float(held[-1]) - 1), "percent", "last close / first open - 1, without costs"
    yield "exposure", 100 * float(np.mean(_held(run))), "percent", "bars at whose close a position was open / all bars"
    yield from _calendar(run)


def _calendar(run: Run) -> Iterable[Figure]:
    days, (_, months) = by_day(run), by_month(run)
    yield "best_day", 100 * float(days.max()), "percent", "greatest return of a day"
    yield "worst_day", 100 * float(days.min()), "percent", "least return of a day"
    yield "winning_days", 100 * float(np.mean(days > 0)), "percent", "days with a return above 0 / days with a bar"
    yield "best_month", 100 * float(months.max()), "percent", "greatest return of a month"
    yield "worst_month", 100 * float(months.min()), "percent", "least return of a month"
    yield "winning_months", 100 * float(np.mean(months > 0)), "percent", "months with a return above 0 / months"


def cagr(run: Run) -> float | None:
    """Growth a year, as a share."""
    stamps = run.bars["ts"]
    if len(stamps) < 2 or not run.initial_cash:
        return None
    years = (int(stamps[-1]) - int(stamps[0]) + float(np.median(np.diff(stamps)))) / YEAR
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
