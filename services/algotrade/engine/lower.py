"""From a checked strategy to IR: the functions of one graph, beside the broker's and the stepping's.

``prepare`` begins a session and ``bars`` evaluates closed bars; `decide.py` has what actions ask for there, and
`filling.py` the graph's functions that the broker calls when an order fills.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from algotrade.engine import row as R
from algotrade.engine.broker import ENTER, LEVELS, MOVE, Features, broker
from algotrade.engine.calendar import calendar
from algotrade.engine.clocks import Timeframes, clocks_of, lower_node, warmup_field, warmups
from algotrade.engine.decide import Decisions
from algotrade.engine.filling import enter, features_of, levels, move, of_types, scope_outside
from algotrade.engine.ir import F64, I32, Expr, Function, Program, View
from algotrade.engine.site import Row, Scope, Series, Site
from algotrade.engine.stepping import BARS, log_is_full, stepping, touches
from algotrade.engine.strategy import Strategy

HEAP_ALIGNMENT = 64
PREPARE = "prepare"


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program and what its host must know of it."""

    program: Program
    row: Row
    stride: int
    features: Features


def shared_functions(features: Features) -> list[Function]:
    """What every module of these features begins with."""
    return [*broker(features).functions, *stepping(features).functions]


def own_functions(features: Features) -> list[str]:
    """The names of the graph's functions, in the order in which they follow."""
    return [BARS.name, ENTER.name, LEVELS.name, *([MOVE.name] if features.moving else []), PREPARE]


def lower(strategy: Strategy, *, probe: bool = False) -> Lowered:
    """Turn a strategy into a program; ``probe``: keep every port's value in the row for `explain`."""
    row = Row()
    features = features_of(strategy)
    own = [_Bars(strategy, row, probe=probe).function, enter(strategy, row, features), levels(strategy, row, features)]
    own += [move(strategy, row, features)] if features.moving else []
    own.append(_prepare(strategy, row, features))
    shared = shared_functions(features)
    own.extend(_called({f.name for f in [*shared, *own]}, own))
    stride = row.finish()
    data = [(row.data_at, bytes(row.data))] if row.data else []
    end = row.data_at + len(row.data)
    return Lowered(Program([*shared, *own], data, end + -end % HEAP_ALIGNMENT), row, stride, features)


def _called(known: set[str], callers: Iterable[Function]) -> list[Function]:
    """The functions that the callers need and that are not known yet, and those that these need."""
    found: list[Function] = []
    for caller in callers:
        for function in caller.calls:
            if function.name not in known:
                known.add(function.name)
                found += [function, *_called(known, [function])]
    return found


