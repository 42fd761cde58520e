"""The ledger: what a fill does to money and position, and the event that tells of it.

A position below zero is short: what its entry brought in is a cost below zero, so that cash + cost = initial cash +
realised pnl - fee of the open entry, whichever side is held. Rounding is against the trader: what is paid, and fees,
up; what is received down; a portion's share of the cost up.
"""

from __future__ import annotations

from algotrade.engine import row as R
from algotrade.engine.arithmetic import OVERFLOW
from algotrade.engine.fixed import SCALE
from algotrade.engine.ir import I32, I64, Expr, Function, Var, View, const, select
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import EventKind, Reason


def report() -> Function:
    """Append an event to the log: (row, kind, node, reason, price, quantity, amount, fee, cost, entry fee)."""
    f = Function("report", [I32, I32, I32, I32, I64, I64, I64, I64, I64, I64])
    row, kind, node, reason, price, quantity, amount, fee, cost, entry_fee = f.args
    s = View(f, row, R.ROW)
    count = f.let(const(I32, R.LOG_COUNT).load(I32))
    f.store(const(I32, R.LOG_COUNT), count + 1)
    number = f.let(s["event_number"] + 1)
    s["event_number"] = number
    event = View(f, f.let(const(I32, R.LOG_POINTER).load(I32) + count * R.EVENT_FIELDS.size), R.EVENT_FIELDS)
    event["slot"], event["kind"], event["node"], event["reason"] = s["slot"], kind, node, reason
    event["number"], event["ts"], event["tick_seq"] = number, s["last_ts"], s["last_seq"]
    event["price"], event["quantity"], event["amount"], event["fee"] = price, quantity, amount, fee
    event["cost"], event["entry_fee"], event["cash"] = cost, entry_fee, s["cash"]
    received = select(quantity < 0, 0 - amount, amount)
    event["pnl"] = select(kind.eq(EventKind.EXIT), received - fee - cost - entry_fee, const(I64, 0))
    return f


def reject(report: Function) -> Function:
    """Tell that an entry did not happen: (row, node, reason)."""
    f = Function("reject", [I32, I32, I32])
    row, node, reason = f.args
    f.run(report, row, EventKind.REJECTION, node, reason, 0, 0, 0, 0, 0, 0)
    return f


def halt(report: Function) -> Function:
    """Stop the session for good, its ledger as it is: (row, reason)."""
    f = Function("halt", [I32, I32])
    row, s = f.args[0], View(f, f.args[0], R.ROW)
    s["mode"] = R.HALTED
    s["attention"] = 0
    f.run(report, row, EventKind.HALT, -1, f.args[1], 0, 0, 0, 0, 0, 0)
    return f


def to_step() -> Function:
    """A price on the grid of price_step, up or down, or OVERFLOW: (row, price, up)."""
    f = Function("to_step", [I32, I64, I32], I64)
    row, price, up = f.args
    step = f.let(View(f, row, R.ROW)["price_step"])
    with f.when(price < 0):
        f.ret(OVERFLOW)
    with f.when(step.eq(1)):
        f.ret(price)
    rest = f.let(price.op2("rem_u", step))
    f.ret(price - rest + select(up & rest.ne(0), step, 0))
    return f


def buy_price(muldiv: Function, to_step: Function) -> Function:
    """What buying at the market costs at a tick's price, slippage included, on the price grid: (row, tick price)."""
    f = Function("buy_price", [I32, I64], I64)
    row, price = f.args
    rate = View(f, row, R.ROW)["slippage_bps"] + R.WHOLE_BPS
    f.ret(f.call(to_step, row, f.call(muldiv, price, rate, R.WHOLE_BPS, 1), 1))
    return f


