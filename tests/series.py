"""Price series for tests: real daily bars, and series made to be awkward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import hvsampledata
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from algotrade.engine.records import BAR, Records

SCALE = 100_000_000
DAY = 86_400 * 1_000_000_000
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

Floats = npt.NDArray[np.float64]


def aapl() -> Records:
    """AAPL, 1,509 daily bars from 2019 to 2024."""
    return from_frame(hvsampledata.apple_stocks("polars"), "date")


def spy() -> Records:
    """SPY, 5,849 daily bars from 1998 to 2021; skips the test where the data is absent."""
    return real("spy_1d_1998-2021.csv")


def real(name: str) -> Records:
    """A series of ../shared/data; skips the test where it is absent."""
    path = REAL_DATA / name
    if not path.exists():
        pytest.skip(f"needs {path.name} in ../shared/data")
    return from_frame(pl.read_csv(path, try_parse_dates=True), "timestamp")


def from_frame(frame: pl.DataFrame, time: str) -> Records:
    out = np.zeros(len(frame), BAR)
    out["ts"] = frame[time].cast(pl.Datetime("ns")).cast(pl.Int64).to_numpy()
    for name in ("open", "high", "low", "close"):
        out[name] = np.rint(frame[name].cast(pl.Float64).to_numpy() * SCALE).astype(np.int64)
    out["volume"] = frame["volume"].cast(pl.Float64).to_numpy()
    return out


def bars(closes: npt.NDArray[np.int64], seed: int = 5) -> Records:
    """Daily bars through the given closes (units of 1e-8), each with a range around its move."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(closes), BAR)
    out["ts"] = DAY * np.arange(len(closes))
    out["close"] = closes
    out["open"] = np.concatenate([closes[:1], closes[:-1]])
    top, bottom = np.maximum(out["open"], closes), np.minimum(out["open"], closes)
    out["high"] = top + (top * rng.random(len(closes)) * 0.01).astype(np.int64)
    out["low"] = np.maximum(1, bottom - (bottom * rng.random(len(closes)) * 0.01).astype(np.int64))
    out["volume"] = rng.integers(0, 1000, len(closes))
    return out


def walk(start: int, count: int = 600, sigma: float = 0.01, seed: int = 11) -> Records:
    steps = np.random.default_rng(seed).normal(0, sigma, count).cumsum()
    return bars(np.maximum(1, np.rint(start * np.exp(steps))).astype(np.int64))


def flat(bars_: Records) -> Records:
    """The same closes with no range at all."""
    for name in ("open", "high", "low"):
        bars_[name] = bars_["close"]
    return bars_


COUNT = 600
STEPS = np.arange(COUNT)
AWKWARD: Mapping[str, Callable[[], Records]] = {
    "constant": lambda: flat(bars(np.full(COUNT, 12_850_000_000))),
    "rising": lambda: flat(bars(10_000_000_000 + STEPS * 1_000_000)),
    "falling": lambda: flat(bars(10_000_000_000 - STEPS * 1_000_000)),
    "alternating": lambda: bars(np.where(STEPS % 2 == 0, 100 * SCALE, 101 * SCALE)),
    "jumps": lambda: bars(np.where(STEPS // 50 % 2 == 0, 10 * SCALE, 10_000 * SCALE)),
    "one spike": lambda: bars(np.where(STEPS == 300, 1_000_000 * SCALE, 100 * SCALE)),
    "still after moving": lambda: bars(np.where(STEPS < 100, 100 * SCALE + STEPS * 7_654_321, 107 * SCALE)),
    "small": lambda: walk(100_000),
    "tiny": lambda: walk(5_000),
    "big": lambda: walk(90_000_000_000_000),
    "quiet": lambda: walk(3_000_000_000_000, sigma=1e-6),
    "wild": lambda: walk(10_000_000_000, sigma=0.2),
}


def at_closes(*closes: float) -> Records:
    """Bars, one a minute, that open, trade and close at one price each; volume 1."""
    out = np.zeros(len(closes), BAR)
    for name in ("open", "high", "low", "close"):
        out[name] = np.rint(np.array(closes) * SCALE).astype(np.int64)
    out["ts"], out["volume"] = np.arange(len(closes)) * 60 * 1_000_000_000, 1.0
    return out
