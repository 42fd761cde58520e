"""Levels at which a position is left: where the broker has to look, and what a tick at such a price does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algotrade.engine import row as R
from algotrade.engine.broker.features import Features
from algotrade.engine.broker.hooks import MOVE
from algotrade.engine.fixed import SCALE
from algotrade.engine.ir import I32, I64, Expr, Function, Var, View, const, select
from algotrade.engine.records import INTERPOLATED, EventKind, Reason

if TYPE_CHECKING:
    from algotrade.engine.broker import Broker

_NEVER = const(I64, R.NO_LEVEL)


def triggers(muldiv: Function, features: Features) -> Function:
    """Settle which stop counts, and at which prices the broker has to look again: (row)."""
    f = Function("triggers", [I32])
    s = View(f, f.args[0], R.ROW)
    low, high = f.var(I64, 0), f.var(I64, R.NO_LEVEL)
    if features.resting:
        with f.when(s["order_level"].ne(0)):
            f.set(low, s["order_low"])
            f.set(high, s["order_high"])
    held, target = f.let(s["quantity"]), f.let(s["target"])
    with f.when(held > 0):
        stop = f.var(I64, s["set_stop"])
        s["stop_reason"] = Reason.STOP_LOSS
        if features.moving:
            with f.when(s["moving_stop"] > stop):
                f.set(stop, s["moving_stop"])
                s["stop_reason"] = s["moving_reason"]
        s["stop"] = stop
        f.set(low, stop)
        f.set(high, select(target > 0, target + 1, _NEVER))
        if features.moving:
            f.set(high, select(s["next_move"] < high, s["next_move"], high))
    if features.short:
        with f.when(held < 0):
            f.set(high, _short_stop(f, s, muldiv, features))
            f.set(low, select(target > 0, target - 1, const(I64, 0)))
            if features.moving:
                f.set(low, select(s["next_move"] > low, s["next_move"], low))
    s["low_trigger"], s["high_trigger"] = low, high
    return f


def _short_stop(f: Function, s: View, muldiv: Function, features: Features) -> Expr:
    """The tightest stop of a short. The last is the price at which its equity is used up: cash = quantity · price."""
    stop = f.var(I64, select(s["set_stop"] > 0, s["set_stop"], _NEVER))
    s["stop_reason"] = Reason.STOP_LOSS
    if features.moving:
        with f.when((s["moving_stop"] > 0) & (s["moving_stop"] < stop)):
            f.set(stop, s["moving_stop"])
            s["stop_reason"] = s["moving_reason"]
    used_up = f.var(I64, 1)
    with f.when(s["cash"] > 0):
        f.set(used_up, f.call(muldiv, s["cash"], SCALE, 0 - s["quantity"], 1))
    with f.when((used_up > 0) & (used_up < stop)):  # below 0: beyond every price
        f.set(stop, used_up)
        s["stop_reason"] = Reason.FORCED_CLOSE
    s["stop"] = select(stop.eq(R.NO_LEVEL), const(I64, 0), stop)
    return stop


def exits(b: Broker) -> Function:
    """Stop and target against one tick, then let the stops follow it: (row, price, flags).

    A real tick fills at its own price, an assumed one at the level. A stop is a market order once touched, so it slips;
    a target fills only where the price trades through it.
    """
    f = Function("exits", [I32, I64, I32])
    row, price, flags = f.args
    s = View(f, row, R.ROW)
    stop, target = f.let(s["stop"]), f.let(s["target"])
    assumed = f.let(flags & INTERPOLATED)
    final, reason = f.var(I64, 0), f.var(I32, 0)
    below = f.let(s["quantity"] < 0) if b.features.short else None
    stopped, through = (price <= stop), (price > target)
    if below is not None:
        stopped, through = select(below, price >= stop, stopped), select(below, price < target, through)
    with f.when((stop > 0) & stopped) as hit:
        market_price(f, b, final, select(assumed, _on_path(s, stop, below), price), below)
        f.set(reason, s["stop_reason"])
    with f.otherwise(hit), f.when((target > 0) & through):
        up = const(I32, 0) if below is None else below
        f.set(final, select(assumed, target, f.call(b.to_step, row, price, up)))
        f.set(reason, Reason.TAKE_PROFIT)
    with f.when(reason.eq(0)):
        if b.features.moving:
            _follow(f, s, b, price, assumed, below)
        f.ret()
    f.run(b.leave, row, final, R.WHOLE_PERCENT, -1, reason)
    with f.when(assumed & s["quantity"].eq(0)):
        _doubt(f, s, b, reason.ne(Reason.TAKE_PROFIT), (stop, target), below)
    return f


def _on_path(s: View, stop: Expr, below: Expr | None) -> Expr:
    """The level, or where an entry has gapped past it, the price before: an assumed path never came by the level."""
    before = s["last_price"]
    worse = before < stop if below is None else select(below, before > stop, before < stop)
    return select(worse, before, stop)


def market_price(f: Function, b: Broker, final: Var, tick: Expr, below: Expr | None) -> None:
    """Set a variable to what leaving at the market gets or costs at a tick's price."""
    row, at = f.args[0], f.let(tick)
    if below is None:
        f.set(final, f.call(b.sell_price, row, at))
        return
    with f.when(below) as buying:
        f.set(final, f.call(b.buy_price, row, at))
    with f.otherwise(buying):
        f.set(final, f.call(b.sell_price, row, at))