class _Bars:
    """``bars``: evaluate closed bars one after the other, until the log might overflow."""

    def __init__(self, strategy: Strategy, row: Row, *, probe: bool) -> None:
        self.strategy, self.row, self.probe = strategy, row, probe
        self.features = features_of(strategy)
        self.f = f = Function(BARS.name, BARS.params, BARS.result, export=True)
        base, p, count, whole = f.args
        s, bar = View(f, base, R.ROW), View(f, p, R.BAR_FIELDS)
        left = f.var(I32, count)
        with f.while_(left.ne(0)):
            close = f.let(bar["close"])
            self.noted = f.var(I32, 0)
            with f.when(whole):
                self.through_broker(s, bar, count - left)
            self.evaluate(s, bar)
            with f.when(self.noted):
                self.remember(s, bar)
                with f.when(s["fill_at_close"] & s["attention"].ne(0) & s["mode"].ne(R.GAP)):
                    f.run(broker(self.features).market, base, s["last_ts"], close)
                with f.when(log_is_full() | s["mode"].eq(R.HALTED)):
                    f.ret(count - left + 1)
            f.set(p, p + R.BAR_FIELDS.size)
            f.set(left, left - 1)
        with f.when(count.ne(0)):
            self.remember(s, View(f, p - R.BAR_FIELDS.size, R.BAR_FIELDS))
        f.ret(count)
        self.function = f

    def remember(self, s: View, bar: View) -> None:
        """Note the time and price of a whole bar; `tick` has done so for a bar built from ticks.

        Only where something reads them: an event, or whoever called. On most bars nothing does.
        """
        with self.f.when(self.f.args[3]):
            s["last_ts"], s["last_price"] = bar["ts"], bar["close"]

    def through_broker(self, s: View, bar: View, taken: Expr) -> None:
        """Only a pending order or a touched level needs the bar's ticks one by one."""
        f, p = self.f, self.f.args[1]
        with f.when(s["attention"].ne(0) | touches(s, bar)):
            with f.when(taken.ne(0)):
                s["last_price"] = View(f, p - R.BAR_FIELDS.size, R.BAR_FIELDS)["close"]
            f.run(stepping(self.features).path, f.args[0], p)
            with f.when(s["mode"].eq(R.HALTED)):
                f.ret(taken)
            f.set(self.noted, 1)

    def evaluate(self, s: View, bar: View) -> None:
        f = self.f
        bars = f.let(s["bars"] + 1)
        s["bars"] = bars
        scope = Scope(f, f.args[0], self.row, bar, bars, self.features)
        self.mark(s, scope)
        self.evaluate_nodes(scope)
        if self.probe:
            self.keep_values(scope)
        self.decide(scope)

    def decide(self, scope: Scope) -> None:
        def note() -> None:
            self.f.set(self.noted, 1)
            self.remember(scope.view, scope.bar)

        Decisions(self.strategy, scope, note).emit()

    def evaluate_nodes(self, scope: Scope) -> None:
        clocks = clocks_of(self.strategy)
        if clocks.coarser:
            self.f.loops = len(clocks.coarser) + 1
            Timeframes(scope, clocks, hold_all=self.probe).evaluate()
        else:
            for node in self.strategy.order:
                lower_node(scope, node)

    def mark(self, s: View, scope: Scope) -> None:
        """Equity at the close, before any fill there, and the deepest fall from its peak; in units of 1e-8, as f64.

        A fall is computed only when equity is below what the deepest fall so far would leave of the peak.
        """
        f = self.f
        equity = f.let(s["cash"].to(F64) + s["quantity"].to(F64) * scope.price("close").value)
        if of_types(self.strategy, ("account", "daily_loss_limit")):
            self.new_day(s, scope)
        s["equity"] = equity
        with f.when(equity > s["peak"]) as risen:
            s["peak"] = equity
            s["lowest"] = equity * (1.0 - s["max_drawdown"])
        with f.otherwise(risen), f.when(equity < s["lowest"]):
            s["lowest"] = equity
            s["max_drawdown"] = 1.0 - equity / s["peak"]

    def new_day(self, s: View, scope: Scope) -> None:
        """The first close of a day finds the equity of the last one in place."""
        f = self.f
        day = f.let(f.call(calendar().day, s["day_zone"], s["day_zone_length"], scope.bar["ts"]))
        with f.when(s["day_known"].eq(0) | day.ne(s["day"])):
            s["day_equity"], s["day"], s["day_known"] = s["equity"], day, 1

    def keep_values(self, scope: Scope) -> None:
        for (node_id, port), value in scope.values.items():
            name = f"probe:{node_id}:{port}"
            self.row.probes[node_id, port] = name
            if isinstance(value, Series):
                scope.slot(F64, 0, name).set(value.value)
            else:
                scope.slot(I32, 0, name).set(value.state())


def _prepare(strategy: Strategy, row: Row, features: Features) -> Function:
    """Begin a session: in a row of zeros with settings and parameters, its first state, its money and its warm-up."""
    f = Function(PREPARE, [I32], export=True)
    scope = scope_outside(f, row, features)
    s = scope.view
    s["since"], s["last_seq"], s["high_trigger"] = R.NO_LEVEL, -1, R.NO_LEVEL
    s["cash"] = s["initial_cash"]
    for name in ("equity", "peak", "lowest", "day_equity"):
        s[name] = s["initial_cash"].to(F64)
    for clock, bars in warmups(scope, clocks_of(strategy)).items():
        s[warmup_field(clock)] = bars
    for node in of_types(strategy, ("max_position",)):
        least = f.let(Site(scope, node).decimal("percent"))
        with f.when(least < s["max_position_percent"]):
            s["max_position_percent"] = least
    for name, value in row.initial.items():
        s[name] = value
    return f
