"""What a run's returns were like: how they spread, how deep they fell, how they moved with the benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from math import erf, sqrt
from typing import Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.metrics.curve import PERIODS, benchmark, drawdowns, periods_per_year, returns, spells
from algotrade.engine.metrics.figure import SECOND, Figure, Floats, Run, less, mean, over, percent, times
from algotrade.engine.metrics.growth import cagr

_PROBABLE: Final = (
    "probability that the true Sharpe ratio is above 0, given length, skewness and kurtosis"
    " (Bailey and López de Prado, The Sharpe Ratio Efficient Frontier, 2012)"
)


def risk(run: Run) -> Iterable[Figure]:
    """Ratios of return to risk, and the deepest fall."""
    changes = returns(run.equity)
    year = periods_per_year(run.bars["ts"])
    annual = None if year is None else sqrt(year)
    average, spread = _moments(changes)
    downside = sqrt(float(np.mean(np.minimum(changes, 0) ** 2))) if len(changes) else None
    depth = min(float(drawdowns(run.equity, run.initial_cash).min()), 0.0)
    yield "periods_per_year", year, "count", PERIODS
    yield (
        "volatility",
        percent(times(spread, annual)),
        "percent",
        "deviation of returns (n - 1) x sqrt(periods a year)",
    )
    yield "sharpe", times(over(average, spread), annual), "ratio", "mean return / deviation x sqrt(periods a year)"
    yield (
        "sortino",
        times(over(average, downside), annual),
        "ratio",
        "mean return / root mean square of the returns below 0 (over all returns) x sqrt(periods a year)",
    )
    yield "calmar", over(cagr(run), -depth), "ratio", "CAGR / -max drawdown"
    yield "max_drawdown", 100 * depth, "percent", "lowest equity / its running peak (initial cash included) - 1"


def shape(run: Run) -> Iterable[Figure]:
    """The shape of the returns, every fall, and the relation to buying and holding."""
    changes = returns(run.equity)
    yield "probabilistic_sharpe", percent(_probability(changes)), "percent", _PROBABLE
    yield from _shape(changes)
    yield from _falls(run)
    yield from _beside_the_benchmark(run, changes, periods_per_year(run.bars["ts"]))


def _moments(changes: Floats) -> tuple[float | None, float | None]:
    return (float(np.mean(changes)), float(np.std(changes, ddof=1))) if len(changes) > 1 else (None, None)


def _shape(changes: Floats) -> Iterable[Figure]:
    gains, losses = float(changes[changes > 0].sum()), -float(changes[changes < 0].sum())
    worst = float(np.percentile(changes, 5)) if len(changes) else None
    tail = changes[changes <= worst] if worst is not None else changes
    skew, kurtosis = standardised(changes, 3), standardised(changes, 4)
    yield "omega", over(gains, losses), "ratio", "sum of the returns above 0 / -sum of those below"
    yield "skewness", skew, "ratio", "mean of ((return - mean) / deviation (n)) ^ 3"
    yield "kurtosis", less(kurtosis, 3), "ratio", "mean of ((return - mean) / deviation (n)) ^ 4, less 3"
    yield "value_at_risk", percent(worst), "percent", "5th percentile of the returns of a bar (linear)"
    yield (
        "expected_shortfall",
        percent(mean(tail.tolist())),
        "percent",
        "mean of the returns at or below the value at risk",
    )
    yield (
        "tail_ratio",
        over(float(np.percentile(changes, 95)), abs(worst)) if worst is not None else None,
        "ratio",
        "95th percentile of the returns / size of the 5th",
    )


def _falls(run: Run) -> Iterable[Figure]:
    fallen = drawdowns(run.equity, run.initial_cash)
    peaks = np.maximum(np.maximum.accumulate(run.equity), run.initial_cash / fixed.SCALE)
    amount = round(float((peaks - run.equity).max()) * fixed.SCALE)
    deepest, lasted = spells(run)
    yield "max_drawdown_amount", max(amount, 0), "money", "greatest running peak - equity"
    yield "average_drawdown", percent(mean(deepest.tolist())), "percent", "mean of the deepest fall of each drawdown"
    yield (
        "max_drawdown_duration",
        float(lasted.max(initial=0)) / SECOND,
        "seconds",
        "longest time from a peak to the close that reached it again, or to the end",
    )
    yield (
        "average_drawdown_duration",
        over(mean(lasted.tolist()), SECOND),
        "seconds",
        "mean time from a peak to the close that reached it again, or to the end",
    )
    yield "ulcer_index", 100 * sqrt(float(np.mean(fallen**2))), "percent", "root mean square of the drawdowns at closes"
    yield (
        "recovery_factor",
        over(run.final_equity - run.initial_cash, amount),
        "ratio",
        "net profit / max drawdown amount",
    )


def _beside_the_benchmark(run: Run, changes: Floats, year: float | None) -> Iterable[Figure]:
    held = returns(benchmark(run.bars, run.initial_cash))
    beta = alpha = correlation = information = None
    if len(held) > 1:
        together = float(np.cov(changes, held, ddof=1)[0, 1])
        beta = over(together, float(np.var(held, ddof=1)))
        correlation = over(together, float(np.std(changes, ddof=1) * np.std(held, ddof=1)))
        information = over(*_moments(changes - held))
    if beta is not None and year is not None:
        alpha = float(np.power(1 + np.mean(changes - beta * held), year)) - 1
    yield "beta", beta, "ratio", "covariance of returns with the benchmark's / variance of those"
    yield "alpha", percent(alpha), "percent", "(1 + mean of return - beta x the benchmark's) ^ periods a year - 1"
    yield "correlation", correlation, "ratio", "correlation of returns with the benchmark's"
    yield (
        "information_ratio",
        times(information, None if year is None else sqrt(year)),
        "ratio",
        "mean return above the benchmark's / its deviation (n - 1) x sqrt(periods a year)",
    )


def standardised(changes: Floats, moment: int) -> float | None:
    """The mean of a power of returns less their mean, over the deviation (n); None where they do not spread."""
    if len(changes) < 2:
        return None
    spread = float(np.std(changes))
    return float(np.mean(((changes - np.mean(changes)) / spread) ** moment)) if spread > 0 else None


def _probability(changes: Floats) -> float | None:
    return sharpe_probability(changes, 0.0)


def sharpe_probability(changes: Floats, above: float) -> float | None:
    """The probability that the true Sharpe ratio of returns, a bar, is above a level."""
    average, spread = _moments(changes)
    ratio = over(average, spread)
    skew, kurtosis = standardised(changes, 3), standardised(changes, 4)
    if ratio is None or skew is None or kurtosis is None:
        return None
    return probability_above(ratio, above, len(changes), skew, kurtosis)


def probability_above(ratio: float, above: float, count: int, skew: float, kurtosis: float) -> float | None:
    """The same from the ratio that was seen in ``count`` returns, their skewness and their kurtosis (3 is normal)."""
    variance = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    if variance <= 0:
        return None
    return (1 + erf((ratio - above) * sqrt(count - 1) / sqrt(variance) / sqrt(2))) / 2
