"""Where the price stands in its range, and which side of the market is exhausted; these read whole bars."""

from __future__ import annotations

from algotrade.engine.ir import F64, Expr, maximum, select
from algotrade.engine.node_type import TIMEFRAME, VALUE, Category, Lookback, Lower, NodeType, Param, Port
from algotrade.engine.nodes import kernels, ranges, windows
from algotrade.engine.nodes.overlap import one_less, period, whole
from algotrade.engine.site import NAN, Series, Site, Value


def place_in_range(site: Site, high: Series, low: Series, x: Series, name: str, least: float = 0.0) -> Series:
    """Where x stands between the lowest low and the highest high, 0 to 100 (TA_STOCHF).

    0 where they are equal, or no further apart than ``least``.
    """
    f, n, most, out = site.f, site.integer(name), site.most(name), site.out()
    top, bottom = windows.limits(site, high, low, n, most)
    with x.step(), f.when(x.count() >= n):
        percent = f.let((top - bottom) / 100.0)
        f.set(out, 0.0)
        with f.when(percent > least / 100.0):
            f.set(out, (x.value - bottom) / percent)
    return site.scope.series(out, tame=True)


def with_mean(site: Site, x: Series, ports: tuple[str, str], name: str) -> dict[str, Value]:
    """A line and its simple mean; the line is shown from the bar on which the mean exists, as TA-Lib does."""
    mean = site.f.let(kernels.sma(site, x, site.integer(name), site.most(name)))
    line, smooth = ports
    return {
        line: site.number_out(x.value + (mean - mean), tame=True),
        smooth: site.number_out(mean, tame=True),
    }


def _range_of_bars(site: Site, name: str) -> Series:
    return place_in_range(site, site.bar("high"), site.bar("low"), site.bar("close"), name)


def _stochf(site: Site) -> dict[str, Value]:
    return with_mean(site, _range_of_bars(site, "fastk_period"), ("fastk", "fastd"), "fastd_period")


def _stoch(site: Site) -> dict[str, Value]:
    raw = _range_of_bars(site, "fastk_period")
    slow = kernels.sma(site, raw, site.integer("slowk_period"), site.most("slowk_period"))
    return with_mean(site, site.scope.series(slow, tame=True), ("slowk", "slowd"), "slowd_period")


def _willr(site: Site) -> dict[str, Value]:
    f, out, n, most = site.f, site.out(), site.integer("timeperiod"), site.most("timeperiod")
    high, low, close = site.bar("high"), site.bar("low"), site.bar("close")
    top, bottom = windows.limits(site, high, low, n, most)
    with close.step(), f.when(close.count() >= n):
        percent = f.let((top - bottom) / -100.0)
        f.set(out, 0.0)
        with f.when(percent.ne(0.0)):
            f.set(out, (top - close.value) / percent)
    return {"value": site.number_out(out, tame=True)}


def _cci(site: Site) -> dict[str, Value]:
    """Both means are taken as distances from the newest price, which loses no digits; 0 where all are equal."""
    f, x, n, out = site.f, site.bar("typical"), site.integer("timeperiod"), site.out()
    x.keep(site.most("timeperiod"))
    with x.step(), f.when(x.count() >= n):
        mean = f.let(f.call(windows.lead(), *x.place(), x.count(), n))
        spread = f.let(f.call(windows.absolute(), *x.place(), x.count(), n, mean))
        f.set(out, 0.0)
        with f.when(spread.ne(0.0)):
            f.set(out, mean * -1.0 / (0.015 * spread))
    return {"value": site.number_out(out)}


def _mfi(site: Site) -> dict[str, Value]:
    f, out, last = site.f, site.out(), site.slot(F64, NAN)
    price, volume, n, most = (
        site.bar("typical"),
        site.bar("volume"),
        site.integer("timeperiod"),
        site.most("timeperiod"),
    )
    rises, falls = site.out(), site.out()
    with price.step():
        before = f.let(last.get())
        last.set(price.value)
        with f.when(price.count() > 1):
            flow = f.let(price.value * volume.value)
            f.set(rises, flow * (price.value > before).to(F64))
            f.set(falls, flow * (price.value < before).to(F64))
    up = windows.total(site, site.scope.series(rises), n, most)
    down = windows.total(site, site.scope.series(falls), n, most)
    total = f.let(up + down)
    with f.when(total.eq(total)):
        f.set(out, 0.0)
        with f.when(total > 0.0):
            f.set(out, 100.0 * (up / total))
    return {"value": site.number_out(out)}


