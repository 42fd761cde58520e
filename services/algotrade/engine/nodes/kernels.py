"""Streaming forms of the averages that several indicators are made of.

Each follows TA-Lib step by step, so that results agree to the last bit or nearly so: the same sums in the same order.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache

from algotrade.engine.ir import F64, I32, Expr, Function
from algotrade.engine.limits import MAX_PERIOD
from algotrade.engine.site import NAN, Series, Site


def sma(site: Site, x: Series, period: Expr, most: int, skip: Expr | int = 0) -> Expr:
    """Mean of the last ``period`` samples, a running sum from which the oldest is taken after use (TA_SMA).

    ``skip`` leaves out samples at the start, as in `ema`; the value is the same and rounded as TA-Lib rounds it.
    """
    f, total, out = site.f, site.slot(F64), site.out()
    x.keep(most)
    with x.step(), nullcontext() if skip == 0 else f.when(x.count() > skip):
        sum = f.var(F64, total.get() + x.value)
        with f.when(x.count() >= period + skip):
            f.set(out, sum / period.to(F64))
            f.set(sum, sum - x.ago(period - 1))
        total.set(sum)
    return out


def ema(site: Site, x: Series, period: Expr, skip: Expr | int = 0) -> Expr:
    """Exponential mean with factor 2 / (period + 1), seeded by the mean of its first samples (TA_EMA).

    ``skip`` leaves out samples at the start, as TA_MACD does to start both of its averages on the same bar.
    """
    f, state, out = site.f, site.slot(F64), site.out()
    with x.step():
        seen = f.let(x.count() - skip)
        with f.when(seen > period) as running:
            last = f.let(state.get())
            f.set(out, (x.value - last) * (2.0 / (period + 1).to(F64)) + last)
            state.set(out)
        with f.otherwise(running):
            f.set(out, f.call(seed(), state.address(), x.value, seen, period))
    return out


def rma(site: Site, x: Series, period: Expr, skip: Expr | int = 0) -> Expr:
    """Wilder's mean: that of the first samples, then (last · (period - 1) + sample) / period (TA_ATR, TA_RMA)."""
    f, state, out = site.f, site.slot(F64), site.out()
    with x.step():
        seen, size = f.let(x.count() - skip), f.let(period.to(F64))
        with f.when(seen > period) as running:
            f.set(out, (state.get() * (size - 1.0) + x.value) / size)
            state.set(out)
        with f.otherwise(running):
            f.set(out, f.call(seed(), state.address(), x.value, seen, period))
    return out


def chain(site: Site, x: Series, period: Expr, length: int) -> list[Series]:
    """Exponential means of exponential means: each is over the one before it."""
    means: list[Series] = []
    for _ in range(length):
        x = site.scope.series(ema(site, x, period))
        means.append(x)
    return means


def change(site: Site, x: Series) -> Series:
    """Each sample less the one before it; NaN at the first."""
    f, last, out = site.f, site.slot(F64, NAN), site.out()
    with x.step():
        f.set(out, x.value - last.get())
        last.set(x.value)
    return site.scope.series(out)


def together(site: Site, a: Series, b: Series) -> tuple[Series, Series]:
    """Two series of which a bar is a sample only where both have a number."""
    if a.always and b.always:
        return a, b
    return site.scope.series(a.value + (b.value - b.value)), site.scope.series(b.value + (a.value - a.value))


@lru_cache(maxsize=1)
def seed() -> Function:
    """The mean of the first samples, by a sum in a slot: (its address, sample, samples seen, how many make the mean).

    NaN until then. Out of line, as it runs at the beginning only and most indicators begin so.
    """
    f = Function("seed", [I32, F64, I32, I32], F64)
    address, sample, seen, period = f.args
    with f.when(seen <= 0):
        f.ret(NAN)
    total = f.let(address.load(F64) + sample)
    with f.when(seen.eq(period)):
        mean = f.let(total / period.to(F64))
        f.store(address, mean)
        f.ret(mean)
    f.store(address, total)
    f.ret(NAN)
    return f


def wma(site: Site, x: Series, period: Expr, most: int) -> Expr:
    """Mean weighted 1 (oldest) to ``period`` (newest), by a weighted and a plain running sum (TA_WMA)."""
    f, weighted, plain, oldest, out = site.f, site.slot(F64), site.slot(F64), site.slot(F64), site.out()
    x.keep(most)
    with x.step():
        with f.when(x.count() < period) as filling:
            plain.set(plain.get() + x.value)
            weighted.set(weighted.get() + x.value * x.count().to(F64))
        with f.otherwise(filling):
            sum = f.let(plain.get() + x.value - oldest.get())
            total = f.let(weighted.get() + x.value * period.to(F64))
            oldest.set(x.ago(period - 1))
            f.set(out, total / triangle(period))
            weighted.set(total - sum)
            plain.set(sum)
    return out


def triangle(period: Expr) -> Expr:
    """1 + 2 + … + period, as f64."""
    return (period * (period + 1)).op2("shr_u", 1).to(F64)


@lru_cache(maxsize=1)
def deviation() -> Function:
    """The population standard deviation of a window: (first address, mask, newest index, samples, mean).

    Two passes, the first being the caller's mean: a running sum of squares loses all its digits where the price is
    large and moves little.
    """
    f = Function("deviation", [I32, I32, I32, I32, F64], F64, loops=MAX_PERIOD)
    first, mask, newest, samples, mean = f.args
    squares, left = f.var(F64, 0.0), f.var(I32, samples)
    with f.while_(left.ne(0)):
        f.set(left, left - 1)
        distance = f.let((first + ((newest - left) & mask).op2("shl", 3)).load(F64) - mean)
        f.set(squares, squares + distance * distance)
    f.ret((squares / samples.to(F64)).op1("sqrt"))
    return f


def positive_part(f: Function, x: Expr) -> Expr:
    """max(x, 0) without a branch, exactly."""
    return (x.op1("abs") + x) * 0.5
