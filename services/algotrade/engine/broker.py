"""The simulated broker in the IR: orders, fills, fees, slippage, stops and the exact ledger (docs/strategy.md).

Nothing here depends on a graph, so this code is built and encoded once. What does depend on it — which node entered,
how much, at which levels to leave — is called by name: ``enter``, ``levels`` and ``bars`` (`lower.py`).

Rounding is against the trader: prices paid, costs and fees up; prices received and proceeds down.
"""

from __future__ import annotations

from functools import lru_cache

from algotrade.engine import row as R
from algotrade.engine.arithmetic import OVERFLOW, muldiv
from algotrade.engine.fixed import SCALE
from algotrade.engine.ir import I32, I64, Expr, Function, View, const, select
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import INTERPOLATED, EventKind, Reason

PERCENT_EQUITY, NOTIONAL, QUANTITY = 0, 1, 2
SIZE_MODES = {"percent_equity": PERCENT_EQUITY, "notional": NOTIONAL, "quantity": QUANTITY}

# Functions of the graph, declared here so that the broker can call them.
ENTER = Function("enter", [I32, I64, I64])  # row, time, tick price: fill the pending entry
LEVELS = Function("levels", [I32])  # row: set stop and target from the entry just filled


class Broker:
    """The broker's functions, in the order in which they stand in every module."""

    def __init__(self) -> None:
        self.muldiv = muldiv()
        self.report = _report()
        self.reject = self._reject()
        self.halt = self._halt()
        self.triggers = _triggers()
        self.to_step = self._to_step()
        self.enter_long = self._enter_long()
        self.exit_long = self._exit_long()
        self.sell_price = self._sell_price()
        self.market = self._market()
        self.exits = self._exits()
        self.orders = self._orders()

    @property
    def functions(self) -> list[Function]:
        return [value for value in vars(self).values() if isinstance(value, Function)]

    def _reject(self) -> Function:
        """Tell that an entry did not happen: (row, node, reason)."""
        f = Function("reject", [I32, I32, I32])
        row, node, reason = f.args
        f.run(self.report, row, EventKind.REJECTION, node, reason, 0, 0, 0, 0, 0, 0)
        return f

    def _halt(self) -> Function:
        """Stop the session for good, its ledger as it is: (row, reason)."""
        f = Function("halt", [I32, I32])
        row, s = f.args[0], View(f, f.args[0], R.ROW)
        s["mode"] = R.HALTED
        s["attention"] = 0
        f.run(self.report, row, EventKind.HALT, -1, f.args[1], 0, 0, 0, 0, 0, 0)
        return f

    def _to_step(self) -> Function:
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

    def _enter_long(self) -> Function:
        """Buy at the market: (row, time, tick price, node, size mode, size). Fills wholly or is rejected."""
        f = Function("enter_long", [I32, I64, I64, I32, I32, I64])
        row, ts, tick_price, node, mode, size = f.args
        s = View(f, row, R.ROW)
        with f.when(s["quantity"].ne(0)):
            f.run(self.reject, row, node, Reason.ALREADY_LONG)
            f.ret()
        slipped = f.call(self.muldiv, tick_price, s["slippage_bps"] + R.WHOLE_BPS, R.WHOLE_BPS, 1)
        price = f.let(f.call(self.to_step, row, slipped, 1))
        quantity = self._quantity(f, s, price, mode, size)
        with f.when((price < 0) | (quantity < 0)):
            f.run(self.halt, row, Reason.AMOUNT_OVERFLOW)
            f.ret()
        with f.when(quantity.eq(0)):
            f.run(self.reject, row, node, _none_bought(mode))
            f.ret()
        cost = f.let(f.call(self.muldiv, quantity, price, SCALE, 1))
        fee = f.let(f.call(self.muldiv, select(cost < 0, const(I64, 0), cost), s["fee_bps"], R.WHOLE_BPS, 1))
        with f.when((cost < 0) | (cost > s["cash"]) | (fee > s["cash"] - cost)):
            f.run(self.reject, row, node, Reason.INSUFFICIENT_CASH)
            f.ret()
        with f.when(cost < s["min_notional"]):
            f.run(self.reject, row, node, Reason.BELOW_MIN_NOTIONAL)
            f.ret()
        most = f.call(self.muldiv, s["cash"], s["max_position_percent"], R.WHOLE_PERCENT, 0)
        with f.when(cost > f.let(most)):
            f.run(self.reject, row, node, Reason.POSITION_LIMIT)
            f.ret()
        s["cash"] = s["cash"] - cost - fee
        s["quantity"], s["cost"], s["entry_fee"], s["average_price"] = quantity, cost, fee, price
        s["entry_ts"], s["entry_bar"], s["fees_paid"] = ts, s["bars"], s["fees_paid"] + fee
        f.run(LEVELS, row)
        f.run(self.triggers, row)
        f.run(self.report, row, EventKind.ENTRY, node, Reason.NODE, price, quantity, cost, fee, 0, 0)
        return f

    def _quantity(self, f: Function, s: View, price: Expr, mode: Expr, size: Expr) -> Expr:
        """How much to buy, a multiple of lot_step; negative where it does not fit into 63 bits.

        percent_equity: the greatest cost C with C + fee(C) within budget B is floor(B / (1 + fee rate)), exactly,
        because the fee is rounded up to an integer; the greatest quantity with cost at most C is floor(C / price).
        """
        quantity = f.var(I64, size)
        with f.when((price > 0) & mode.eq(PERCENT_EQUITY)):
            share = f.let(f.call(self.muldiv, s["cash"], size, R.WHOLE_PERCENT, 0))
            budget = select((share < 0) | (share > s["cash"]), s["cash"], share)
            most = f.call(self.muldiv, f.let(budget), R.WHOLE_BPS, s["fee_bps"] + R.WHOLE_BPS, 0)
            f.set(quantity, f.call(self.muldiv, most, SCALE, price, 0))
        with f.when((price > 0) & mode.eq(NOTIONAL)):
            f.set(quantity, f.call(self.muldiv, size, SCALE, price, 0))
        with f.when(quantity > 0):
            f.set(quantity, quantity - quantity.op2("rem_u", s["lot_step"]))
        return quantity

    def _exit_long(self) -> Function:
        """Sell a portion (of WHOLE_PERCENT) of the position at a final price: (row, price, portion, node, reason)."""
        f = Function("exit_long", [I32, I64, I64, I32, I32])
        row, price, portion, node, reason = f.args
        s = View(f, row, R.ROW)
        held = f.let(s["quantity"])
        quantity = f.var(I64, held)
        with f.when(portion < R.WHOLE_PERCENT):
            f.set(quantity, f.call(self.muldiv, held, portion, R.WHOLE_PERCENT, 0))
            f.set(quantity, quantity - quantity.op2("rem_u", s["lot_step"]))
        with f.when(quantity.eq(0)):
            f.run(self.reject, row, node, Reason.BELOW_MIN_NOTIONAL)
            f.ret()
        proceeds = f.let(f.call(self.muldiv, quantity, price, SCALE, 0))
        with f.when((proceeds < 0) | (proceeds > const(I64, MAX_AMOUNT) - s["cash"])):
            f.run(self.halt, row, Reason.AMOUNT_OVERFLOW)
            f.ret()
        fee = f.let(f.call(self.muldiv, proceeds, s["fee_bps"], R.WHOLE_BPS, 1))
        cost, entry_fee = f.var(I64, s["cost"]), f.var(I64, s["entry_fee"])
        with f.when(quantity < held):
            f.set(cost, f.call(self.muldiv, cost, quantity, held, 1))
            f.set(entry_fee, f.call(self.muldiv, entry_fee, quantity, held, 1))
        s["cash"] = s["cash"] + proceeds - fee
        s["realized_pnl"] = s["realized_pnl"] + proceeds - fee - cost - entry_fee
        s["fees_paid"] = s["fees_paid"] + fee
        s["quantity"], s["cost"], s["entry_fee"] = held - quantity, s["cost"] - cost, s["entry_fee"] - entry_fee
        f.run(self.triggers, row)
        f.run(self.report, row, EventKind.EXIT, node, reason, price, quantity, proceeds, fee, cost, entry_fee)
        return f

    def _sell_price(self) -> Function:
        """What a market sale at a tick's price gets after slippage, on the price grid: (row, tick price)."""
        f = Function("sell_price", [I32, I64], I64)
        row, price = f.args
        rate = const(I64, R.WHOLE_BPS) - View(f, row, R.ROW)["slippage_bps"]
        f.ret(f.call(self.to_step, row, f.call(self.muldiv, price, rate, R.WHOLE_BPS, 0), 0))
        return f

    def _market(self) -> Function:
        """Fill pending market orders, the exit first: (row, time, price)."""
        f = Function("market", [I32, I64, I64])
        row, ts, price = f.args
        s = View(f, row, R.ROW)
        pending = f.let(s["attention"])
        s["attention"] = pending & R.WATCH_PATH
        with f.when((pending & R.EXIT_PENDING).ne(0) & s["quantity"].ne(0)):
            sale = f.let(f.call(self.sell_price, row, price))
            f.run(self.exit_long, row, sale, s["exit_portion"], s["exit_node"] - 1, s["exit_reason"])
        with f.when((pending & R.ENTRY_PENDING).ne(0) & s["mode"].ne(R.HALTED)):
            f.run(ENTER, row, ts, price)
        return f

    def _exits(self) -> Function:
        """Stop and target against one tick: (row, price, flags). A real tick fills at its own price.

        A stop is a market order once touched, so it slips; a target fills only where the price trades through it.
        """
        f = Function("exits", [I32, I64, I32])
        row, price, flags = f.args
        s = View(f, row, R.ROW)
        stop, target = f.let(s["stop"]), f.let(s["target"])
        assumed = f.let(flags & INTERPOLATED)
        reason = f.var(I32, 0)
        final = f.var(I64, 0)
        with f.when((stop > 0) & (price <= stop)) as stopped:
            f.set(final, f.call(self.sell_price, row, select(assumed, stop, price)))
            f.set(reason, Reason.STOP_LOSS)
        with f.otherwise(stopped), f.when((target > 0) & (price > target)):
            f.set(final, select(assumed, target, f.call(self.to_step, row, price, 0)))
            f.set(reason, Reason.TAKE_PROFIT)
        with f.when(reason.eq(0)):
            f.ret()
        f.run(self.exit_long, row, final, R.WHOLE_PERCENT, -1, reason)
        with f.when(assumed & s["quantity"].eq(0)):
            stopped_out = reason.eq(Reason.STOP_LOSS)
            s["watched_low"] = select(stopped_out, const(I64, 0), stop)
            s["watched_high"] = select(stopped_out & (target > 0), target, const(I64, R.NO_LEVEL))
            s["attention"] = s["attention"] | R.WATCH_PATH
        return f

    def _orders(self) -> Function:
        """One tick through the broker: (row, time, price, flags)."""
        f = Function("orders", [I32, I64, I64, I32])
        row, ts, price, flags = f.args
        s = View(f, row, R.ROW)
        with f.when(s["mode"].eq(R.HALTED)):
            f.ret()
        with f.when(s["mode"].eq(R.GAP)):
            _touch_late(f, s, price)
            f.ret()
        attention = f.let(s["attention"])
        with f.when(attention & R.WATCH_PATH):
            self._watch_path(f, row, s, price, flags)
        held_before = f.let(s["quantity"])
        with f.when(attention & (R.ENTRY_PENDING | R.EXIT_PENDING)):
            f.run(self.market, row, ts, price)
            # Levels set by this tick's entry are live from the next one.
            with f.when((attention & R.ENTRY_PENDING) & held_before.eq(0)):
                f.ret()
        with f.when(s["quantity"].ne(0)):
            f.run(self.exits, row, price, flags)
        return f

    def _watch_path(self, f: Function, row: Expr, s: View, price: Expr, flags: Expr) -> None:
        """After an exit on an assumed path: had a later point of the same bar reached the other level, say so."""
        with f.when((flags & INTERPOLATED).eq(0)) as real:
            s["attention"] = s["attention"] & (R.ENTRY_PENDING | R.EXIT_PENDING)
        with f.otherwise(real), f.when((price <= s["watched_low"]) | (price > s["watched_high"])):
            s["attention"] = s["attention"] & (R.ENTRY_PENDING | R.EXIT_PENDING)
            f.run(self.report, row, EventKind.AMBIGUOUS, -1, Reason.NODE, price, 0, 0, 0, 0, 0)


