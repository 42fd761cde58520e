"""Wilder's directional movement: which way the bars reach beyond each other, and whether that lasts."""

from __future__ import annotations

from algotrade.engine.ir import F64, Expr
from algotrade.engine.node_type import TIMEFRAME, VALUE, Category, Lookback, Lower, NodeType
from algotrade.engine.nodes import ranges
from algotrade.engine.nodes.overlap import period, whole
from algotrade.engine.site import Site, Value

_WILDER = "J. W. Wilder, New Concepts in Technical Trading Systems (1978)"


def _indicator(*, up: bool) -> Lower:
    """0 where there was no range at all."""

    def lower(site: Site) -> dict[str, Value]:
        f, out = site.f, site.out()
        moves = ranges.movement(site, site.integer("timeperiod"))
        with f.when(moves.range.eq(moves.range)):
            f.set(out, 0.0)
            with f.when(moves.range.ne(0.0)):
                f.set(out, 100.0 * ((moves.up if up else moves.down) / moves.range))
        return {"value": site.number_out(out, tame=True)}

    return lower


def _directional_index(site: Site) -> Expr:
    """The difference of both indicators as a share of their sum; NaN where there was no movement, and at first."""
    f, out = site.f, site.out()
    moves = ranges.movement(site, site.integer("timeperiod"))
    with f.when(moves.range > 0.0):
        down, up = f.let(100.0 * (moves.down / moves.range)), f.let(100.0 * (moves.up / moves.range))
        both = f.let(down + up)
        with f.when(both.ne(0.0)):
            f.set(out, 100.0 * ((down - up).op1("abs") / both))
    return out


def _dx(site: Site) -> dict[str, Value]:
    """Without movement it keeps its last value, which is 0 at first (TA_DX)."""
    f, last, out = site.f, site.slot(F64), site.out()
    index, close = _directional_index(site), site.bar("close")
    with f.when(index.eq(index)):
        last.set(index)
    with close.step(), f.when(close.count() > site.integer("timeperiod")):
        f.set(out, last.get())
    return {"value": site.number_out(out, tame=True)}


def _average_index(site: Site) -> Expr:
    """Bars without movement add nothing to the first mean, and leave later ones as they are (TA_ADX)."""
    f, n, state, out = site.f, site.integer("timeperiod"), site.slot(F64), site.out()
    index, close = _directional_index(site), site.bar("close")
    size = f.let(n.to(F64))
    with close.step():
        seen = f.let(close.count() - n)
        with f.when(index.eq(index)):
            with f.when(seen > n) as running:
                state.set((state.get() * (size - 1.0) + index) / size)
            with f.otherwise(running):
                state.set(state.get() + index)
        with f.when(seen.eq(n)):
            state.set(state.get() / size)
        with f.when(seen >= n):
            f.set(out, state.get())
    return out


def _adx(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(_average_index(site), tame=True)}


def _adxr(site: Site) -> dict[str, Value]:
    f, n, out = site.f, site.integer("timeperiod"), site.out()
    x = site.scope.series(_average_index(site), tame=True)
    x.keep(site.most("timeperiod"))
    with x.step(), f.when(x.count() >= n):
        f.set(out, (x.value + x.ago(n - 1)) * 0.5)
    return {"value": site.number_out(out, tame=True)}


def _node(name: str, summary: str, lower: Lower, lookback: Lookback) -> NodeType:
    return NodeType(
        name,
        Category.MOMENTUM,
        summary,
        lower,
        (),
        VALUE,
        (period(14), TIMEFRAME),
        lookback,
        f"TA-Lib {name.upper()}; {_WILDER}",
    )


NODES = (
    _node(
        "plus_di",
        "Upward movement of the bars as a percentage of their true range.",
        _indicator(up=True),
        whole,
    ),
    _node(
        "minus_di",
        "Downward movement of the bars as a percentage of their true range.",
        _indicator(up=False),
        whole,
    ),
    _node(
        "dx",
        "Directional index, 0 to 100: how one-sided the movement is.",
        _dx,
        whole,
    ),
    _node(
        "adx",
        "Average directional index, 0 to 100: the strength of a trend, whichever way it goes.",
        _adx,
        lambda site: site.integer("timeperiod") * 2 - 1,
    ),
    _node(
        "adxr",
        "Mean of the average directional index and its value timeperiod - 1 bars ago.",
        _adxr,
        lambda site: site.integer("timeperiod") * 3 - 2,
    ),
)
