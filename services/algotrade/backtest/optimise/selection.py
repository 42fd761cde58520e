"""How much of what the best trial shows may be luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import e
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from algotrade.engine.metrics import Run
from algotrade.engine.metrics.curve import returns
from algotrade.engine.metrics.risk import sharpe_probability

if TYPE_CHECKING:
    from algotrade.engine.trades import Trade

_EULER: Final = 0.5772156649015329
RESAMPLED: Final = 1_000  # orders of trades that are tried


def deflated_sharpe(run: Run, sharpes: Sequence[float], annual: float) -> float | None:
    """The probability that the true Sharpe ratio of the best of many trials is above what chance alone would give.

    ``sharpes``: those of all trials, annualised by the factor ``annual``. Source: Bailey and López de Prado, The
    Deflated Sharpe Ratio (2014).
    """
    if not annual:
        return None
    return sharpe_probability(returns(run.equity), expected_best([one / annual for one in sharpes]))


def expected_best(sharpes: Sequence[float]) -> float:
    """The Sharpe ratio that the best of so many worthless trials can be expected to show."""
    count = len(sharpes)
    if count < 2:
        return 0.0
    quantile = NormalDist().inv_cdf
    spread = float(np.std(np.array(sharpes), ddof=1))
    return spread * ((1 - _EULER) * quantile(1 - 1 / count) + _EULER * quantile(1 - 1 / (count * e)))


@dataclass(frozen=True, slots=True)
class Resampled:
    """Percentiles over many orders of the same trades, in percent: of the return 5, 50 and 95, of the drawdown 50, 95.

    Drawdowns come from the trades in another order; returns, which no order changes, from as many drawn with repeats.
    """

    returns: tuple[float, float, float]
    drawdowns: tuple[float, float]
    loss_probability: float


def resample(trades: Sequence[Trade], initial_cash: int, seed: int, count: int = RESAMPLED) -> Resampled | None:
    """Shuffle closed trades, each gaining the share of the balance that it did gain; None for fewer than two."""
    pnl = np.array([trade.pnl for trade in trades if trade.pnl is not None], np.float64)
    if len(pnl) < 2:
        return None
    before = initial_cash + np.concatenate([[0.0], np.cumsum(pnl)[:-1]])
    if (before <= 0).any():
        return None
    growth = 1 + pnl / before
    generator = np.random.default_rng(seed)
    orders = np.array([_paths(growth, generator.permutation(len(growth))) for _ in range(count)])
    drawn = np.array([float(np.prod(generator.choice(growth, len(growth)))) - 1 for _ in range(count)])
    low, middle, high = (100 * float(value) for value in np.percentile(drawn, [5, 50, 95]))
    typical, deep = (-100 * float(value) for value in np.percentile(-orders, [50, 95]))
    return Resampled((low, middle, high), (typical, deep), 100 * float(np.mean(drawn < 0)))


def _paths(growth: npt.NDArray[np.float64], order: npt.NDArray[np.int64]) -> float:
    """The deepest fall of the balance, below 0, as a share of its peak."""
    balance = np.concatenate([[1.0], np.cumprod(growth[order])])
    return float((balance / np.maximum.accumulate(balance) - 1).min())


def efficiency(inside: Sequence[float | None], outside: Sequence[float | None]) -> float | None:
    """Walk-forward efficiency: mean growth a year out of sample / in sample, of what was chosen in each fold.

    Source: R. Pardo, The Evaluation and Optimization of Trading Strategies (2008).
    """
    pairs = [(a, b) for a, b in zip(inside, outside, strict=True) if a is not None and b is not None]
    if not pairs or (total := sum(a for a, _ in pairs)) <= 0:
        return None
    return sum(b for _, b in pairs) / total
