"""Lines and bands over the price that read whole bars."""

from __future__ import annotations

from algotrade.engine.ir import F64, I32, I64, Expr, const, maximum, select
from algotrade.engine.node_type import TIMEFRAME, VALUE, Category, NodeType, Param, ParamKind, Port, number
from algotrade.engine.nodes import kernels, ranges, windows
from algotrade.engine.nodes.overlap import BANDS, one_less, period, whole
from algotrade.engine.site import Series, Site, Value

_NONE = const(I32, 0)
_FROM_MONDAY = 3 + 7 * 1_000_000  # day 0 was a Thursday; many weeks on, so that no day is negative


def middle_of_range(site: Site, n: Expr, most: int) -> tuple[Expr, Expr, Expr]:
    """The highest high, the middle and the lowest low of ``n`` bars; NaN until there are so many."""
    top, bottom = windows.limits(site, site.bar("high"), site.bar("low"), n, most)
    return top, site.f.let((top + bottom) * 0.5), bottom


def _midprice(site: Site) -> dict[str, Value]:
    _, middle, _ = middle_of_range(site, site.integer("timeperiod"), site.most("timeperiod"))
    return {"value": site.number_out(middle, tame=True)}


def _donchian(site: Site) -> dict[str, Value]:
    upper, middle, lower = middle_of_range(site, site.integer("timeperiod"), site.most("timeperiod"))
    parts = {"upper": upper, "middle": middle, "lower": lower}
    return {port: site.number_out(value, tame=True) for port, value in parts.items()}


def _keltner(site: Site) -> dict[str, Value]:
    """Both averages begin so that they have their first value on the same bar (TA_KC)."""
    f, n, ranged = site.f, site.integer("timeperiod"), site.integer("atrperiod")
    late, early = f.let(maximum(ranged + 1 - n, _NONE)), f.let(maximum(n - 1 - ranged, _NONE))
    middle = kernels.ema(site, site.bar("hlc3"), n, late)
    reach = f.let(ranges.average_true_range(site, ranged, early) * site.number("nbdev"))
    return {
        "upper": site.number_out(middle + reach),
        "middle": site.number_out(middle + (reach - reach)),
        "lower": site.number_out(middle - reach),
    }


def _keltner_lookback(site: Site) -> Expr:
    return maximum(site.integer("timeperiod") - 1, site.integer("atrperiod"))


def _sar(site: Site) -> dict[str, Value]:
    """A short position is a long one in prices turned upside down, so one rule serves both (TA_SAR).

    ``side`` is 1 while long and -1 while short. On the second bar the greater directional movement decides it.
    """
    f, high, low, out = site.f, site.bar("high"), site.bar("low"), site.out()
    side, extreme, stop, factor = (site.slot(F64) for _ in range(4))
    last_high, last_low = site.slot(F64), site.slot(F64)
    most = site.number("maximum")
    step = f.let(_least(site.number("acceleration"), most))
    with high.step():
        before_high, before_low = f.var(F64, last_high.get()), f.var(F64, last_low.get())
        last_high.set(high.value)
        last_low.set(low.value)
        with f.when(high.count().eq(2)):
            fall = f.let(before_low - low.value)
            short = f.let((fall > 0.0) & (high.value - before_high < fall))
            side.set(1.0 - 2.0 * short.to(F64))
            extreme.set(select(short, low.value, high.value))
            stop.set(select(short, before_high, before_low))
            factor.set(step)
            f.set(before_high, high.value)
            f.set(before_low, low.value)
        with f.when(high.count() > 1):
            turned = f.var(F64, side.get())
            level, furthest = f.var(F64, stop.get() * turned), f.var(F64, extreme.get() * turned)
            near, far = _turned(turned, low.value, high.value), _turned(turned, high.value, low.value)
            near, far = f.var(F64, near), f.var(F64, far)
            before = f.var(F64, _turned(turned, before_low, before_high))
            pace = f.var(F64, factor.get())
            with f.when(near <= level) as crossed:
                f.set(before, _turned(turned, before_high, before_low) * -1.0)
                f.set(turned, turned * -1.0)
                f.set(level, furthest * -1.0)
                f.set(furthest, near * -1.0)
                f.set(near, far * -1.0)
                f.set(level, _least(f.let(_least(level, before)), near))
                f.set(pace, step)
                f.set(out, level * turned)
            with f.otherwise(crossed):
                f.set(out, level * turned)
                with f.when(far > furthest):
                    f.set(furthest, far)
                    f.set(pace, _least(f.let(pace + step), most))
            f.set(level, level + pace * (furthest - level))
            f.set(level, _least(f.let(_least(level, before)), near))
            for slot, value in ((side, turned), (stop, level * turned), (extreme, furthest * turned), (factor, pace)):
                slot.set(value)
    return {"value": site.number_out(out)}


