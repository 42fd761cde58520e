"""The simulated broker in the IR: orders, fills, fees, slippage, stops and the exact ledger (docs/execution.md).

Nothing here depends on a graph, only on which `Features` it can ever need, so this code is built and encoded once for
each set of them. What does depend on the graph — which node entered, how much, at which levels to leave — is called by
name: ``enter``, ``levels``, ``move`` (`filling.py`) and ``bars`` (`lower.py`).

`ledger.py` has what a fill does to the money, `entries.py` how a position begins, `exits.py` the levels that end it;
here a tick goes through them in the order of the contract: pending market orders, stops, targets, waiting entries.
"""

from __future__ import annotations

from functools import lru_cache

from algotrade.engine import row as R
from algotrade.engine.arithmetic import muldiv
from algotrade.engine.broker import entries, exits, ledger
from algotrade.engine.broker.entries import SIZE_MODES
from algotrade.engine.broker.features import PLAIN, Features
from algotrade.engine.broker.hooks import ENTER, LEVELS, MOVE
from algotrade.engine.ir import I32, I64, Expr, Function, View
from algotrade.engine.records import INTERPOLATED

__all__ = ["ENTER", "LEVELS", "MOVE", "PLAIN", "SIZE_MODES", "Broker", "Features", "broker"]


class Broker:
    """The broker's functions, in the order in which they stand in every module of these features."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self.muldiv = muldiv()
        self.report = ledger.report()
        self.reject = ledger.reject(self.report)
        self.halt = ledger.halt(self.report)
        self.triggers = exits.triggers(self.muldiv, features)
        self.to_step = ledger.to_step()
        self.buy_price = ledger.buy_price(self.muldiv, self.to_step)
        self.sell_price = ledger.sell_price(self.muldiv, self.to_step)
        self.enter = entries.enter(self)
        self.leave = ledger.leave(self.muldiv, self.report, self.reject, self.halt, self.triggers, short=features.short)
        self.market = self._market()
        self.exits = exits.exits(self)
        if features.resting:
            self.rest = entries.rest(self)
        self.orders = self._orders()

    @property
    def functions(self) -> list[Function]:
        return [value for value in vars(self).values() if isinstance(value, Function)]

    def _market(self) -> Function:
        """Fill pending market orders, the exit first: (row, time, price)."""
        f = Function("market", [I32, I64, I64])
        row, ts, price = f.args
        s = View(f, row, R.ROW)
        pending = f.let(s["attention"])
        s["attention"] = pending & R.ON_PATH
        with f.when((pending & R.EXIT_PENDING).ne(0) & s["quantity"].ne(0)):
            final = f.var(I64, 0)
            below = f.let(s["quantity"] < 0) if self.features.short else None
            exits.market_price(f, self, final, price, below)
            f.run(self.leave, row, final, s["exit_portion"], s["exit_node"] - 1, s["exit_reason"])
        with f.when((pending & R.ENTRY_PENDING).ne(0) & s["mode"].ne(R.HALTED)):
            with f.when(s["mode"].eq(R.RUNNING)) as running:
                f.run(ENTER, row, ts, price)
            with f.otherwise(running):
                f.run(self.reject, row, s["entry_node"] - 1, exits.why_not(s))
        return f

    def _orders(self) -> Function:
        """One tick through the broker: (row, time, price, flags)."""
        f = Function("orders", [I32, I64, I64, I32])
        row, ts, price, flags = f.args
        s = View(f, row, R.ROW)
        with f.when(s["mode"].eq(R.HALTED)):
            f.ret()
        with f.when(s["mode"].eq(R.GAP)):
            exits.touch_late(f, s, price, short=self.features.short)
            f.ret()
        attention = f.let(s["attention"])
        with f.when(attention & R.ON_PATH):
            self._watch_path(f, row, s, price, flags)
        with f.when(attention & R.PENDING):
            f.run(self.market, row, ts, price)
            # Levels set by this tick's entry are live from the next one.
            with f.when(attention & R.ENTRY_PENDING):
                f.ret()
        with f.when(s["quantity"].ne(0)) as holding:
            f.run(self.exits, row, price, flags)
        if self.features.resting:
            with f.otherwise(holding):
                f.run(self.rest, row, ts, price, flags)
        return f

    def _watch_path(self, f: Function, row: Expr, s: View, price: Expr, flags: Expr) -> None:
        """After an exit on an assumed path: had a later point of the same bar reached the other level, say so."""
        with f.when((flags & INTERPOLATED).eq(0)) as real:
            s["attention"] = s["attention"] & R.PENDING
        with (
            f.otherwise(real),
            f.when((s["attention"] & R.WATCH_PATH).ne(0) & _outside(s, price)),
        ):
            s["attention"] = s["attention"] & R.PENDING
            exits.tell_ambiguous(f, self, price)


def _outside(s: View, price: Expr) -> Expr:
    return (price <= s["watched_low"]) | (price >= s["watched_high"])


@lru_cache(maxsize=16)
def broker(features: Features = PLAIN) -> Broker:
    return Broker(features)
