"""Averages and bands that lie over the price, of any one input; those of bars are in `bands`."""

from __future__ import annotations

import math
from collections.abc import Callable

from algotrade.engine.ir import F64, I32, Expr
from algotrade.engine.limits import MAX_PERIOD
from algotrade.engine.node_type import VALUE, Category, Lookback, Lower, NodeType, Param, ParamKind, Port, number
from algotrade.engine.nodes import kernels, windows
from algotrade.engine.site import Series, Site, Value

BANDS = (Port("upper"), Port("middle"), Port("lower"))
_FASTEST, _SLOWEST = 2.0 / 3.0, 2.0 / 31.0  # factors of exponential averages of 2 and 30 samples


def period(default: int, *, minimum: int = 2, name: str = "timeperiod", summary: str = "Number of samples.") -> Param:
    return Param(name, ParamKind.INT, default, summary, minimum, MAX_PERIOD, unit="bars", sizes_memory=True)


def one_less(site: Site) -> Expr:
    """The lookback of a window of ``timeperiod`` samples."""
    return site.integer("timeperiod") - 1


def whole(site: Site) -> Expr:
    """The lookback of what needs the sample ``timeperiod`` before it."""
    return site.integer("timeperiod")


def _mean(mean: Callable[[Site, Series, Expr, int], Expr]) -> Lower:
    """A node whose value lies between its samples, so that it cannot overflow where they are tame."""

    def lower(site: Site) -> dict[str, Value]:
        x = site.input()
        value = mean(site, x, site.integer("timeperiod"), site.most("timeperiod"))
        return {"value": site.number_out(value, tame=x.tame)}

    return lower


def _ema(site: Site, x: Series, n: Expr, most: int) -> Expr:
    return kernels.ema(site, x, n)


def _rma(site: Site, x: Series, n: Expr, most: int) -> Expr:
    return kernels.rma(site, x, n)


