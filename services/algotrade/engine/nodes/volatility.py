"""How far prices move."""

from __future__ import annotations

from algotrade.engine.ir import F64, Expr
from algotrade.engine.node_type import TIMEFRAME, VALUE, Category, NodeType
from algotrade.engine.nodes import kernels
from algotrade.engine.nodes.overlap import period
from algotrade.engine.site import NAN, Site, Value


def average_true_range(site: Site, n: Expr) -> Expr:
    """Wilder's smoothing of the true range, seeded by the mean of the first n; the first bar has none (TA_ATR)."""
    f, scope, out = site.f, site.scope, site.out()
    state, last_close = site.slot(F64), site.slot(F64, NAN)
    high, low, close = (scope.price(field).value for field in ("high", "low", "close"))
    before = f.let(last_close.get())
    last_close.set(close)
    with f.when(scope.bars > 1):
        widest = f.var(F64, high - low)
        for reach in ((before - high).op1("abs"), (before - low).op1("abs")):
            reach = f.let(reach)
            with f.when(reach > widest):
                f.set(widest, reach)
        size = f.let(n.to(F64))
        with f.when(scope.bars > n + 1) as running:
            f.set(out, (state.get() * (size - 1.0) + widest) / size)
            state.set(out)
        with f.otherwise(running):
            f.set(out, f.call(kernels.seed(), state.address(), widest, scope.bars - 1, n))
    return out


def _atr(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(average_true_range(site, site.integer("timeperiod")))}


NODES = (
    NodeType(
        "atr",
        Category.VOLATILITY,
        "Average true range: the smoothed distance that a bar covers, gaps included.",
        _atr,
        (),
        VALUE,
        (period(14, minimum=1), TIMEFRAME),
        lambda site: site.integer("timeperiod"),
        source="TA-Lib ATR; J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
    ),
)