def _ultosc(site: Site) -> dict[str, Value]:
    """The shortest period weighs most, in whichever order they are given; a period without any range weighs nothing."""
    f, last, pressure = site.f, site.slot(F64, NAN), site.out()
    low, close = site.bar("low"), site.bar("close")
    reach = ranges.true_range(site)
    with close.step():
        before = f.let(last.get())
        last.set(close.value)
        with f.when(close.count() > 1):
            f.set(pressure, close.value - select(before < low.value, before, low.value))
    buying = site.scope.series(pressure, tame=True)
    a, b, c = (site.integer(name) for name in _ULTOSC)
    most = max(site.most(name) for name in _ULTOSC)
    small, large = f.let(select(a < b, a, b)), f.let(select(a < b, b, a))
    middle = f.let(select(c < large, c, large))
    periods = (select(c < small, c, small), select(middle < small, small, middle), select(c < large, large, c))
    sum = f.var(F64, 0.0)
    for n, weight in zip(periods, (4.0, 2.0, 1.0), strict=True):
        n = f.let(n)
        part, whole = windows.total(site, buying, n, most), windows.total(site, reach, n, most)
        with f.when(whole.ne(0.0)):
            f.set(sum, sum + weight * (part / whole))
    return {"value": site.number_out(100.0 * (sum / 7.0))}


_ULTOSC = ("timeperiod1", "timeperiod2", "timeperiod3")


def _ultosc_lookback(site: Site) -> Expr:
    a, b, c = (site.integer(name) for name in _ULTOSC)
    return maximum(maximum(a, b), c)


def _bop(site: Site) -> dict[str, Value]:
    f, out = site.f, site.out()
    open, high, low, close = (site.bar(field) for field in ("open", "high", "low", "close"))
    with close.step():
        reach = f.let(high.value - low.value)
        f.set(out, 0.0)
        with f.when(reach > 0.0):
            f.set(out, (close.value - open.value) / reach)
    return {"value": site.number_out(out, tame=True)}


def _awesome(site: Site) -> dict[str, Value]:
    """Both sums begin so that they are whole on the same bar (TA_AO)."""
    f, x = site.f, site.bar("hl2")
    periods = {name: site.integer(name) for name in ("fastperiod", "slowperiod")}
    longest = f.let(maximum(*periods.values()))
    fast, slow = (kernels.sma(site, x, n, site.most(name), f.let(longest - n)) for name, n in periods.items())
    return {"value": site.number_out(fast - slow, tame=True)}


def _awesome_lookback(site: Site) -> Expr:
    return maximum(site.integer("fastperiod"), site.integer("slowperiod")) - 1


def _aroon(site: Site) -> dict[str, Value]:
    down, up = _ages(site)
    return {"down": site.number_out(down, tame=True), "up": site.number_out(up, tame=True)}


def _aroonosc(site: Site) -> dict[str, Value]:
    down, up = _ages(site)
    return {"value": site.number_out(up - down, tame=True)}


def _ages(site: Site) -> tuple[Expr, Expr]:
    """How fresh the lowest low and the highest high of the last ``timeperiod`` + 1 bars are, 100 being now."""
    f, n, most = site.f, site.integer("timeperiod"), site.most("timeperiod")
    high, low, outs = site.bar("high"), site.bar("low"), (site.out(), site.out())
    lows = windows.extreme(site, low, f.let(n + 1), most + 1, greatest=False)[1]
    highs = windows.extreme(site, high, f.let(n + 1), most + 1, greatest=True)[1]
    with high.step(), f.when(high.count() > n):
        percent = f.let(100.0 / n.to(F64))
        for out, age in zip(outs, (lows, highs), strict=True):
            f.set(out, percent * (n - age).to(F64))
    return outs


