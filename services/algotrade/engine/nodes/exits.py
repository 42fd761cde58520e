"""Levels at which a position is left without a decision at a close, and the one decision that needs no input."""

from __future__ import annotations

from algotrade.engine import row as R
from algotrade.engine.broker import broker
from algotrade.engine.fixed import SCALE
from algotrade.engine.ir import F64, I32, I64, Expr, const, select
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.node_type import Category, NodeType, Param, ParamKind, number
from algotrade.engine.nodes.actions import decided_at_the_close
from algotrade.engine.nodes.overlap import period
from algotrade.engine.nodes.ranges import average_true_range
from algotrade.engine.site import Site, Slot, Value

FIELD = {"stop_loss": "set_stop", "take_profit": "target"}


def _level(site: Site) -> dict[str, Value]:
    """At each close: the distance that an entry decided here would use, or the level itself."""
    if site.has("atr_multiple"):
        average = site.f.let(average_true_range(site, site.integer("timeperiod")))
        # Against the trader, as the level is entry less or plus the distance: a stop farther, a target nearer.
        rounding = "ceil" if site.node.type.name == "stop_loss" else "floor"
        newest = _newest(site) if site.scope.features.resting else _distance(site)
        newest.set((average * site.number("atr_multiple") * float(SCALE)).op1(rounding).to(I64))
    elif site.connected("level"):
        level, row = site.input("level"), site.row
        with level.step():
            _sampled(site).set(level.value * float(SCALE))
        with site.f.when(row["quantity"].ne(0)):
            short = row["quantity"] < 0 if site.scope.features.short else None
            set_level(site, row["average_price"], short)
            site.f.run(broker(site.scope.features).triggers, site.scope.base)
    return {}


def freeze(site: Site) -> None:
    """Keep the distance of this close for the entry that is decided here and may fill much later."""
    if site.scope.features.resting and site.has("atr_multiple"):
        _distance(site).set(_newest(site).get())


def set_level(site: Site, price: Expr, short: Expr | None) -> None:
    """Put the stop or target where this node wants it, given the entry's price and side (None: long).

    Rounded to price_step down for a long and up for a short, whichever it is.
    """
    f, row, base = site.f, site.row, site.scope.base
    up = const(I32, 0) if short is None else f.let(short)
    stop = site.node.type.name == "stop_loss"
    # Whether the level lies below the price: a long's stop, a short's target.
    below = const(I32, int(stop)) if short is None else up ^ int(stop)
    if site.has("percent"):
        percent, whole = site.decimal("percent"), const(I64, R.WHOLE_PERCENT)
        share = f.let(_choose(below, whole - percent, percent + R.WHOLE_PERCENT))
        if short is not None:  # a short's target of more than the whole price
            share = select(share < 0, const(I64, 0), share)
        raw: Expr = f.call(broker().muldiv, price, share, R.WHOLE_PERCENT, up)
    elif site.has("atr_multiple"):
        distance = _distance(site).get()
        raw = _choose(below, price - distance, price + distance)
    else:
        exact = _sampled(site).get()
        raw = exact.to(I64) if short is None else select(up, exact.op1("ceil").to(I64), exact.to(I64))
    level = f.let(f.call(broker().to_step, base, f.let(raw), up))
    field = FIELD[site.node.type.name]
    row[field] = 0
    # A level that is not a price (below zero, not yet known, absurdly far) is none.
    with f.when((level > 0) & (level < MAX_AMOUNT)):
        row[field] = level


def _choose(condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    if condition.op == "const":
        return then if condition.imm else otherwise
    return select(condition, then, otherwise)


def _distance(site: Site) -> Slot:
    return site.scope.slot(I64, 0, f"exit:{site.node.type.name}")


def _newest(site: Site) -> Slot:
    return site.scope.slot(I64, 0, f"newest:{site.node.type.name}")


def _sampled(site: Site) -> Slot:
    return site.scope.slot(F64, 0, f"exit:{site.node.type.name}")


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


def _percent(name: str, default: float | None, summary: str, low: float, most: float) -> Param:
    return Param(name, ParamKind.DECIMAL, default, summary, low, most, unit="%")


NODES = (
    _exit("stop_loss", "Leave once the price comes to a level on the losing side.", 99.99999999),
    _exit("take_profit", "Leave once the price trades through a level on the winning side.", 1_000_000),
    NodeType(
        "trailing_stop",
        Category.RISK,
        "Leave once the price falls back (for a short: rises) by a percentage from its best since the entry. Each "
        "tick is first held against the level, then moves it.",
        decided_at_the_close,
        params=(
            _percent("percent", 5, "Distance from the best price.", 1e-8, 99.99999999),
            _percent("activation_percent", 0, "Begin once the price has gained this much.", 0, 1_000_000),
        ),
    ),
    NodeType(
        "break_even",
        Category.RISK,
        "Once the price has gained a percentage, leave where it comes back to the entry's price.",
        decided_at_the_close,
        params=(_percent("trigger_percent", 1, "The gain from the entry's price.", 1e-8, 1_000_000),),
    ),
    NodeType(
        "time_stop",
        Category.RISK,
        "Close the position at the market after a number of closes; the first after the entry counts as 1.",
        decided_at_the_close,
        params=(Param("bars", ParamKind.INT, 10, "How many closes.", 1, 1_000_000, unit="bars"),),
    ),
)