def _trima(site: Site, x: Series, n: Expr, most: int) -> Expr:
    """The mean of a mean: of n / 2 + 1 and (n + 1) / 2 samples, which make a triangle of n."""
    inner = site.scope.series(kernels.sma(site, x, site.f.let(n.op2("shr_u", 1) + 1), most // 2 + 1))
    return kernels.sma(site, inner, site.f.let((n + 1).op2("shr_u", 1)), (most + 1) // 2)


def _kama(site: Site, x: Series, n: Expr, most: int) -> Expr:
    """The factor goes from that of 30 to that of 2 samples with the share of the path that led somewhere (TA_KAMA)."""
    f, state, out = site.f, site.slot(F64), site.out()
    moves = site.scope.series(kernels.change(site, x).value.op1("abs"))
    x.keep(most + 1)
    path = windows.total(site, moves, n, most)
    with x.step():
        with f.when(x.count() > n) as running:
            way, share = f.let(x.value - x.ago(n)), f.var(F64, 1.0)
            with f.when((path > way) & path.ne(0.0)):
                f.set(share, (way / path).op1("abs"))
            factor = f.let(share * (_FASTEST - _SLOWEST) + _SLOWEST)
            last = f.let(state.get())
            f.set(out, (x.value - last) * (factor * factor) + last)
            state.set(out)
        with f.otherwise(running):
            state.set(x.value)
    return out


def _dema(site: Site) -> dict[str, Value]:
    once, twice = kernels.chain(site, site.input(), site.integer("timeperiod"), 2)
    return {"value": site.number_out(2.0 * once.value - twice.value)}


def _tema(site: Site) -> dict[str, Value]:
    once, twice, thrice = kernels.chain(site, site.input(), site.integer("timeperiod"), 3)
    return {"value": site.number_out(3.0 * once.value - 3.0 * twice.value + thrice.value)}


def _t3(site: Site) -> dict[str, Value]:
    f, v = site.f, site.number("vfactor")
    means = kernels.chain(site, site.input(), site.integer("timeperiod"), 6)
    square = f.let(v * v)
    cube = f.let(square * v)
    sum = (
        cube * -1.0 * means[5].value
        + 3.0 * (square + cube) * means[4].value
        + (-6.0 * square - 3.0 * (v + cube)) * means[3].value
        + (1.0 + 3.0 * v + cube + 3.0 * square) * means[2].value
    )
    return {"value": site.number_out(sum)}


def _hma(site: Site) -> dict[str, Value]:
    """A mean of n / 2 samples stretched away from that of n, then smoothed over √n, both rounded down."""
    f, x, n, most = site.f, site.input(), site.integer("timeperiod"), site.most("timeperiod")
    half = kernels.wma(site, x, f.let(n.op2("shr_u", 1)), most // 2)
    raw = site.scope.series(2.0 * half - kernels.wma(site, x, n, most))
    return {"value": site.number_out(kernels.wma(site, raw, f.let(_root(n)), math.isqrt(most)))}


def _root(n: Expr) -> Expr:
    return n.to(F64).op1("sqrt").to(I32)


def _zlema(site: Site) -> dict[str, Value]:
    """An exponential mean of the samples moved on by what they gained over half the period."""
    f, x, n, moved = site.f, site.input(), site.integer("timeperiod"), site.out()
    lag = f.let(_half_less(n))
    x.keep((site.most("timeperiod") - 1) // 2 + 1)
    with x.step(), f.when(x.count() > lag):
        f.set(moved, 2.0 * x.value - x.ago(lag))
    return {"value": site.number_out(kernels.ema(site, site.scope.series(moved), n))}


def _half_less(n: Expr) -> Expr:
    return (n - 1).op2("shr_u", 1)


def _midpoint(site: Site) -> dict[str, Value]:
    x, n, most = site.input(), site.integer("timeperiod"), site.most("timeperiod")
    top, bottom = windows.limits(site, x, x, n, most)
    return {"value": site.number_out((top + bottom) * 0.5, tame=x.tame)}


def _bbands(site: Site) -> dict[str, Value]:
    f, x, n = site.f, site.input(), site.integer("timeperiod")
    deviation = site.out()
    middle = kernels.sma(site, x, n, site.most("timeperiod"))
    with x.step(), f.when(x.count() >= n):
        f.set(deviation, f.call(kernels.deviation(), *x.place(), x.count(), n, middle))
    return {
        "upper": site.number_out(middle + deviation * site.number("nbdevup")),
        "middle": site.number_out(middle),
        "lower": site.number_out(middle - deviation * site.number("nbdevdn")),
    }


def _deviations(name: str, side: str) -> Param:
    return Param(name, ParamKind.NUMBER, 2, f"Standard deviations {side} the middle.", -1000, 1000)


def _average(
    name: str, summary: str, lower: Lower, source: str, lookback: Lookback = one_less, *, default: int = 30
) -> NodeType:
    return NodeType(
        name,
        Category.OVERLAP,
        summary,
        lower,
        (number(),),
        VALUE,
        (period(default),),
        lookback,
        source,
    )


def _less(times: int) -> Lookback:
    """The lookback of exponential means of exponential means."""
    return lambda site: (site.integer("timeperiod") - 1) * times


NODES = (
    _average("sma", "Simple moving average: the mean of the last samples.", _mean(kernels.sma), "TA-Lib SMA"),
    _average("ema", "Exponential moving average, seeded by the mean of its first samples.", _mean(_ema), "TA-Lib EMA"),
    _average(
        "wma", "Weighted moving average: weights rise linearly to the newest sample.", _mean(kernels.wma), "TA-Lib WMA"
    ),
    _average(
        "dema",
        "Double exponential average: twice the average less its own average, which halves the lag.",
        _dema,
        "TA-Lib DEMA; P. G. Mulloy, Technical Analysis of Stocks & Commodities 12:1 (1994)",
        _less(2),
    ),
    _average(
        "tema",
        "Triple exponential average: three averages less three of their averages, and the average of those.",
        _tema,
        "TA-Lib TEMA; P. G. Mulloy, Technical Analysis of Stocks & Commodities 12:2 (1994)",
        _less(3),
    ),
    _average(
        "trima",
        "Triangular moving average: weights rise to the middle of the window and fall again.",
        _mean(_trima),
        "TA-Lib TRIMA",
    ),
    _average(
        "kama",
        "Kaufman's adaptive average: quick where the price goes somewhere, slow where it goes to and fro.",
        _mean(_kama),
        "TA-Lib KAMA; P. J. Kaufman, Smarter Trading (1995)",
        whole,
    ),
    _average(
        "hma",
        "Hull moving average: weighted averages of weighted averages, with little lag.",
        _hma,
        "TA-Lib HMA; A. Hull (2005)",
        lambda site: site.integer("timeperiod") + _root(site.integer("timeperiod")) - 2,
    ),
    _average(
        "rma",
        "Wilder's moving average: exponential with factor 1 / timeperiod, seeded by the mean of its first samples.",
        _mean(_rma),
        "TA-Lib RMA; J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
    ),
    _average(
        "zlema",
        "Zero-lag exponential average: of samples moved on by what they gained over half the period.",
        _zlema,
        "TA-Lib ZLEMA; J. F. Ehlers and R. Way (2010)",
        lambda site: site.integer("timeperiod") - 1 + _half_less(site.integer("timeperiod")),
    ),
    NodeType(
        "t3",
        Category.OVERLAP,
        "Tillson's average: a generalized double exponential average taken three times.",
        _t3,
        (number(),),
        VALUE,
        (
            period(5),
            Param("vfactor", ParamKind.NUMBER, 0.7, "0: six exponential averages in a row; 1: a triple DEMA.", 0, 1),
        ),
        _less(6),
        "TA-Lib T3; T. Tillson, Technical Analysis of Stocks & Commodities 16:1 (1998)",
    ),
    _average("midpoint", "Half way between the highest and the lowest sample.", _midpoint, "TA-Lib MIDPOINT"),
    NodeType(
        "bbands",
        Category.OVERLAP,
        "Bollinger bands: the simple average, and lines a number of standard deviations above and below it.",
        _bbands,
        (number(),),
        BANDS,
        (period(20), _deviations("nbdevup", "above"), _deviations("nbdevdn", "below")),
        one_less,
        "TA-Lib BBANDS, simple average, population deviation",
    ),
)