def _turned(side: Expr, long: Expr, short: Expr) -> Expr:
    """A price as it stands on a side: that for longs as it is, that for shorts upside down."""
    return select(side > 0.0, long, short) * side


def _least(a: Expr, b: Expr) -> Expr:
    return select(a < b, a, b)


def _supertrend(site: Site) -> dict[str, Value]:
    """Each band moves towards the price only, until a close beyond it frees it; the first trend is up."""
    f, close, out, direction = site.f, site.bar("close"), site.out(), site.out()
    upper, lower, up, last_close = site.slot(F64), site.slot(F64), site.slot(F64), site.slot(F64)
    reach = f.let(ranges.average_true_range(site, site.integer("timeperiod")) * site.number("multiplier"))
    middle = site.bar("hl2").value
    with close.step(), f.when(reach.eq(reach)):
        top, bottom, trend = f.var(F64, middle + reach), f.var(F64, middle - reach), f.var(F64, 1.0)
        with f.when(up.get().ne(0.0)):
            before = f.let(last_close.get())
            with f.when(((top < upper.get()) | (before > upper.get())).op1("eqz")):
                f.set(top, upper.get())
            with f.when(((bottom > lower.get()) | (before < lower.get())).op1("eqz")):
                f.set(bottom, lower.get())
            f.set(trend, up.get())
            with f.when(select(trend > 0.0, close.value < bottom, close.value > top)):
                f.set(trend, trend * -1.0)
        for slot, value in ((upper, top), (lower, bottom), (up, trend), (last_close, close.value)):
            slot.set(value)
        f.set(out, select(trend > 0.0, bottom, top))
        f.set(direction, trend)
    return {"value": site.number_out(out), "direction": site.number_out(direction, tame=True)}


def _ichimoku(site: Site) -> dict[str, Value]:
    """The spans are those of ``displacement`` bars ago: what a chart shows over this bar."""
    f, scope, shift = site.f, site.scope, site.integer("displacement")
    names = ("conversionperiod", "baseperiod", "spanperiod")
    conversion, base, slow = (middle_of_range(site, site.integer(n), site.most(n))[1] for n in names)
    ago = site.most("displacement") + 1
    spans = {}
    known = _shifted(site, scope.series(conversion + base + slow), shift, ago)
    for port, value in (("span_a", (conversion + base) * 0.5), ("span_b", slow)):
        spans[port] = _shifted(site, scope.series(value), shift, ago)
    unless = f.let(known - known)
    values = {"conversion": conversion, "base": base, **spans}
    return {port: site.number_out(value + unless, tame=True) for port, value in values.items()}


def _shifted(site: Site, x: Series, shift: Expr, most: int) -> Expr:
    f, out = site.f, site.out()
    x.keep(most)
    with x.step(), f.when(x.count() > shift):
        f.set(out, x.ago(shift))
    return out


def _ichimoku_lookback(site: Site) -> Expr:
    longest = maximum(site.integer("conversionperiod"), site.integer("baseperiod"))
    return maximum(longest, site.integer("spanperiod")) - 1 + site.integer("displacement")


def _vwap(site: Site) -> dict[str, Value]:
    """Sums since the anchor; NaN while nothing has been traded since."""
    f, price, volume, out = site.f, site.bar("hlc3"), site.bar("volume"), site.out()
    value, amount = (site.block(F64, F64, I32) for _ in range(2))
    anchor = site.choice("anchor")
    with price.step():
        if anchor != "none":
            period, current = site.day(), site.slot(I64, -1)
            if anchor == "week":
                period = f.let((period + _FROM_MONDAY).op2("div_u", 7))
            with f.when(period.ne(current.get())):
                current.set(period)
                f.run(windows.clear(), value)
                f.run(windows.clear(), amount)
        f.set(out, f.call(windows.slide(), value, price.value * volume.value, 0.0))
        f.set(out, out / f.call(windows.slide(), amount, volume.value, 0.0))
    return {"value": site.number_out(out)}


