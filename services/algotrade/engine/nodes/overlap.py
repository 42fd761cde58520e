"""Averages and bands that lie over the price."""

from __future__ import annotations

from algotrade.engine.ir import Expr
from algotrade.engine.limits import MAX_PERIOD
from algotrade.engine.node_type import VALUE, Category, Lower, NodeType, Param, ParamKind, Port, number
from algotrade.engine.nodes import kernels
from algotrade.engine.site import Site, Value


def period(default: int, *, minimum: int = 2, name: str = "timeperiod", summary: str = "Number of samples.") -> Param:
    return Param(name, ParamKind.INT, default, summary, minimum, MAX_PERIOD, unit="bars", sizes_memory=True)


def one_less(site: Site) -> Expr:
    """The lookback of a window of ``timeperiod`` samples."""
    return site.integer("timeperiod") - 1


def _sma(site: Site) -> dict[str, Value]:
    x = site.input()
    average = kernels.sma(site, x, site.integer("timeperiod"), site.most("timeperiod"))
    return {"value": site.number_out(average, tame=x.tame)}


def _ema(site: Site) -> dict[str, Value]:
    x = site.input()
    return {"value": site.number_out(kernels.ema(site, x, site.integer("timeperiod")), tame=x.tame)}


def _wma(site: Site) -> dict[str, Value]:
    x = site.input()
    average = kernels.wma(site, x, site.integer("timeperiod"), site.most("timeperiod"))
    return {"value": site.number_out(average, tame=x.tame)}


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


def _average(name: str, summary: str, lower: Lower, source: str) -> NodeType:
    return NodeType(
        name,
        Category.OVERLAP,
        summary,
        lower,
        (number(),),
        VALUE,
        (period(30),),
        one_less,
        source,
    )


NODES = (
    _average("sma", "Simple moving average: the mean of the last samples.", _sma, "TA-Lib SMA"),
    _average("ema", "Exponential moving average, seeded by the mean of its first samples.", _ema, "TA-Lib EMA"),
    _average("wma", "Weighted moving average: weights rise linearly to the newest sample.", _wma, "TA-Lib WMA"),
    NodeType(
        "bbands",
        Category.OVERLAP,
        "Bollinger bands: the simple average, and lines a number of standard deviations above and below it.",
        _bbands,
        (number(),),
        (Port("upper"), Port("middle"), Port("lower")),
        (period(20), _deviations("nbdevup", "above"), _deviations("nbdevdn", "below")),
        one_less,
        "TA-Lib BBANDS, simple average, population deviation",
    ),
)
