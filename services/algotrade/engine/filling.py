"""The graph's part in a fill: who entered and how much, at which levels to leave, and how stops follow the price.

The broker calls these by name (`broker/hooks.py`). ``enter`` fills the entry that a close has decided, ``levels`` sets
stop and target of a new position, ``move`` lets trailing stop and break even follow a price.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from algotrade.engine import row as R
from algotrade.engine.broker import ENTER, LEVELS, MOVE, SIZE_MODES, Features, broker
from algotrade.engine.calendar import calendar
from algotrade.engine.ir import I32, I64, Expr, Function, Var, View, const, select
from algotrade.engine.nodes.exits import set_level
from algotrade.engine.records import Reason
from algotrade.engine.site import Row, Scope, Site
from algotrade.engine.strategy import CheckedNode, Strategy

ENTERING: Final = ("buy", "short", "reverse")


def features_of(strategy: Strategy) -> Features:
    """What this graph can ever need of the broker."""
    types = {node.type.name for node in strategy.nodes}
    settings = {(name, value) for node in strategy.nodes for name, value in node.params.items()}
    return Features(
        short=bool(types & {"short", "reverse"}),
        moving=bool(types & {"trailing_stop", "break_even"}),
        resting=bool({("order_type", "limit"), ("order_type", "stop")} & settings),
        risk_sized=("size_mode", "risk_percent") in settings,
    )


def of_types(strategy: Strategy, names: Iterable[str]) -> list[CheckedNode]:
    """The nodes of these types, in document order."""
    return [node for node in strategy.nodes if node.type.name in names]


def by_type(strategy: Strategy, *names: str) -> list[CheckedNode]:
    """The nodes of these types, in the order of the types: where that decides, the drawing must not."""
    return [node for name in names for node in of_types(strategy, (name,))]


def scope_outside(f: Function, row: Row, features: Features) -> Scope:
    """A scope outside a bar, for parameters and slots only."""
    return Scope(f, f.args[0], row, View(f, f.args[0], R.ROW), const(I32, 0), features)


def enter(strategy: Strategy, row: Row, features: Features) -> Function:
    """Fill the entry that was decided at a tick's price, or at the level it waited for: (row, time, price)."""
    f = Function(ENTER.name, ENTER.params)
    base, ts, price = f.args
    scope = scope_outside(f, row, features)
    s = scope.view
    wanted = f.let(s["entry_node"])
    limits = by_type(strategy, "daily_loss_limit", "max_trades_per_day")
    if limits:
        _daily_limits(scope, limits, ts, wanted)
    for node in of_types(strategy, ENTERING):
        site = Site(scope, node)
        with f.when(wanted.eq(node.index + 1)):
            short = s["entry_short"] if node.type.name == "reverse" else const(I32, int(node.type.name == "short"))
            final = _entry_price(site, price, short)
            mode, size = SIZE_MODES[site.choice("size_mode")], site.decimal("size")
            f.run(broker(features).enter, base, ts, final, node.index, mode, size, short)
    if any(node.type.name == "max_trades_per_day" for node in limits):
        with f.when(s["quantity"].ne(0)):
            s["trades_today"] = s["trades_today"] + 1
    return f


def _entry_price(site: Site, price: Expr, short: Expr) -> Expr:
    """A limit has no slippage, every other order has."""
    f, base, functions = site.f, site.scope.base, broker(site.scope.features)
    if site.node.params.get("order_type") == "limit":
        return f.let(f.call(functions.to_step, base, price, const(I32, 1) - short))
    if short.op == "const":
        return f.let(f.call(functions.sell_price if short.imm else functions.buy_price, base, price))
    final = f.var(I64)
    with f.when(short) as selling:
        f.set(final, f.call(functions.sell_price, base, price))
    with f.otherwise(selling):
        f.set(final, f.call(functions.buy_price, base, price))
    return final