def _vwma(site: Site) -> dict[str, Value]:
    n, most = site.integer("timeperiod"), site.most("timeperiod")
    x, volume = kernels.together(site, site.input_or_close(), site.bar("volume"))
    value = windows.total(site, site.scope.series(x.value * volume.value), n, most)
    return {"value": site.number_out(value / windows.total(site, volume, n, most))}


NODES = (
    NodeType(
        "midprice",
        Category.OVERLAP,
        "Half way between the highest high and the lowest low of the last bars.",
        _midprice,
        (),
        VALUE,
        (period(14), TIMEFRAME),
        one_less,
        "TA-Lib MIDPRICE",
    ),
    NodeType(
        "sar",
        Category.OVERLAP,
        "Parabolic stop and reverse: a stop that speeds up after the price and changes sides when it is touched.",
        _sar,
        (),
        VALUE,
        (
            Param("acceleration", ParamKind.NUMBER, 0.02, "What the factor begins with and grows by.", 0, 1000),
            Param("maximum", ParamKind.NUMBER, 0.2, "The largest factor.", 0, 1000),
            TIMEFRAME,
        ),
        lambda site: 1,
        "TA-Lib SAR; J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
    ),
    NodeType(
        "vwap",
        Category.OVERLAP,
        "Volume-weighted average price since the day or the week began, or since the first bar.",
        _vwap,
        (),
        VALUE,
        (
            Param(
                "anchor",
                ParamKind.CHOICE,
                "day",
                "When it begins anew: with the day or the week (from Monday) of the run's day_timezone, or never.",
                choices=("day", "week", "none"),
            ),
            TIMEFRAME,
        ),
        source="TA-Lib VWAP (anchor none); typical price (high + low + close) / 3",
    ),
    NodeType(
        "vwma",
        Category.OVERLAP,
        "Volume-weighted moving average.",
        _vwma,
        (number("input", "Left open: the close.", required=False),),
        VALUE,
        (period(30, minimum=1), TIMEFRAME),
        one_less,
        "TA-Lib VWMA",
    ),
    NodeType(
        "keltner",
        Category.OVERLAP,
        "Keltner channel: an exponential average of the typical price, and average true ranges above and below it.",
        _keltner,
        (),
        BANDS,
        (
            period(20),
            period(10, minimum=1, name="atrperiod", summary="Bars of the average true range."),
            Param("nbdev", ParamKind.NUMBER, 2, "Average true ranges from the middle to a band.", -1000, 1000),
            TIMEFRAME,
        ),
        _keltner_lookback,
        "TA-Lib KC; L. B. Raschke's form of C. W. Keltner's channel",
    ),
    NodeType(
        "donchian",
        Category.OVERLAP,
        "Donchian channel: the highest high, the lowest low, and what lies half way.",
        _donchian,
        (),
        BANDS,
        (period(20), TIMEFRAME),
        one_less,
        "TA-Lib DONCHIAN",
    ),
    NodeType(
        "supertrend",
        Category.OVERLAP,
        "A stop some average true ranges from the middle of the bar that never gives way while the trend lasts.",
        _supertrend,
        (),
        (Port("value"), Port("direction", summary="1 up, -1 down")),
        (
            period(10),
            Param("multiplier", ParamKind.NUMBER, 3, "Average true ranges from the middle of the bar.", 0, 1000),
            TIMEFRAME,
        ),
        whole,
        "TA-Lib SUPERTREND; O. Seban",
    ),
    NodeType(
        "ichimoku",
        Category.OVERLAP,
        "Ichimoku's lines: the middles of three ranges, and the cloud that was drawn ahead to this bar.",
        _ichimoku,
        (),
        (
            Port("conversion", summary="the middle of the short range"),
            Port("base", summary="the middle of the medium range"),
            Port("span_a", summary="half way between conversion and base, as of displacement bars ago"),
            Port("span_b", summary="the middle of the long range, as of displacement bars ago"),
        ),
        (
            period(9, minimum=1, name="conversionperiod", summary="Bars of the short range."),
            period(26, minimum=1, name="baseperiod", summary="Bars of the medium range."),
            period(52, minimum=1, name="spanperiod", summary="Bars of the long range."),
            period(26, minimum=0, name="displacement", summary="Bars by which the spans are drawn ahead."),
            TIMEFRAME,
        ),
        _ichimoku_lookback,
        "G. Hosoda, Ichimoku Kinko Hyo (1969)",
    ),
)
