"""Bars averaged with those before them, so that a trend shows as bars of one colour."""

from __future__ import annotations

from algotrade.engine.ir import F64, Expr, select
from algotrade.engine.node_type import TIMEFRAME, Category, NodeType, Port
from algotrade.engine.site import Site, Value


def _heikin_ashi(site: Site) -> dict[str, Value]:
    """The first bar opens in the middle of its own body (TA_HA)."""
    f, opens = site.f, site.out()
    open, high, low, close = (site.bar(field) for field in ("open", "high", "low", "close"))
    mean = site.bar("ohlc4").value
    last_open, last_close = site.slot(F64), site.slot(F64)
    with close.step():
        first = close.count().eq(1)
        f.set(opens, (select(first, open.value, last_open.get()) + select(first, close.value, last_close.get())) * 0.5)
        last_open.set(opens)
        last_close.set(mean)
    top, bottom = f.let(_greater(opens, mean)), f.let(_greater(mean, opens, turned=True))
    return {
        "open": site.number_out(opens, tame=True),
        "high": site.number_out(_greater(high.value, top), tame=True),
        "low": site.number_out(_greater(low.value, bottom, turned=True), tame=True),
        "close": site.number_out(mean, tame=True),
    }


def _greater(a: Expr, b: Expr, *, turned: bool = False) -> Expr:
    """The greater of two, or the less."""
    return select(a < b if turned else a > b, a, b)


NODES = (
    NodeType(
        "heikin_ashi",
        Category.DATA,
        "Heikin-Ashi bars: the close is the mean of the bar's prices, the open the middle of the last such body.",
        _heikin_ashi,
        (),
        (Port("open"), Port("high"), Port("low"), Port("close")),
        (TIMEFRAME,),
        source="TA-Lib HA",
    ),
)
