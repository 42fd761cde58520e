"""The bars that every question is measured on: a seeded walk with clustered volatility and slow drift regimes.

Drift is there for a reason: on a drift-free walk an all-in crossover at 0.1 % a side loses nearly everything within a
million bars, and comparing final equities would compare rounding. Prices lie on a grid of 0.01, so that engines with
floats and engines with integers see the same numbers.
"""

from __future__ import annotations

import numpy as np

from algotrade.engine.records import BAR, Records

SEED = 20_240_607
MINUTE = 60_000_000_000
START = 1_609_459_200_000_000_000  # 2021-01-01T00:00:00Z
CENT = 1_000_000  # of 1e-8


def bars(count: int, seed: int = SEED) -> Records:
    """`count` one-minute bars (dtype BAR) from a price of 30,000."""
    rng = np.random.default_rng(seed)
    volatility = 5.0e-4 * np.exp(0.35 * slow_noise(rng, count))
    rising = np.cumsum(rng.random(count) < 1 / 360) % 2 == 0
    drift = np.where(rising, 6.3e-5, -6.3e-5) * volatility / 5.0e-4
    gap = rng.standard_normal(count) * volatility * 0.1
    move = drift + rng.standard_normal(count) * volatility
    close = np.log(30_000.0) + np.cumsum(gap + move)
    first, last = np.exp(close - move), np.exp(close)
    high = np.maximum(first, last) * np.exp(np.abs(rng.standard_normal(count)) * volatility * 0.5)
    low = np.minimum(first, last) * np.exp(-np.abs(rng.standard_normal(count)) * volatility * 0.5)
    out = np.zeros(count, BAR)
    out["ts"] = START + MINUTE * np.arange(count)
    for name, price in (("open", first), ("high", high), ("low", low), ("close", last)):
        out[name] = np.rint(price * 100).astype(np.int64) * CENT
    out["volume"] = np.round(np.exp(rng.standard_normal(count) * 0.8 + 1.5), 4)
    return out


def slow_noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Standard normal levels that drift from day to day: one draw a day, joined by straight lines."""
    days = count // 1440 + 2
    return np.interp(np.arange(count), np.arange(days) * 1440, rng.standard_normal(days))
