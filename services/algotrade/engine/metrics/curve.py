"""The curves that statistics are read from: equity, the benchmark, drawdowns, returns by bar, day and month."""

from __future__ import annotations

from typing import Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.metrics.figure import DAY, YEAR, Floats, Integers, Run
from algotrade.engine.records import Records

PERIODS: Final = "bars a year, inferred: 365 days (252 without bars on weekends) x median bars a day"


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
    if spacing > 1.5 * DAY:
        return YEAR / spacing
    days = stamps // DAY
    bars_a_day = np.unique(days, return_counts=True)[1]
    if len(bars_a_day) == 1:
        return 365 * DAY / spacing
    weekend = (days + 3) % 7 >= 5  # the epoch was a Thursday
    year = 252 if days[-1] - days[0] >= 7 and not weekend.any() else 365
    return year * float(np.median(bars_a_day))


def returns(equity: Floats) -> Floats:
    """The change from each point to the next, as a share of it (shape n - 1)."""
    with np.errstate(all="ignore"):
        return np.asarray(equity[1:] / equity[:-1] - 1, np.float64)


def benchmark(bars: Records, initial_cash: int) -> Floats:
    """What the cash would be worth at each close, had it been spent at the first open, without costs (shape n)."""
    return np.asarray(initial_cash / fixed.SCALE * (bars["close"] / bars["open"][0]), np.float64)


def drawdowns(equity: Floats, initial_cash: int) -> Floats:
    """Equity / its running peak - 1 at each close (shape n); the initial cash is the first peak."""
    peaks = np.maximum(np.maximum.accumulate(equity), initial_cash / fixed.SCALE)
    return np.asarray(equity / peaks - 1, np.float64)


def spells(run: Run) -> tuple[Floats, Floats]:
    """Each time under water: how deep it went (below 0), and how long from the peak to the close that reached it again.

    Durations are in nanoseconds; the last may not have ended. Shapes (spells,).
    """
    depth = drawdowns(run.equity, run.initial_cash)
    under = np.concatenate([[False], depth < 0, [False]])
    starts = np.flatnonzero(~under[:-1] & under[1:])
    ends = np.flatnonzero(under[:-1] & ~under[1:])
    stamps = run.bars["ts"]
    deepest = np.minimum.reduceat(depth, starts) if len(starts) else np.zeros(0)  # what lies between spells is 0
    peaks, again = np.maximum(starts - 1, 0), np.minimum(ends, len(stamps) - 1)
    return deepest, np.asarray(stamps[again] - stamps[peaks], np.float64)


def by_day(run: Run) -> Floats:
    """The return of each day (UTC) that has a bar, from the close of the last such day; the first from the start."""
    return _by_period(run, run.bars["ts"] // DAY)


def by_month(run: Run) -> tuple[Integers, Floats]:
    """Months since January 1970 (UTC) that have a bar, and the return of each from the close of the one before."""
    months = run.bars["ts"].astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    return np.unique(months), _by_period(run, months)


def _by_period(run: Run, periods: Integers) -> Floats:
    last = np.flatnonzero(np.concatenate([periods[1:] != periods[:-1], [True]]))
    return returns(np.concatenate([[run.initial_cash / fixed.SCALE], run.equity[last]]))


def monthly_returns(run: Run) -> dict[str, float]:
    """Return of each month that has a bar, in percent, by ``YYYY-MM``."""
    months, gains = by_month(run)
    return {f"{1970 + m // 12}-{m % 12 + 1:02}": 100 * g for m, g in zip(months.tolist(), gains.tolist(), strict=True)}
