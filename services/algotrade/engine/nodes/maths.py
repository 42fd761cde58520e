"""Arithmetic on ports and moving windows of samples. What is not finite becomes NaN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from algotrade.engine import elementary
from algotrade.engine.ir import F64, Expr, Function, const, select
from algotrade.engine.node_type import VALUE, Category, Lower, NodeType, Param, ParamKind, Port, boolean, number
from algotrade.engine.nodes import kernels, windows
from algotrade.engine.nodes.overlap import one_less, period
from algotrade.engine.site import NAN, Site, Value

WINDOW: Final = 30  # TA-Lib's for MAX, MIN and SUM


def _operation(op: str) -> Lower:
    def lower(site: Site) -> dict[str, Value]:
        a, b = site.input("a").value, site.input("b").value
        return {"value": site.number_out(a.op2(op, b))}

    return lower


def _power(site: Site) -> dict[str, Value]:
    value = site.f.call(elementary.power(), site.input("a").value, site.input("b").value)
    return {"value": site.scope.series(value)}


def _exact(op: str) -> Lower:
    """An operation whose result is no larger than its input and NaN only with it."""

    def lower(site: Site) -> dict[str, Value]:
        x = site.input()
        return {"value": site.scope.series(x.value.op1(op), always=x.always, tame=x.tame)}

    return lower


def _sqrt(site: Site) -> dict[str, Value]:
    x = site.input()
    return {"value": site.scope.series(x.value.op1("sqrt"), tame=x.tame)}


def _round(site: Site) -> dict[str, Value]:
    """Half away from zero. Adding a half first would carry 0.49999999999999994 to 1."""
    f, x = site.f, site.input()
    whole = f.let(x.value.op1("trunc"))
    one = select(x.value < 0.0, const(F64, -1.0), 1.0)
    away = (x.value - whole).op1("abs") >= 0.5
    return {"value": site.scope.series(select(away, whole + one, whole), always=x.always, tame=x.tame)}


def _function(function: Callable[[], Function]) -> Lower:
    def lower(site: Site) -> dict[str, Value]:
        return {"value": site.scope.series(site.f.call(function(), site.input().value))}

    return lower


def _clamp(site: Site) -> dict[str, Value]:
    f, x = site.f, site.input()
    low, high = site.number("low"), site.number("high")
    value = f.let(select(x.value > high, high, x.value))
    return {"value": site.scope.series(select(value < low, low, value), always=x.always)}


def in_order(settings: Mapping[str, object]) -> tuple[str, str] | None:
    """The rule of parameters low and high; what is bound at run time is not judged: clamp then gives low."""
    low, high = settings["low"], settings["high"]
    if isinstance(low, float) and isinstance(high, float) and low > high:
        return "low", "is above high"
    return None


def _lag(site: Site) -> dict[str, Value]:
    return {"value": site.scope.series(_before(site, lambda past, now: past))}


def _pct_change(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(_before(site, lambda past, now: (now - past) / past))}


def _before(site: Site, of: Callable[[Expr, Expr], Expr]) -> Expr:
    """Something of the sample ``n`` samples ago and the one now."""
    f, x, n, out = site.f, site.input(), site.integer("n"), site.out()
    x.keep(site.most("n") + 1)
    with x.step(), f.when(x.count() > n):
        f.set(out, of(f.let(x.ago(n)), x.value))
    return out


def _n(site: Site) -> Expr:
    return site.integer("n")


def _extreme(*, greatest: bool) -> Lower:
    def lower(site: Site) -> dict[str, Value]:
        x = site.input()
        n, most = site.integer("timeperiod"), site.most("timeperiod")
        value, _ = windows.extreme(site, x, n, most, greatest=greatest)
        return {"value": site.scope.series(value, tame=x.tame)}

    return lower


def _sum(site: Site) -> dict[str, Value]:
    """A running sum from which the oldest is taken after use (TA_SUM)."""
    f, x, n = site.f, site.input(), site.integer("timeperiod")
    total, out = site.slot(F64), site.out()
    x.keep(site.most("timeperiod"))
    with x.step():
        now = f.var(F64, total.get() + x.value)
        with f.when(x.count() >= n):
            f.set(out, now)
            f.set(now, now - x.ago(n - 1))
        total.set(now)
    return {"value": site.number_out(out, tame=x.tame)}


def _mean(site: Site) -> dict[str, Value]:
    x = site.input()
    mean = kernels.sma(site, x, site.integer("timeperiod"), site.most("timeperiod"))
    return {"value": site.number_out(mean, tame=x.tame)}


def _median(site: Site) -> dict[str, Value]:
    x = site.input()
    middle = windows.median(site, x, site.integer("timeperiod"), site.most("timeperiod"))
    return {"value": site.number_out(middle, tame=x.tame)}


def _of_all(join: Callable[[Expr, Expr], Expr]) -> Lower:
    def lower(site: Site) -> dict[str, Value]:
        f, values = site.f, site.numbers("inputs")
        joined, known = values[0].value, values[0].valid()
        for x in values[1:]:
            joined, known = f.let(join(joined, x.value)), known & x.valid()
        return {"value": site.number_out(select(known, joined, NAN))}

    return lower


def _cumsum(site: Site) -> dict[str, Value]:
    f, x, total = site.f, site.input(), site.slot(F64)
    if site.connected("reset"):
        with f.when(site.truth("reset").true):
            total.set(0.0)
    out = site.out()
    with x.step():
        f.set(out, total.get() + x.value)
        total.set(out)
    return {"value": site.number_out(out)}


def _select(site: Site) -> dict[str, Value]:
    f, when, a, b = site.f, site.truth("when"), site.input("a"), site.input("b")
    out = f.var(F64, select(when.true, a.value, b.value))
    with f.when((when.true | when.false).op1("eqz")):
        f.set(out, NAN)
    return {"value": site.scope.series(out, tame=a.tame and b.tame)}


def _binary(name: str, lower: Lower, summary: str) -> NodeType:
    return NodeType(name, Category.MATH, summary, lower, (number("a"), number("b")), VALUE)


def _unary(name: str, lower: Lower, summary: str, source: str = "") -> NodeType:
    return NodeType(name, Category.MATH, summary, lower, (number(),), VALUE, source=source)


def _shifted(name: str, lower: Lower, summary: str) -> NodeType:
    params = (period(1, name="n", minimum=1, summary="How many samples ago."),)
    return NodeType(name, Category.MATH, summary, lower, (number(),), VALUE, params, _n)


def _window(name: str, lower: Lower, summary: str, source: str, minimum: int = 2) -> NodeType:
    params = (period(WINDOW, minimum=minimum),)
    return NodeType(name, Category.MATH, summary, lower, (number(),), VALUE, params, one_less, source)


def _joined(name: str, join: Callable[[Expr, Expr], Expr], summary: str) -> NodeType:
    inputs = (Port("inputs", many=True),)
    return NodeType(name, Category.MATH, f"{summary} NaN if one of them is.", _of_all(join), inputs, VALUE)


NODES = (
    _binary("add", _operation("add"), "a + b."),
    _binary("sub", _operation("sub"), "a - b."),
    _binary("mul", _operation("mul"), "a · b."),
    _binary("div", _operation("div"), "a / b; division by zero gives NaN."),
    _binary("power", _power, "a to the power of b; NaN where that is no real number."),
    _unary("abs", _exact("abs"), "The distance from zero."),
    _unary("neg", _exact("neg"), "The same with the other sign."),
    _unary("ln", _function(elementary.ln), "The natural logarithm; NaN unless above zero."),
    _unary("exp", _function(elementary.exp), "e to the power of the input."),
    _unary("sqrt", _sqrt, "The square root; NaN below zero."),
    _unary("round", _round, "The nearest whole number, half away from zero."),
    _unary("floor", _exact("floor"), "The greatest whole number that is not above."),
    _unary("ceil", _exact("ceil"), "The least whole number that is not below."),
    NodeType(
        "clamp",
        Category.MATH,
        "The input, but no less than low and no more than high.",
        _clamp,
        (number(),),
        VALUE,
        (
            Param("low", ParamKind.NUMBER, 0, "The least it can be."),
            Param("high", ParamKind.NUMBER, 100, "The most it can be."),
        ),
        rule=in_order,
    ),
    _shifted("lag", _lag, "The sample n samples ago."),
    _shifted("pct_change", _pct_change, "The change since n samples ago as a share of it: 0.01 is one percent."),
    _window("max", _extreme(greatest=True), "The greatest of the last samples.", "TA-Lib MAX"),
    _window("min", _extreme(greatest=False), "The least of the last samples.", "TA-Lib MIN"),
    _window("sum", _sum, "The sum of the last samples.", "TA-Lib SUM"),
    _window("mean", _mean, "The mean of the last samples.", "TA-Lib SMA", minimum=1),
    _window(
        "median",
        _median,
        "The middle of the last samples; the mean of the two in the middle where there is an even number.",
        "Hyndman and Fan, Sample Quantiles in Statistical Packages (1996), type 7",
        minimum=1,
    ),
    _joined("minof", lambda a, b: select(a < b, a, b), "The least of the inputs."),
    _joined("maxof", lambda a, b: select(a > b, a, b), "The greatest of the inputs."),
    _joined("sumof", lambda a, b: a + b, "The sum of the inputs."),
    NodeType(
        "cumsum",
        Category.MATH,
        "The sum of all samples; where reset is true it begins anew with that bar's.",
        _cumsum,
        (number(), boolean("reset", "Left open: never.", required=False)),
        VALUE,
    ),
    NodeType(
        "select",
        Category.MATH,
        "a where the condition is true, b where it is false, NaN where it is unknown.",
        _select,
        (boolean("when"), number("a"), number("b")),
        VALUE,
    ),
)
