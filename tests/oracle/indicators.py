"""TA-Lib's indicators by their definitions: each call gets the whole history and returns the last value.

Every function takes the inputs consumed so far, oldest first, and returns NaN before the first defined value. The
second number returned is a bound on how far another correct order of the same floating-point sums may lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

NAN = math.nan
ROUNDING = 1e-13  # running sums of a few hundred terms err by about 4e-14 of the largest
WILDER = 2e-14  # his recursion forgets its errors

Value = tuple[float, float]
UNDEFINED: Value = (NAN, 0.0)


def largest(values: Sequence[Value]) -> float:
    return max(abs(v) for v, _ in values)


def spread(values: Sequence[Value]) -> float:
    """Error of an average of `values`: the worst of theirs and the rounding of the sum."""
    return 0.0 if steady(values) else max(e for _, e in values) + ROUNDING * largest(values)


def steady(values: Sequence[Value]) -> bool:
    """Whether every sum is exact in any order: one number throughout, of few binary digits."""
    first, err = values[0]
    return err == 0 and first * 256 == int(first * 256) and abs(first) < 2**20 and all(v == first for v, _ in values)


def sma(xs: Sequence[Value], n: int) -> Value:
    if len(xs) < n:
        return UNDEFINED
    return math.fsum(v for v, _ in xs[-n:]) / n, spread(xs)


def wma(xs: Sequence[Value], n: int) -> Value:
    if len(xs) < n:
        return UNDEFINED
    weighted = math.fsum(weight * v for weight, (v, _) in enumerate(xs[-n:], start=1))
    return weighted / (n * (n + 1) / 2), spread(xs) * 4


def ema_series(xs: Sequence[float], n: int) -> list[float]:
    """EMA at each position from n - 1 on, seeded by the mean of the first n."""
    if len(xs) < n:
        return []
    value = math.fsum(xs[:n]) / n
    out = [value]
    k = 2 / (n + 1)
    for x in xs[n:]:
        value += (x - value) * k
        out.append(value)
    return out


def ema(xs: Sequence[Value], n: int) -> Value:
    series = ema_series([v for v, _ in xs], n)
    return (series[-1], spread(xs)) if series else UNDEFINED


def macd(xs: Sequence[Value], fast: int, slow: int, signal: int) -> tuple[Value, Value, Value]:
    """Line, signal, histogram: all three appear together, at slow + signal - 2; the fast EMA is seeded late."""
    if slow < fast:
        fast, slow = slow, fast
    if len(xs) < slow + signal - 1:
        return UNDEFINED, UNDEFINED, UNDEFINED
    values = [v for v, _ in xs]
    slows = ema_series(values, slow)
    fasts = ema_series(values[slow - fast :], fast)
    line = [f - s for f, s in zip(fasts, slows, strict=True)]
    smooth = ema_series(line, signal)[-1]
    err = 2 * spread(xs)
    return (line[-1], err), (smooth, err), (line[-1] - smooth, 2 * err)


def wilder(xs: Sequence[float], n: int) -> float:
    """Wilder's smoothing: the mean of the first n, then (previous (n - 1) + x) / n."""
    value = math.fsum(xs[:n]) / n
    for x in xs[n:]:
        value = (value * (n - 1) + x) / n
    return value


def rsi(xs: Sequence[Value], n: int) -> Value:
    """Wilder's RSI; 0 where nothing moved, as TA-Lib has it."""
    if len(xs) < n + 1:
        return UNDEFINED
    moves = [b[0] - a[0] for a, b in pairwise(xs)]
    gain = wilder([max(m, 0.0) for m in moves], n)
    loss = wilder([max(-m, 0.0) for m in moves], n)
    total = gain + loss
    err = 2 * max(e for _, e in xs)  # sums of what is not negative keep their relative precision
    if total == 0:
        return 0.0, math.inf if err else 0.0
    return 100 * gain / total, 100 * ROUNDING + (200 * err / (total - err) if total > err else math.inf)


def bbands(xs: Sequence[Value], n: int, up: float, down: float) -> tuple[Value, Value, Value]:
    """Mean and population deviation."""
    if len(xs) < n:
        return UNDEFINED, UNDEFINED, UNDEFINED
    window = [v for v, _ in xs[-n:]]
    mean = math.fsum(window) / n
    variance = math.fsum((v - mean) ** 2 for v in window) / n
    err = spread(xs)
    # E[x²] − E[x]² cancels: its error is of the order of the squares, and they may have left the window long ago.
    doubt = 0.0 if steady(xs) else 2 * largest(xs) * max(e for _, e in xs) + ROUNDING * largest(xs) ** 2
    deviation = math.sqrt(variance)
    wide = doubt / deviation if variance > 2 * doubt else math.sqrt(variance + doubt)
    return (mean + up * deviation, err + abs(up) * wide), (mean, err), (mean - down * deviation, err + abs(down) * wide)


def true_ranges(bars: Sequence[tuple[float, float, float]]) -> list[float]:
    """True range of each (high, low, close) from the second bar on."""
    ranges = []
    for (_, _, before), (high, low, _) in pairwise(bars):
        ranges.append(max(high - low, abs(high - before), abs(low - before)))
    return ranges


def atr(bars: Sequence[tuple[float, float, float]], n: int) -> Value:
    if len(bars) < n + 1:
        return UNDEFINED
    ranges = true_ranges(bars)
    return wilder(ranges, n), 0.0 if n == 1 else WILDER * max(ranges)
