"""How far prices move."""

from __future__ import annotations

from algotrade.engine.elementary import ln, ln_ratio
from algotrade.engine.ir import F64, Expr
from algotrade.engine.node_type import TIMEFRAME, VALUE, Category, Lookback, Lower, NodeType, Param, ParamKind, number
from algotrade.engine.nodes import ranges, windows
from algotrade.engine.nodes.overlap import one_less, period, whole
from algotrade.engine.site import NAN, Site, Value


def _atr(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(ranges.average_true_range(site, site.integer("timeperiod")))}


def _natr(site: Site) -> dict[str, Value]:
    average = ranges.average_true_range(site, site.integer("timeperiod"))
    return {"value": site.number_out(average / site.bar("close").value * 100.0)}


def _trange(site: Site) -> dict[str, Value]:
    return {"value": ranges.true_range(site)}


def _histvol(site: Site) -> dict[str, Value]:
    f, x, n, out = site.f, site.input_or_close(), site.integer("timeperiod"), site.out()
    last, gain = site.slot(F64, NAN), site.out()
    with x.step():
        f.set(gain, f.call(ln_ratio(), x.value, last.get()))
        last.set(x.value)
    gains = site.scope.series(gain)
    gains.keep(site.most("timeperiod"))
    with gains.step(), f.when(gains.count() >= n):
        squares = f.call(windows.products(), *gains.place(), *gains.place(), gains.count(), n)
        f.set(out, (squares / (n - 1).to(F64)).op1("sqrt") * site.number("periods").op1("sqrt") * 100.0)
    return {"value": site.number_out(out)}


def _choppiness(site: Site) -> dict[str, Value]:
    f, n, most, out = site.f, site.integer("timeperiod"), site.most("timeperiod"), site.out()
    path = windows.total(site, ranges.true_range(site), n, most)
    high, low = site.bar("high"), site.bar("low")
    top, bottom = windows.limits(site, high, low, n, most)
    with high.step(), f.when(path.eq(path)):
        reach = f.let(top - bottom)
        f.set(out, 100.0)
        with f.when(reach > 0.0):
            f.set(out, f.call(ln(), path / reach))
            f.set(out, 100.0 * (out / f.call(ln(), n.to(F64))))
    return {"value": site.number_out(out)}


def _deviations(site: Site) -> tuple[Expr, Expr, Expr]:
    """The newest sample's distance above the lower band, both bands' distance, and the mean; NaN at first.

    Of the window's distances from its newest sample, so that a window of equal samples has bands without a distance.
    """
    f, x, n = site.f, site.input_or_close(), site.integer("timeperiod")
    over, width, mean = site.out(), site.out(), site.out()
    variance = f.let(windows.variance(site, x, n, site.most("timeperiod")))
    with x.step(), f.when(x.count() >= n):
        above = f.let(f.call(windows.lead(), *x.place(), x.count(), n))
        reach = f.let(variance.op1("sqrt") * site.number("nbdev"))
        f.set(over, reach - above)
        f.set(width, 2.0 * reach)
        f.set(mean, x.value + above)
    return over, width, mean


def _bbwidth(site: Site) -> dict[str, Value]:
    _, width, mean = _deviations(site)
    return {"value": site.number_out(width / mean * 100.0)}


def _bbpercent(site: Site) -> dict[str, Value]:
    over, width, _ = _deviations(site)
    return {"value": site.number_out(over / width)}


_CLOSE = (number("input", "Left open: the close.", required=False),)
_BANDS = (
    period(20),
    Param("nbdev", ParamKind.NUMBER, 2, "Standard deviations from the middle to a band.", 0, 1000),
    TIMEFRAME,
)


def _of_bars(
    name: str, summary: str, lower: Lower, params: tuple[Param, ...], source: str, lookback: Lookback = whole
) -> NodeType:
    return NodeType(name, Category.VOLATILITY, summary, lower, (), VALUE, (*params, TIMEFRAME), lookback, source)


NODES = (
    _of_bars(
        "atr",
        "Average true range: the smoothed distance that a bar covers, gaps included.",
        _atr,
        (period(14, minimum=1),),
        "TA-Lib ATR; J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
    ),
    _of_bars("natr", "Average true range in percent of the close.", _natr, (period(14),), "TA-Lib NATR"),
    _of_bars(
        "trange",
        "True range: the distance that a bar covers, the gap to the last close included.",
        _trange,
        (),
        "TA-Lib TRANGE; J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
        lambda site: 1,
    ),
    NodeType(
        "histvol",
        Category.VOLATILITY,
        "Historical volatility: sample deviation of the logarithms of successive ratios, in percent a year.",
        _histvol,
        _CLOSE,
        VALUE,
        (
            period(20),
            Param("periods", ParamKind.NUMBER, 252, "Samples a year; 1 leaves it a sample.", 1, 1e9),
            TIMEFRAME,
        ),
        whole,
        "J. C. Hull, Options, Futures, and Other Derivatives, Estimating volatility from historical data",
        instead_of_bars=True,
    ),
    _of_bars(
        "choppiness",
        "Choppiness index: how much further the bars have gone than their range, 100 being to and fro all the way.",
        _choppiness,
        (period(14),),
        "TA-Lib CHOP; E. W. Dreiss; 100 where there was no range",
    ),
    NodeType(
        "bbwidth",
        Category.VOLATILITY,
        "Width of the Bollinger bands in percent of their middle.",
        _bbwidth,
        _CLOSE,
        VALUE,
        _BANDS,
        one_less,
        "J. Bollinger, Bollinger on Bollinger Bands (2001), BandWidth; TA-Lib BBW",
        instead_of_bars=True,
    ),
    NodeType(
        "bbpercent",
        Category.VOLATILITY,
        "Where the sample stands in the Bollinger bands: 0 at the lower and 1 at the upper one; NaN without a width.",
        _bbpercent,
        _CLOSE,
        VALUE,
        _BANDS,
        one_less,
        "J. Bollinger, Bollinger on Bollinger Bands (2001), %b",
        instead_of_bars=True,
    ),
)
