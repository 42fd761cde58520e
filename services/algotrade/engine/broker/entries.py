"""Entries: how much, whether it may be, and the position it makes. Each fills wholly or is rejected with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from algotrade.engine import row as R
from algotrade.engine.broker.hooks import ENTER, LEVELS, MOVE
from algotrade.engine.fixed import SCALE
from algotrade.engine.ir import I32, I64, Expr, Function, Var, View, const, select
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import INTERPOLATED, EventKind, Reason

if TYPE_CHECKING:
    from algotrade.engine.broker import Broker

PERCENT_EQUITY, NOTIONAL, QUANTITY, RISK_PERCENT = 0, 1, 2, 3
SIZE_MODES: Final = {
    "percent_equity": PERCENT_EQUITY,
    "notional": NOTIONAL,
    "quantity": QUANTITY,
    "risk_percent": RISK_PERCENT,
}


def enter(b: Broker) -> Function:
    """Open a position at a final price: (row, time, price, node, size mode, size, short).

    Where nothing is held, equity is cash. A short is sized and checked as a long of the same price would be.
    """
    f = Function("enter_position", [I32, I64, I64, I32, I32, I64, I32])
    row, ts, price, node, mode, size, short = f.args
    s = View(f, row, R.ROW)

    def refuse(condition: Expr, reason: Expr | Reason) -> None:
        with f.when(condition):
            f.run(b.reject, row, node, reason)
            f.ret()

    def overflow(condition: Expr) -> None:
        with f.when(condition):
            f.run(b.halt, row, Reason.AMOUNT_OVERFLOW)
            f.ret()

    held = f.let(s["quantity"])
    refuse(held.ne(0), select(held < 0, const(I32, Reason.ALREADY_SHORT), const(I32, Reason.ALREADY_LONG)))
    refuse(s["cash"] <= 0, Reason.INSUFFICIENT_CASH)
    f.run(LEVELS, row, price, short)
    quantity = _quantity(f, s, b, price, mode, size)
    if b.features.risk_sized:
        _by_risk(f, s, b, quantity, price, mode, size, short)
        refuse(mode.eq(RISK_PERCENT) & quantity.eq(-1), Reason.NO_STOP)
    overflow((price < 0) | (quantity < 0))
    no_cash, too_small = const(I32, Reason.INSUFFICIENT_CASH), const(I32, Reason.BELOW_MIN_NOTIONAL)
    refuse(quantity.eq(0), select(mode.eq(PERCENT_EQUITY), no_cash, too_small))
    cost = f.var(I64, f.call(b.muldiv, quantity, price, SCALE, 1))
    fee = f.var(I64, f.call(b.muldiv, select(cost < 0, const(I64, 0), cost), s["fee_bps"], R.WHOLE_BPS, 1))
    refuse((cost < 0) | (cost > s["cash"]) | (fee > s["cash"] - cost), Reason.INSUFFICIENT_CASH)
    refuse(cost < s["min_notional"], Reason.BELOW_MIN_NOTIONAL)
    most = f.call(b.muldiv, s["cash"], s["max_position_percent"], R.WHOLE_PERCENT, 0)
    refuse(cost > f.let(most), Reason.POSITION_LIMIT)
    amount = f.var(I64, cost)
    if b.features.short:
        with f.when(short):
            f.set(amount, f.call(b.muldiv, quantity, price, SCALE, 0))
            overflow(amount > const(I64, MAX_AMOUNT) - s["cash"])
            f.set(fee, f.call(b.muldiv, amount, s["fee_bps"], R.WHOLE_BPS, 1))
            f.set(cost, 0 - amount)
            f.set(quantity, 0 - quantity)
    s["cash"] = s["cash"] - cost - fee
    s["quantity"], s["cost"], s["entry_fee"], s["average_price"] = quantity, cost, fee, price
    s["entry_ts"], s["entry_bar"], s["fees_paid"] = ts, s["bars"], s["fees_paid"] + fee
    if b.features.moving:
        s["best_price"] = price
        f.run(MOVE, row, price)
    f.run(b.triggers, row)
    f.run(b.report, row, EventKind.ENTRY, node, Reason.NODE, price, quantity, amount, fee, 0, 0)
    return f


def _quantity(f: Function, s: View, b: Broker, price: Expr, mode: Expr, size: Expr) -> Var:
    """How much to buy, a multiple of lot_step; negative where it does not fit into 63 bits.

    percent_equity: the greatest cost C with C + fee(C) within budget B is floor(B / (1 + fee rate)), exactly,
    because the fee is rounded up to an integer; the greatest quantity with cost at most C is floor(C / price).
    """
    quantity = f.var(I64, size)
    with f.when((price > 0) & mode.eq(PERCENT_EQUITY)):
        share = f.let(f.call(b.muldiv, s["cash"], size, R.WHOLE_PERCENT, 0))
        budget = select((share < 0) | (share > s["cash"]), s["cash"], share)
        f.set(quantity, _affordable(f, s, b, f.let(budget), price))
    with f.when((price > 0) & mode.eq(NOTIONAL)):
        f.set(quantity, f.call(b.muldiv, size, SCALE, price, 0))
    with f.when(quantity > 0):
        f.set(quantity, quantity - quantity.op2("rem_u", s["lot_step"]))
    return quantity


def _affordable(f: Function, s: View, b: Broker, budget: Expr, price: Expr) -> Expr:
    most = f.call(b.muldiv, budget, R.WHOLE_BPS, s["fee_bps"] + R.WHOLE_BPS, 0)
    return f.call(b.muldiv, most, SCALE, price, 0)


def _by_risk(f: Function, s: View, b: Broker, quantity: Var, price: Expr, mode: Expr, size: Expr, short: Expr) -> None:
    """The greatest quantity that loses at most the share of equity at the stop, and that cash can pay; -1: no stop."""
    with f.when((price > 0) & mode.eq(RISK_PERCENT)):
        stop = f.let(s["set_stop"])
        distance = f.let(select(short, stop - price, price - stop))
        f.set(quantity, -1)
        with f.when((stop > 0) & (distance > 0)):
            risk = f.call(b.muldiv, s["cash"], size, R.WHOLE_PERCENT, 0)
            by_risk = f.let(f.call(b.muldiv, risk, SCALE, distance, 0))
            most = f.let(_affordable(f, s, b, s["cash"], price))
            # Either may be too great for 63 bits, which is no limit at all; both are -2 then.
            f.set(quantity, select((by_risk < 0) | ((most >= 0) & (most < by_risk)), most, by_risk))
            with f.when(quantity < 0):
                f.set(quantity, -2)
            with f.when(quantity > 0):
                f.set(quantity, quantity - quantity.op2("rem_u", s["lot_step"]))


def rest(b: Broker) -> Function:
    """An entry that waits for its price, against one tick: (row, time, price, flags).

    A real tick fills it at its own price, which may have gapped past the level, an assumed one at the level. While the
    feed is not live it goes on waiting.
    """
    f = Function("rest", [I32, I64, I64, I32])
    row, ts, price, flags = f.args
    s = View(f, row, R.ROW)
    level = f.let(s["order_level"])
    with f.when(level.eq(0) | ((price > s["order_low"]) & (price < s["order_high"])) | s["mode"].eq(R.STALE)):
        f.ret()
    s["order_level"] = 0
    f.run(b.triggers, row)
    with f.when(s["mode"].ne(R.RUNNING)):
        f.run(b.reject, row, s["entry_node"] - 1, Reason.HALTED)
        f.ret()
    assumed = f.let(flags & INTERPOLATED)
    f.run(ENTER, row, ts, select(assumed, level, price))
    with f.when(assumed):
        s["attention"] = s["attention"] | R.PATH_MOVED
    return f
