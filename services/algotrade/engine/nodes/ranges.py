"""What bars span: the true range, its mean, and directional movement, which volatility and trend nodes share."""

from __future__ import annotations

from dataclasses import dataclass

from algotrade.engine.ir import F64, Expr, Function
from algotrade.engine.nodes import kernels
from algotrade.engine.site import NAN, Series, Site


def true_range(site: Site) -> Series:
    """The distance that a bar covers, the gap to the last close included; the first bar has none (TA_TRANGE)."""
    f, out, last_close = site.f, site.out(), site.slot(F64, NAN)
    high, low, close = (site.bar(field) for field in ("high", "low", "close"))
    with close.step():
        before = f.let(last_close.get())
        last_close.set(close.value)
        with f.when(close.count() > 1):
            f.set(out, _widest(f, high.value, low.value, before))
    return site.scope.series(out, tame=True)


def _widest(f: Function, high: Expr, low: Expr, before: Expr) -> Expr:
    widest = f.var(F64, high - low)
    for reach in ((before - high).op1("abs"), (before - low).op1("abs")):
        reach = f.let(reach)
        with f.when(reach > widest):
            f.set(widest, reach)
    return widest


def average_true_range(site: Site, n: Expr, skip: Expr | int = 0) -> Expr:
    """Wilder's mean of the true range (TA_ATR); ``skip`` leaves out bars at the start."""
    return kernels.rma(site, true_range(site), n, skip)


@dataclass(frozen=True, slots=True)
class Movement:
    """Wilder's sums of upward and downward movement and of the true range; NaN until there are ``period`` moves."""

    up: Expr
    down: Expr
    range: Expr


def movement(site: Site, n: Expr) -> Movement:
    """The first ``period`` - 1 moves are added up; from then on each sum loses one part in ``period`` (TA_DX).

    Of a bar's two movements only the greater counts, and neither where they are equal.
    """
    f = site.f
    high, low, close = (site.bar(field) for field in ("high", "low", "close"))
    last_high, last_low, last_close = (site.slot(F64, NAN) for _ in range(3))
    sums = [site.slot(F64) for _ in range(3)]
    outs = [site.out() for _ in range(3)]
    with close.step():
        rise, fall = f.let(high.value - last_high.get()), f.let(last_low.get() - low.value)
        before = f.let(last_close.get())
        for slot, price in ((last_high, high), (last_low, low), (last_close, close)):
            slot.set(price.value)
        with f.when(close.count() > 1):
            size = f.let(n.to(F64))
            up, down, reach = (f.var(F64, slot.get()) for slot in sums)
            with f.when(close.count() > n):
                for sum in (up, down, reach):
                    f.set(sum, sum - sum / size)
            with f.when((fall > 0.0) & (rise < fall)) as falls:
                f.set(down, down + fall)
            with f.otherwise(falls), f.when((rise > 0.0) & (rise > fall)):
                f.set(up, up + rise)
            f.set(reach, reach + _widest(f, high.value, low.value, before))
            for slot, sum in zip(sums, (up, down, reach), strict=True):
                slot.set(sum)
            with f.when(close.count() > n):
                for out, sum in zip(outs, (up, down, reach), strict=True):
                    f.set(out, sum)
    return Movement(*outs)