def _follow(f: Function, s: View, b: Broker, price: Expr, assumed: Expr, below: Expr | None) -> None:
    row = f.args[0]
    beyond = price >= s["next_move"]
    if below is not None:
        beyond = select(below, price <= s["next_move"], beyond)
    with f.when(beyond):
        before = f.let(s["moving_stop"])
        f.run(MOVE, row, price)
        f.run(b.triggers, row)
        with f.when(assumed & s["moving_stop"].ne(before)):
            s["attention"] = s["attention"] | R.PATH_MOVED


def _doubt(f: Function, s: View, b: Broker, stopped: Expr, levels: tuple[Expr, Expr], below: Expr | None) -> None:
    """After an exit on an assumed path: it is ambiguous where that path had moved something, or where a later point
    of the same bar reaches the other level.
    """
    stop, target = levels
    watch_low = f.var(I64, select(stopped, const(I64, 0), stop))
    watch_high = f.var(I64, select(stopped & (target > 0), target + 1, _NEVER))
    if below is not None:
        with f.when(below):
            f.set(watch_low, select(stopped & (target > 0), target - 1, const(I64, 0)))
            f.set(watch_high, select(stopped | stop.eq(0), _NEVER, stop))
    s["watched_low"], s["watched_high"] = watch_low, watch_high
    watching = s["attention"] | R.WATCH_PATH
    if not (b.features.moving or b.features.resting):
        s["attention"] = watching
        return
    with f.when(s["attention"] & R.PATH_MOVED) as moved:
        tell_ambiguous(f, b, f.args[1])
    with f.otherwise(moved):
        s["attention"] = watching


def touch_late(f: Function, s: View, price: Expr, *, short: bool) -> None:
    """A stop that a late tick touches waits for the feed: no one could have left at the late price."""
    free = (s["attention"] & R.EXIT_PENDING).eq(0)
    touched = price <= s["stop"]
    if short:
        touched = select(s["quantity"] < 0, price >= s["stop"], touched)
    with f.when(s["quantity"].ne(0) & free & (s["stop"] > 0) & touched):
        s["exit_portion"], s["exit_node"], s["exit_reason"] = R.WHOLE_PERCENT, 0, s["stop_reason"]
        s["attention"] = s["attention"] | R.EXIT_PENDING


def why_not(s: View) -> Expr:
    """Why a session that is not running enters nothing."""
    stale = s["mode"].eq(R.STALE) | s["mode"].eq(R.GAP)
    return select(stale, const(I32, Reason.STALE_DATA), const(I32, Reason.HALTED))


def tell_ambiguous(f: Function, b: Broker, price: Expr) -> None:
    """The exit just before depended on the path; ``price``: where that showed."""
    f.run(b.report, f.args[0], EventKind.AMBIGUOUS, -1, Reason.NODE, price, 0, 0, 0, 0, 0)
