"""Spread, line, rank and relation of samples.

Squares and products are summed over the window at each bar, as distances from its newest sample: a running sum of
squares loses all its digits where the price is large and moves little.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from algotrade.engine.elementary import atan
from algotrade.engine.ir import F64, Expr, const, select
from algotrade.engine.node_type import VALUE, Category, Lookback, Lower, NodeType, Param, ParamKind, number
from algotrade.engine.nodes import kernels, windows
from algotrade.engine.nodes.overlap import one_less, period, whole
from algotrade.engine.site import NAN, Series, Site, Value


def _variance(site: Site) -> Expr:
    return windows.variance(site, site.input(), site.integer("timeperiod"), site.most("timeperiod"))


def _stddev(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(_variance(site).op1("sqrt") * site.number("nbdev"))}


def _var(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(_variance(site))}


def _line(value: Callable[[Site, Expr, Expr, Expr], Expr]) -> Lower:
    """A number of the line that fits the last samples best: of its slope, its middle and the number of samples."""

    def lower(site: Site) -> dict[str, Value]:
        f, x, n, out = site.f, site.input(), site.integer("timeperiod"), site.out()
        x.keep(site.most("timeperiod"))
        with x.step(), f.when(x.count() >= n):
            slope = f.let(f.call(windows.slope(), *x.place(), x.count(), n))
            middle = x.value + f.call(windows.lead(), *x.place(), x.count(), n)
            f.set(out, value(site, slope, middle, n.to(F64)))
        return {"value": site.number_out(out)}

    return lower


def _angle(site: Site, slope: Expr, middle: Expr, n: Expr) -> Expr:
    return site.f.call(atan(), slope) * (180.0 / math.pi)


def _zscore(site: Site) -> dict[str, Value]:
    f, x, n, out = site.f, site.input(), site.integer("timeperiod"), site.out()
    variance = f.let(windows.variance(site, x, n, site.most("timeperiod")))
    with x.step(), f.when(x.count() >= n):
        f.set(out, f.call(windows.lead(), *x.place(), x.count(), n) * -1.0 / variance.op1("sqrt"))
    return {"value": site.number_out(out)}


def _percentrank(site: Site) -> dict[str, Value]:
    f, x, n, out = site.f, site.input(), site.integer("timeperiod"), site.out()
    x.keep(site.most("timeperiod") + 1)
    with x.step(), f.when(x.count() > n):
        f.set(out, f.call(windows.below(), *x.place(), x.count(), n) / n.to(F64) * 100.0)
    return {"value": site.number_out(out)}


def _correl(site: Site) -> dict[str, Value]:
    """0 where one of both does not vary, as TA-Lib has it."""
    a, b = kernels.together(site, site.input("a"), site.input("b"))
    joint, own, other = _products(site, a, b)
    f, out = site.f, site.out()
    size = f.let(own.op1("sqrt") * other.op1("sqrt"))
    with f.when(size.eq(size)):
        f.set(out, 0.0)
        with f.when(size > 0.0):
            f.set(out, joint / size)
            # Rounding may go a unit in the last place beyond.
            f.set(out, select(out.op1("abs") > 1.0, select(out > 0.0, const(F64, 1.0), -1.0), out))
    return {"value": site.number_out(out)}


def _beta(site: Site) -> dict[str, Value]:
    """Of the rates of change; 0 where those of a do not vary, as TA-Lib has it."""
    a, b = kernels.together(site, site.input("a"), site.input("b"))
    f, out, rates = site.f, site.out(), []
    for x in (a, b):
        last, rate = site.slot(F64, NAN), site.out()
        with x.step():
            before = f.let(last.get())
            f.set(rate, (x.value - before) / before)
            with f.when(before.eq(0.0)):
                f.set(rate, 0.0)
            last.set(x.value)
        rates.append(site.scope.series(rate))
    joint, own, _ = _products(site, *rates)
    with f.when(own.eq(own)):
        f.set(out, 0.0)
        with f.when(own > 0.0):
            f.set(out, joint / own)
    return {"value": site.number_out(out)}


def _products(site: Site, a: Series, b: Series) -> tuple[Expr, Expr, Expr]:
    """Sums of a times b, of a squared and of b squared, as distances from their means; NaN at first."""
    f, n, most = site.f, site.integer("timeperiod"), site.most("timeperiod")
    outs = site.out(), site.out(), site.out()
    a.keep(most)
    b.keep(most)
    with a.step(), f.when(a.count() >= n):
        for out, (x, y) in zip(outs, ((a, b), (a, a), (b, b)), strict=True):
            f.set(out, f.call(windows.products(), *x.place(), *y.place(), a.count(), n))
    return outs


_LEAST_SQUARES = "least squares over the last samples"
_NBDEV = Param("nbdev", ParamKind.NUMBER, 1, "Standard deviations.", -1000, 1000)


def _node(
    name: str,
    summary: str,
    lower: Lower,
    params: tuple[Param, ...],
    lookback: Lookback = one_less,
    *,
    source: str = "",
    inputs: tuple[str, ...] = ("input",),
) -> NodeType:
    return NodeType(
        name,
        Category.STATISTICS,
        summary,
        lower,
        tuple(number(input) for input in inputs),
        VALUE,
        params,
        lookback,
        source or f"TA-Lib {name.upper()}",
    )


NODES = (
    _node("stddev", "Population standard deviation, times nbdev.", _stddev, (period(5), _NBDEV)),
    _node(
        "var",
        "Population variance.",
        _var,
        (
            period(5, minimum=1),
            Param("nbdev", ParamKind.NUMBER, 1, "Has no effect, as in TA-Lib.", -1000, 1000),
        ),
    ),
    _node(
        "linearreg",
        f"End of the best straight line ({_LEAST_SQUARES}).",
        _line(lambda site, slope, middle, n: middle + slope * ((n - 1.0) * 0.5)),
        (period(14),),
    ),
    _node(
        "linearreg_slope",
        f"Slope of the best straight line, a sample ({_LEAST_SQUARES}).",
        _line(lambda site, slope, middle, n: slope),
        (period(14),),
    ),
    _node(
        "linearreg_angle",
        f"Slope of the best straight line as an angle in degrees ({_LEAST_SQUARES}).",
        _line(_angle),
        (period(14),),
    ),
    _node(
        "linearreg_intercept",
        f"Beginning of the best straight line ({_LEAST_SQUARES}).",
        _line(lambda site, slope, middle, n: middle - slope * ((n - 1.0) * 0.5)),
        (period(14),),
    ),
    _node(
        "tsf",
        f"Time series forecast: the best straight line one sample on ({_LEAST_SQUARES}).",
        _line(lambda site, slope, middle, n: middle + slope * ((n + 1.0) * 0.5)),
        (period(14),),
    ),
    _node(
        "zscore",
        "Distance of the sample from the mean, in population standard deviations; NaN where nothing varies.",
        _zscore,
        (period(20),),
        source="(sample - mean) / TA-Lib STDDEV",
    ),
    _node(
        "percentrank",
        "Share, in percent, of the samples before it that are less than the sample.",
        _percentrank,
        (period(20),),
        whole,
    ),
    _node(
        "correl",
        "Pearson's coefficient of correlation, -1 to 1.",
        _correl,
        (period(30, minimum=2),),
        inputs=("a", "b"),
    ),
    _node(
        "beta",
        "How b changes with a: the slope of b's rates of change over those of a.",
        _beta,
        (period(5, minimum=2),),
        whole,
        inputs=("a", "b"),
    ),
)
