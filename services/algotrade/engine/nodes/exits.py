"""Levels at which a position is left without a decision at a close."""

from __future__ import annotations

from algotrade.engine import row as R
from algotrade.engine.broker import broker
from algotrade.engine.fixed import SCALE
from algotrade.engine.ir import I64, Expr, const
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.node_type import Category, NodeType, Param, ParamKind, number
from algotrade.engine.nodes.overlap import period
from algotrade.engine.nodes.volatility import average_true_range
from algotrade.engine.site import Site, Slot, Value

FIELD = {"stop_loss": "stop", "take_profit": "target"}


def _level(site: Site) -> dict[str, Value]:
    """At each close: the distance that an entry decided here would use, or the level itself."""
    if site.has("atr_multiple"):
        average = site.f.let(average_true_range(site, site.integer("timeperiod")))
        # The level is entry - distance or entry + distance, and it is to be rounded down.
        rounding = "ceil" if site.node.type.name == "stop_loss" else "floor"
        _distance(site).set((average * site.number("atr_multiple") * float(SCALE)).op1(rounding).to(I64))
    elif site.connected("level"):
        level = site.input("level")
        with level.step():
            _distance(site).set((level.value * float(SCALE)).to(I64))
        with site.f.when(site.row["quantity"].ne(0)):
            set_level(site)
            site.f.run(broker().triggers, site.scope.base)
    return {}


def set_level(site: Site) -> None:
    """Put the stop or target where this node wants it, given the entry's price. Rounded down to price_step."""
    f, row, base = site.f, site.row, site.scope.base
    below = site.node.type.name == "stop_loss"
    price = row["average_price"]
    if site.has("percent"):
        percent = site.decimal("percent")
        share = (const(I64, R.WHOLE_PERCENT) - percent) if below else percent + R.WHOLE_PERCENT
        raw: Expr = f.call(broker().muldiv, price, share, R.WHOLE_PERCENT, 0)
    elif site.has("atr_multiple"):
        raw = price - _distance(site).get() if below else price + _distance(site).get()
    else:
        raw = _distance(site).get()
    level = f.let(f.call(broker().to_step, base, f.let(raw), 0))
    field = FIELD[site.node.type.name]
    row[field] = 0
    # A level that is not a price (below zero, not yet known, absurdly far) is none.
    with f.when((level > 0) & (level < MAX_AMOUNT)):
        row[field] = level


def _distance(site: Site) -> Slot:
    return site.scope.slot(I64, 0, f"exit:{site.node.type.name}")


def _exit(name: str, summary: str, most: float) -> NodeType:
    return NodeType(
        name,
        Category.RISK,
        summary,
        _level,
        (number("level", "The price itself, sampled at closes.", required=False),),
        (),
        (
            Param("percent", ParamKind.DECIMAL, None, "Distance from the entry's price.", 1e-8, most, unit="%"),
            Param("atr_multiple", ParamKind.NUMBER, None, "Distance in average true ranges.", 1e-8, 1000),
            period(14, minimum=1, summary="Bars of the average true range."),
        ),
        lambda site: site.integer("timeperiod") if site.has("atr_multiple") else 0,
    )


NODES = (
    _exit("stop_loss", "Sell everything once the price falls to a level.", 99.99999999),
    _exit("take_profit", "Sell everything once the price trades above a level.", 1_000_000),
)