def sell_price(muldiv: Function, to_step: Function) -> Function:
    """What selling at the market gets at a tick's price, slippage included, on the price grid: (row, tick price)."""
    f = Function("sell_price", [I32, I64], I64)
    row, price = f.args
    rate = const(I64, R.WHOLE_BPS) - View(f, row, R.ROW)["slippage_bps"]
    f.ret(f.call(to_step, row, f.call(muldiv, price, rate, R.WHOLE_BPS, 0), 0))
    return f


def leave(
    muldiv: Function, report: Function, reject: Function, halt: Function, triggers: Function, *, short: bool
) -> Function:
    """Close a portion (of WHOLE_PERCENT) of the position at a final price: (row, price, portion, node, reason)."""
    f = Function("leave", [I32, I64, I64, I32, I32])
    row, price, portion, node, reason = f.args
    s = View(f, row, R.ROW)
    signed = f.let(s["quantity"])
    below = f.let((signed < 0).to(I64)) if short else const(I64, 0)  # 1 when short
    held = f.let(_times_sign(signed, below)) if short else signed
    quantity = f.var(I64, held)
    with f.when(portion < R.WHOLE_PERCENT):
        f.set(quantity, f.call(muldiv, held, portion, R.WHOLE_PERCENT, 0))
        f.set(quantity, quantity - quantity.op2("rem_u", s["lot_step"]))
    with f.when(quantity.eq(0)):
        f.run(reject, row, node, Reason.BELOW_MIN_NOTIONAL)
        f.ret()
    amount = _amount(f, s, muldiv, halt, price, quantity, below, short=short)
    fee = f.let(f.call(muldiv, amount, s["fee_bps"], R.WHOLE_BPS, 1))
    cost, entry_fee = f.var(I64, s["cost"]), f.var(I64, s["entry_fee"])
    with f.when(quantity < held):
        # Up, away from zero for a long and towards it for a short, whose cost is below zero.
        share = f.let(f.call(muldiv, _times_sign(cost, below), quantity, held, (const(I64, 1) - below).to(I32)))
        f.set(cost, _times_sign(share, below))
        f.set(entry_fee, f.call(muldiv, entry_fee, quantity, held, 1))
    received = f.let(_times_sign(amount, below))
    s["cash"] = s["cash"] + received - fee
    s["realized_pnl"] = s["realized_pnl"] + received - fee - cost - entry_fee
    s["fees_paid"] = s["fees_paid"] + fee
    closed = f.let(_times_sign(quantity, below))
    s["quantity"], s["cost"], s["entry_fee"] = signed - closed, s["cost"] - cost, s["entry_fee"] - entry_fee
    f.run(triggers, row)
    f.run(report, row, EventKind.EXIT, node, reason, price, closed, amount, fee, cost, entry_fee)
    return f


def _amount(
    f: Function,
    s: View,
    muldiv: Function,
    halt: Function,
    price: Expr,
    quantity: Var,
    below: Expr,
    *,
    short: bool,
) -> Expr:
    """What a long's exit receives or a short's pays, before the fee; halts where it does not fit the ledger."""
    row = f.args[0]
    if not short:
        amount = f.let(f.call(muldiv, quantity, price, SCALE, 0))
        too_much = (amount < 0) | (amount > const(I64, MAX_AMOUNT) - s["cash"])
    else:
        with f.when(price < 0):
            f.run(halt, row, Reason.AMOUNT_OVERFLOW)
            f.ret()
        amount = f.let(f.call(muldiv, quantity, price, SCALE, below.to(I32)))
        # The fee is at most as much again, and the cash of a short may end below zero, but never out of bounds.
        most = select(below.ne(0), const(I64, MAX_AMOUNT // 2), const(I64, MAX_AMOUNT) - s["cash"])
        too_much = (amount < 0) | (amount > most)
    with f.when(too_much):
        f.run(halt, row, Reason.AMOUNT_OVERFLOW)
        f.ret()
    return amount


def _times_sign(value: Expr, below: Expr) -> Expr:
    """The value, or where ``below`` is 1 its opposite."""
    if below.op == "const":
        return value
    return select(below.ne(0), 0 - value, value)
