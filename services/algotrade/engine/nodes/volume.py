"""What the volume says about the price."""

from __future__ import annotations

from algotrade.engine.ir import F64, Expr, maximum, select
from algotrade.engine.node_type import TIMEFRAME, VALUE, Category, Lookback, Lower, NodeType, Param
from algotrade.engine.nodes import kernels, windows
from algotrade.engine.nodes.overlap import one_less, period, whole
from algotrade.engine.site import NAN, Series, Site, Value


def _obv(site: Site) -> dict[str, Value]:
    f, close, volume, out = site.f, site.bar("close"), site.bar("volume"), site.out()
    state, last = site.slot(F64), site.slot(F64)
    with close.step():
        before = f.let(last.get())
        last.set(close.value)
        sum = f.var(F64, state.get())
        with f.when(close.value > before) as rose:  # the first close is above 0 and counts as a rise
            f.set(sum, sum + volume.value)
        with f.otherwise(rose), f.when(close.value < before):
            f.set(sum, sum - volume.value)
        state.set(sum)
        f.set(out, sum)
    return {"value": site.number_out(out)}


def money_flow(site: Site) -> Series:
    """The volume, with a sign and a size from where the close stands in the bar: 1 at the high, -1 at the low."""
    f, out = site.f, site.out()
    high, low, close, volume = (site.bar(field) for field in ("high", "low", "close", "volume"))
    with close.step():
        reach = f.let(high.value - low.value)
        f.set(out, 0.0)
        with f.when(reach > 0.0):
            f.set(out, (close.value - low.value - (high.value - close.value)) / reach * volume.value)
    return site.scope.series(out)


def accumulation(site: Site) -> Series:
    """The running sum of the money flow (TA_AD)."""
    f, state, out = site.f, site.slot(F64), site.out()
    flow = money_flow(site)
    with flow.step():
        f.set(out, state.get() + flow.value)
        state.set(out)
    return site.scope.series(out)


def _ad(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(accumulation(site).value)}


def _adosc(site: Site) -> dict[str, Value]:
    """Both averages begin with the first sum itself, not with a mean of some (TA_ADOSC)."""
    f, out, x = site.f, site.out(), accumulation(site)
    fast, slow = site.slot(F64), site.slot(F64)
    with x.step():
        for slot, name in ((fast, "fastperiod"), (slow, "slowperiod")):
            factor = f.let(2.0 / (site.integer(name) + 1).to(F64))
            mean = f.let(factor * x.value + (1.0 - factor) * slot.get())
            slot.set(select(x.count().eq(1), x.value, mean))
        with f.when(x.count() > _adosc_lookback(site)):
            f.set(out, fast.get() - slow.get())
    return {"value": site.number_out(out)}


def _adosc_lookback(site: Site) -> Expr:
    return maximum(site.integer("fastperiod"), site.integer("slowperiod")) - 1


def _cmf(site: Site) -> dict[str, Value]:
    f, n, most, out = site.f, site.integer("timeperiod"), site.most("timeperiod"), site.out()
    flow = windows.total(site, money_flow(site), n, most)
    volume = windows.total(site, site.bar("volume"), n, most)
    with f.when(volume.eq(volume)):
        f.set(out, 0.0)
        with f.when(volume > 0.0):
            f.set(out, flow / volume)
    return {"value": site.number_out(out)}


def _force_index(site: Site) -> dict[str, Value]:
    moves = kernels.change(site, site.bar("close")).value * site.bar("volume").value
    return {"value": site.number_out(kernels.ema(site, site.scope.series(moves), site.integer("timeperiod")))}


def _relative_volume(site: Site) -> dict[str, Value]:
    f, x, n, out = site.f, site.bar("volume"), site.integer("timeperiod"), site.out()
    total, before = windows.total(site, x, n, site.most("timeperiod")), site.slot(F64, NAN)
    with x.step():
        f.set(out, x.value / (before.get() / n.to(F64)))
        before.set(total)
    return {"value": site.number_out(out)}


def _node(
    name: str, summary: str, lower: Lower, params: tuple[Param, ...], lookback: Lookback | None, source: str
) -> NodeType:
    return NodeType(name, Category.VOLUME, summary, lower, (), VALUE, (*params, TIMEFRAME), lookback, source)


NODES = (
    _node(
        "obv",
        "On-balance volume: a running sum of the volume, added on a rise and taken away on a fall of the close.",
        _obv,
        (),
        None,
        "TA-Lib OBV; J. Granville, New Key to Stock Market Profits (1963)",
    ),
    _node(
        "ad",
        "Accumulation and distribution: a running sum of the volume, weighed by where the close stands in the bar.",
        _ad,
        (),
        None,
        "TA-Lib AD; M. Chaikin",
    ),
    _node(
        "adosc",
        "Chaikin's oscillator: a fast exponential average of accumulation and distribution less a slow one.",
        _adosc,
        (
            period(3, name="fastperiod", summary="Bars of the fast average."),
            period(10, name="slowperiod", summary="Bars of the slow average."),
        ),
        _adosc_lookback,
        "TA-Lib ADOSC; M. Chaikin",
    ),
    _node(
        "cmf",
        "Chaikin's money flow, -1 to 1: volume weighed by where the close stands in the bar, as a share of all volume.",
        _cmf,
        (period(20),),
        one_less,
        "TA-Lib CMF; M. Chaikin; 0 where nothing was traded",
    ),
    _node(
        "force_index",
        "Elder's force index: an exponential average of the close's change times the volume.",
        _force_index,
        (period(13, minimum=1),),
        whole,
        "TA-Lib EFI; A. Elder, Trading for a Living (1993)",
    ),
    _node(
        "relative_volume",
        "The volume as a multiple of the mean volume of the bars before it.",
        _relative_volume,
        (period(20, minimum=1),),
        whole,
        "TA-Lib RVOL",
    ),
)
