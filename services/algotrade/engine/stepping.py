"""From records to bars, in the IR: ticks build bars inside the module, and each closed bar is evaluated once.

``bars`` (`lower.py`) evaluates closed bars. A bar of a file may come whole: then the broker looks at its four ticks
only when an order is pending or the bar's range touches a level, which is what makes backtests fast. `bars.py` is the
plain reference for the bars built here.
"""

from __future__ import annotations

from functools import lru_cache

from algotrade.engine import row as R
from algotrade.engine.broker import PLAIN, Broker, Features, broker
from algotrade.engine.ir import F64, I32, I64, Expr, Function, View, const, select
from algotrade.engine.records import CLOSES_BAR, INTERPOLATED, MARKER, Reason

# (row, address of the first bar, how many, whether each must first pass the broker) -> how many were taken.
BARS = Function("bars", [I32, I32, I32, I32], I32, export=True)


def log_is_full() -> Expr:
    return const(I32, R.LOG_COUNT).load(I32) >= const(I32, R.LOG_LIMIT).load(I32)


def touches(s: View, bar: View) -> Expr:
    """Whether a bar's range reaches a price at which the broker has to look."""
    return (bar["low"] <= s["low_trigger"]) | (bar["high"] >= s["high_trigger"])


class Stepping:
    """The functions that take records, in the order in which they stand in every module."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.features = broker.features
        self.path = self._path()
        self.close_bar = _close_bar()
        self.tick = self._tick()
        self.ticks = self._ticks()
        self.tick_all = self._tick_all()
        self.regroup = self._regroup()
        self.flatten = self._flatten()
        self.refuse = self._refuse()

    @property
    def functions(self) -> list[Function]:
        return [value for value in vars(self).values() if isinstance(value, Function)]

    def _path(self) -> Function:
        """A native bar's four ticks through the broker alone: (row, bar)."""
        f = Function("path", [I32, I32])
        row, p = f.args
        s, bar = View(f, row, R.ROW), View(f, p, R.BAR_FIELDS)
        s["last_ts"] = bar["ts"]
        self._point(f, bar["open"], 0)
        with f.when(touches(s, bar)):
            first, second = self._extremes(f, s, bar)
            for price in (first, second, bar["close"]):
                self._point(f, price, INTERPOLATED)
            s["attention"] = s["attention"] & R.PENDING
        return f

    def _point(self, f: Function, price: Expr, flags: int) -> None:
        """One point of a bar's path. One that halts the session leaves its last price as it was."""
        row = f.args[0]
        s = View(f, row, R.ROW)
        f.run(self.broker.orders, row, s["last_ts"], price, flags)
        with f.when(s["mode"].ne(R.HALTED)):
            s["last_price"] = price

    def _tick(self) -> Function:
        """One tick or marker: (row, time, price, size, flags)."""
        f = Function("tick", [I32, I64, I64, F64, I32])
        row, ts, price, size, flags = f.args
        s = View(f, row, R.ROW)
        with f.when(s["mode"].eq(R.HALTED)):
            f.ret()
        with f.when(ts < s["since"]):
            s["since"] = ts
        with f.when(s["in_bar"] & (ts >= s["bar_end"])):
            f.run(self.close_bar, row)
        with f.when(flags & MARKER):
            f.ret()
        s["last_ts"] = ts
        with f.when(s["in_bar"].eq(0)):
            _open_bar(f, s, ts, price)
        with f.when(s["attention"].ne(0) | (price <= s["low_trigger"]) | (price >= s["high_trigger"])):
            f.run(self.broker.orders, row, ts, price, flags)
            with f.when(s["mode"].eq(R.HALTED)):
                f.ret()
        with f.when(price > s["bar_high"]):
            s["bar_high"] = price
        with f.when(price < s["bar_low"]):
            s["bar_low"] = price
        s["bar_close"] = price
        s["bar_volume"] = s["bar_volume"] + size
        s["last_price"] = price
        with f.when((flags | s["closes_always"]) & s["closes_mask"]):
            f.run(self.close_bar, row)
        return f

    def _ticks(self) -> Function:
        """Records of the log for one session, skipping those it has seen: (row, address, count) -> taken."""
        f = Function("ticks", [I32, I32, I32], I32)
        row, p, count = f.args
        s, tick = View(f, row, R.ROW), View(f, p, R.TICK_FIELDS)
        left = f.var(I32, count)
        with f.while_(left.ne(0)):
            with f.when(tick["seq"] > s["last_seq"]):
                s["last_seq"] = tick["seq"]
                f.run(self.tick, row, tick["ts"], tick["price"], tick["size"], tick["flags"])
            f.set(f.args[1], p + R.TICK_FIELDS.size)
            f.set(left, left - 1)
            with f.when(log_is_full()):
                f.ret(count - left)
        f.ret(count)
        return f

    def _tick_all(self) -> Function:
        """The same records for many rows: (first row, rows, stride, address, count) -> rows that took them all."""
        f = Function("tick_all", [I32, I32, I32, I32, I32], I32, export=True)
        row, rows, stride, p, count = f.args
        left = f.var(I32, rows)
        with f.while_(left.ne(0)):
            with f.when(f.call(self.ticks, row, p, count) < count):
                f.ret(rows - left)
            f.set(f.args[0], row + stride)
            f.set(left, left - 1)
            with f.when(log_is_full()):
                f.ret(rows - left)
        f.ret(rows)
        return f

    def _regroup(self) -> Function:
        """Bars of a file into bars of a longer interval, tick by tick: (row, address, count) -> taken."""
        f = Function("regroup", [I32, I32, I32], I32, export=True)
        row, p, count = f.args
        s, bar = View(f, row, R.ROW), View(f, p, R.BAR_FIELDS)
        left = f.var(I32, count)
        with f.while_(left.ne(0)):
            ts = f.let(bar["ts"])
            f.run(self.tick, row, ts, bar["open"], 0.0, 0)
            first, second = self._extremes(f, s, bar)
            f.run(self.tick, row, ts, first, 0.0, INTERPOLATED)
            f.run(self.tick, row, ts, second, 0.0, INTERPOLATED)
            f.run(self.tick, row, ts, bar["close"], bar["volume"], INTERPOLATED | CLOSES_BAR)
            f.set(f.args[1], p + R.BAR_FIELDS.size)
            f.set(left, left - 1)
            with f.when(log_is_full() | s["mode"].eq(R.HALTED)):
                f.ret(count - left)
        f.ret(count)
        return f

    def _refuse(self) -> Function:
        """Tell that the pending entry, if there is one, will not happen, as the feed is no longer live: (row)."""
        f = Function("refuse", [I32], export=True)
        row, s = f.args[0], View(f, f.args[0], R.ROW)
        with f.when(s["attention"] & R.ENTRY_PENDING):
            s["attention"] = s["attention"] & (R.EXIT_PENDING | R.ON_PATH)
            f.run(self.broker.reject, row, s["entry_node"] - 1, Reason.STALE_DATA)
        return f

    def _extremes(self, f: Function, s: View, bar: View) -> tuple[Expr, Expr]:
        """The second and third tick of a bar: nearer extreme first, or under ``worst`` the one against the position."""
        high, low, start = f.let(bar["high"]), f.let(bar["low"]), f.let(bar["open"])
        nearer, held = high - start <= start - low, s["quantity"]
        against = s["worst_path"] & held.ne(0)
        high_first = f.let(nearer & against.op1("eqz"))
        if self.features.short:
            high_first = f.let(select(against, held < 0, nearer))
        return select(high_first, high, low), select(high_first, low, high)

    def _flatten(self) -> Function:
        """Leave the position at the next tick and forget an entry that waits: (row)."""
        f = Function("flatten", [I32], export=True)
        s = View(f, f.args[0], R.ROW)
        s["attention"] = s["attention"] & (R.EXIT_PENDING | R.ON_PATH)
        if self.features.resting:
            s["order_level"] = 0
            f.run(self.broker.triggers, f.args[0])
        with f.when(s["quantity"].ne(0)):
            s["exit_portion"], s["exit_node"], s["exit_reason"] = R.WHOLE_PERCENT, 0, Reason.FLATTEN
            s["attention"] = s["attention"] | R.EXIT_PENDING
        return f


def _open_bar(f: Function, s: View, ts: Expr, price: Expr) -> None:
    interval = f.let(s["interval"])
    with f.when(interval.eq(0)) as native:
        s["bar_ts"], s["bar_end"] = ts, R.NO_LEVEL
    with f.otherwise(native):
        past = f.var(I64, ts.op2("rem_s", interval))
        with f.when(past < 0):
            f.set(past, past + interval)
        s["bar_ts"], s["bar_end"] = ts - past, ts - past + interval
    for name in ("bar_open", "bar_high", "bar_low"):
        s[name] = price
    s["bar_volume"], s["in_bar"] = 0.0, 1


def _close_bar() -> Function:
    """End the bar being built and evaluate it, unless its beginning was missed: (row)."""
    f = Function("close_bar", [I32])
    row = f.args[0]
    s = View(f, row, R.ROW)
    s["in_bar"] = 0
    with f.when(s["since"] > s["bar_ts"]):
        f.ret()
    taken = f.call(BARS, row, row + R.ROW.offset("bar_ts"), 1, 0)
    f.var(I32, taken)
    return f


@lru_cache(maxsize=16)
def stepping(features: Features = PLAIN) -> Stepping:
    return Stepping(broker(features))