def _touch_late(f: Function, s: View, price: Expr) -> None:
    """A stop that a late tick touches waits for the feed: no one could have sold at the late price."""
    free = (s["attention"] & R.EXIT_PENDING).eq(0)
    with f.when(s["quantity"].ne(0) & free & (s["stop"] > 0) & (price <= s["stop"])):
        s["exit_portion"], s["exit_node"], s["exit_reason"] = R.WHOLE_PERCENT, 0, Reason.STOP_LOSS
        s["attention"] = s["attention"] | R.EXIT_PENDING


def _none_bought(mode: Expr) -> Expr:
    return select(mode.eq(PERCENT_EQUITY), const(I32, Reason.INSUFFICIENT_CASH), const(I32, Reason.BELOW_MIN_NOTIONAL))


def _triggers() -> Function:
    """Note at which prices the broker has to look again: (row)."""
    f = Function("triggers", [I32])
    s = View(f, f.args[0], R.ROW)
    s["low_trigger"] = 0
    s["high_trigger"] = R.NO_LEVEL
    with f.when(s["quantity"].ne(0)):
        s["low_trigger"] = s["stop"]
        with f.when(s["target"] > 0):
            s["high_trigger"] = s["target"] + 1
    return f


def _report() -> Function:
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
    event["pnl"] = select(kind.eq(EventKind.EXIT), amount - fee - cost - entry_fee, const(I64, 0))
    return f


@lru_cache(maxsize=1)
def broker() -> Broker:
    return Broker()