def _daily_limits(scope: Scope, limits: list[CheckedNode], ts: Expr, wanted: Expr) -> None:
    """The day is the tick's: an order decided before midnight that fills after it belongs to the next day."""
    f, s = scope.f, scope.view
    day = f.let(f.call(calendar().day, s["day_zone"], s["day_zone_length"], ts))

    def refuse(condition: Expr, reason: Reason) -> None:
        with f.when(condition):
            f.run(broker(scope.features).reject, scope.base, wanted - 1, reason)
            f.ret()

    for node in limits:
        if node.type.name == "daily_loss_limit":
            refuse(s["blocked"] & day.eq(s["blocked_day"]), Reason.DAILY_LOSS_LIMIT)
        else:
            with f.when(day.ne(s["trades_day"])):
                s["trades_day"], s["trades_today"] = day, 0
            refuse(s["trades_today"] >= Site(scope, node).integer("n"), Reason.MAX_TRADES_PER_DAY)


def levels(strategy: Strategy, row: Row, features: Features) -> Function:
    """Stop and target of a position entered at a price: (row, price, short)."""
    f = Function(LEVELS.name, LEVELS.params)
    _, price, short = f.args
    scope = scope_outside(f, row, features)
    scope.view["set_stop"], scope.view["target"] = 0, 0
    for node in of_types(strategy, ("stop_loss", "take_profit")):
        set_level(Site(scope, node), price, short if features.short else None)
    return f


def move(strategy: Strategy, row: Row, features: Features) -> Function:
    """Let the stops follow a price: (row, price). They only ever come closer.

    Leaves in ``next_move`` the price from which on this has to be done again.
    """
    f = Function(MOVE.name, MOVE.params)
    base, price = f.args
    scope = scope_outside(f, row, features)
    s = scope.view
    short = f.let(s["quantity"] < 0) if features.short else const(I32, 0)
    best = f.var(I64, price)
    with f.when(_closer(short, best, s["best_price"])):
        f.set(best, s["best_price"])
    s["best_price"] = best
    stop, reason = f.var(I64, 0), f.var(I32, 0)
    following = f.var(I64, select(short, const(I64, 0), R.NO_LEVEL))
    for node in by_type(strategy, "break_even", "trailing_stop"):
        site = Site(scope, node)
        trailing = node.type.name == "trailing_stop"
        gain = site.decimal("activation_percent" if trailing else "trigger_percent")
        trigger = _share(f, s["average_price"], gain, above=short.eq(0), up=short.eq(0))
        with f.when(trigger < 0):  # beyond every price
            f.set(trigger, R.NO_LEVEL)
        with f.when(_closer(short, trigger, best) | trigger.eq(best)) as reached:
            level = f.var(I64, s["average_price"])
            if trailing:
                f.set(level, _share(f, best, site.decimal("percent"), above=short, up=short))
                f.set(following, _one_better(short, best))
            f.set(level, f.call(broker(features).to_step, base, level, short))
            # The tighter of the two, of equals the first; a level of 0 or less is none.
            with f.when((level > 0) & (stop.eq(0) | _closer(short, stop, level))):
                f.set(stop, level)
                f.set(reason, Reason.TRAILING_STOP if trailing else Reason.BREAK_EVEN)
        with f.otherwise(reached), f.when(_closer(short, trigger, following)):
            f.set(following, trigger)
    s["moving_stop"], s["moving_reason"], s["next_move"] = stop, reason, following
    return f


def _closer(short: Expr, a: Expr, b: Expr) -> Expr:
    """Whether ``a`` is less far in the position's favour than ``b``: below it when long, above it when short."""
    if short.op == "const":
        return a < b
    return select(short, a > b, a < b)


def _one_better(short: Expr, price: Expr) -> Expr:
    return price + 1 if short.op == "const" else select(short, price - 1, price + 1)


def _share(f: Function, price: Expr, percent: Expr, *, above: Expr, up: Expr) -> Var:
    """A price plus (``above``) or minus a percentage, rounded down or ``up`` to 1e-8."""
    whole = const(I64, R.WHOLE_PERCENT)
    rate = f.let(select(above, percent + R.WHOLE_PERCENT, whole - percent))
    rate = select(rate < 0, const(I64, 0), rate)
    return f.var(I64, f.call(broker().muldiv, price, rate, R.WHOLE_PERCENT, up))
