"""Candle patterns on every bar against TA-Lib: its sign where it is not 0, and nothing before its lookback."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import series
import talib
from talib import abstract

from algotrade.engine.compile import Compilation
from algotrade.engine.nodes.patterns import PATTERNS
from algotrade.engine.records import BAR, Records
from indicators.cases import Prices
from indicators.ports import Ports, compiled, values

GRID = 5_000_000  # prices of two decimals, as an exchange's, so that parts of candles are often equal
DEEPER = {name: 0.6 for name, pattern in PATTERNS.items() if pattern.penetration}


def random_candles(seed: int, grid: int, count: int = 2_000) -> Records:
    """Candles of every shape: many without a body or a shadow, and gaps."""
    rng = np.random.default_rng(seed)

    def steps(sigma: float) -> Any:
        return (rng.normal(0, sigma, count) * series.SCALE / grid).round().astype(np.int64) * grid

    out = np.zeros(count, BAR)
    out["ts"] = np.arange(count) * series.DAY
    out["close"] = 1_000 * series.SCALE + steps(1).cumsum()
    before = np.concatenate([out["close"][:1], out["close"][:-1]])
    out["open"] = np.where(rng.random(count) < 0.2, out["close"], before + steps(0.5))
    top, bottom = np.maximum(out["open"], out["close"]), np.minimum(out["open"], out["close"])
    out["high"] = top + np.where(rng.random(count) < 0.4, 0, np.abs(steps(0.7)))
    out["low"] = bottom - np.where(rng.random(count) < 0.4, 0, np.abs(steps(0.7)))
    out["volume"] = 1
    return out


SERIES = {
    "aapl": series.aapl,
    "spy": series.spy,
    **{f"grid {seed}": lambda seed=seed: random_candles(seed, GRID) for seed in range(4)},
    **{f"fine {seed}": lambda seed=seed: random_candles(seed, 1) for seed in range(2)},
    **series.AWKWARD,
}
NAMES = [pytest.param(name, marks=pytest.mark.data) if name == "spy" else name for name in SERIES]


@lru_cache(maxsize=1)
def build() -> Compilation:
    nodes: dict[str, Any] = {name: ("candle_pattern", {"name": name}) for name in PATTERNS}
    nodes |= {f"{name}_deep": ("candle_pattern", {"name": name, "penetration": p}) for name, p in DEEPER.items()}
    return compiled(nodes)


@lru_cache(maxsize=len(SERIES))
def ports(name: str) -> tuple[Prices, Ports]:
    bars = SERIES[name]()
    return Prices.of(bars), values(build(), bars)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_same_bars_as_talib(pattern: str, name: str) -> None:
    prices, found = ports(name)
    columns = (prices.open, prices.high, prices.low, prices.close)
    check(found, pattern, getattr(talib, pattern)(*columns), abstract.Function(pattern).lookback)
    if pattern in DEEPER:
        deeper = getattr(talib, pattern)(*columns, penetration=DEEPER[pattern])
        check(found, f"{pattern}_deep", deeper, abstract.Function(pattern).lookback)


def check(found: Ports, node: str, signs: Any, lookback: int) -> None:
    for port, there in (("bullish", signs > 0), ("bearish", signs < 0)):
        got = found[node, port]
        assert np.isnan(got[:lookback]).all()
        assert np.array_equal(got[lookback:] == 1, there[lookback:])
        assert not np.isnan(got[lookback:]).any()


def test_every_pattern_comes_up() -> None:
    """So that none is only ever seen absent."""
    found = [ports(name)[1] for name in SERIES if name != "spy"]
    for pattern in PATTERNS:
        assert any((one[pattern, port] == 1).any() for one in found for port in ("bullish", "bearish")), pattern