def _node(
    name: str,
    summary: str,
    lower: Lower,
    params: tuple[Param, ...],
    lookback: Lookback | None,
    source: str,
    *,
    outputs: tuple[Port, ...] = VALUE,
) -> NodeType:
    return NodeType(name, Category.MOMENTUM, summary, lower, (), outputs, (*params, TIMEFRAME), lookback, source)


NODES = (
    _node(
        "stoch",
        "Stochastic oscillator, 0 to 100: where the close stands in the last bars' range, smoothed once and twice.",
        _stoch,
        (
            period(5, minimum=1, name="fastk_period", summary="Bars of the range."),
            period(3, minimum=1, name="slowk_period", summary="Samples of the first mean."),
            period(3, minimum=1, name="slowd_period", summary="Samples of the second mean."),
        ),
        lambda site: site.integer("fastk_period") + site.integer("slowk_period") + site.integer("slowd_period") - 3,
        "TA-Lib STOCH, simple averages; G. C. Lane",
        outputs=(Port("slowk"), Port("slowd")),
    ),
    _node(
        "stochf",
        "Fast stochastic oscillator, 0 to 100: where the close stands in the range of the last bars, and its mean.",
        _stochf,
        (
            period(5, minimum=1, name="fastk_period", summary="Bars of the range."),
            period(3, minimum=1, name="fastd_period", summary="Samples of the mean."),
        ),
        lambda site: site.integer("fastk_period") + site.integer("fastd_period") - 2,
        "TA-Lib STOCHF, simple average; G. C. Lane",
        outputs=(Port("fastk"), Port("fastd")),
    ),
    _node(
        "willr",
        "Williams' %R, -100 to 0: how far the close is below the highest high, in percent of the range.",
        _willr,
        (period(14),),
        one_less,
        "TA-Lib WILLR; L. R. Williams",
    ),
    _node(
        "cci",
        "Commodity channel index: distance of the typical price from its mean, in mean distances of 0.015.",
        _cci,
        (period(14),),
        one_less,
        "TA-Lib CCI; D. R. Lambert, Commodities (October 1980)",
    ),
    _node(
        "mfi",
        "Money flow index, 0 to 100: money moved at rising prices as a share of all; 0 where none moved.",
        _mfi,
        (period(14),),
        whole,
        "TA-Lib MFI; G. Quong and A. Soudack (1989)",
    ),
    _node(
        "ultosc",
        "Ultimate oscillator, 0 to 100: buying pressure as a share of the true range, over three periods.",
        _ultosc,
        tuple(
            period(default, minimum=1, name=name, summary=f"Bars of the {ordinal} period.")
            for name, default, ordinal in zip(_ULTOSC, (7, 14, 28), ("first", "second", "third"), strict=True)
        ),
        _ultosc_lookback,
        "TA-Lib ULTOSC; L. R. Williams (1985)",
    ),
    _node(
        "bop",
        "Balance of power, -1 to 1: close less open as a share of the bar's range; 0 without a range.",
        _bop,
        (),
        None,
        "TA-Lib BOP; I. Livshin (2001)",
    ),
    _node(
        "awesome",
        "Awesome oscillator: a short simple average of the bars' middles less a long one.",
        _awesome,
        (
            period(5, name="fastperiod", summary="Bars of the fast average."),
            period(34, name="slowperiod", summary="Bars of the slow average."),
        ),
        _awesome_lookback,
        "TA-Lib AO; B. Williams",
    ),
    _node(
        "aroon",
        "How recent the lowest low and the highest high are, 100 being now and 0 timeperiod bars ago.",
        _aroon,
        (period(14),),
        whole,
        "TA-Lib AROON; T. S. Chande (1995)",
        outputs=(Port("down"), Port("up")),
    ),
    _node(
        "aroonosc",
        "Aroon up less aroon down, -100 to 100.",
        _aroonosc,
        (period(14),),
        whole,
        "TA-Lib AROONOSC; T. S. Chande (1995)",
    ),
)
