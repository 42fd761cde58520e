"""Timeframes: on which clock each node runs, and what happens when a bar of a coarser clock closes.

1. A node that reads bars has the clock that its ``timeframe`` names, else the run's own; any other runs on the finest
   clock of its inputs. A constant has none. What the run itself shows (time, position, account) and what guards the
   position is on the run's clock.
2. At each bar of the run, coarser bars that have ended close one after the other in order of their ends, of equal ends
   the coarser first: those that had ended before this bar began, then this bar joins the bars it belongs to, then those
   that end with it. So no node ever sees a value that was not known when its own bar ended.
3. A coarser bar whose beginning lies before the first bar of the run is not whole and closes nothing.
4. What a coarser node gave is held in the row until it gives something else; nodes on finer clocks read it there. An
   action acts when its clock has closed a bar, not as long as the value is held.

Coarser bars are counted from the epoch, UTC, like those of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from algotrade.engine import row as R
from algotrade.engine.ir import F64, I32, I64, Expr, Function, View, const, maximum
from algotrade.engine.node_type import Category
from algotrade.engine.settings import INTERVALS
from algotrade.engine.site import NAN, Scope, Series, Site, Slot, Truth, Value
from algotrade.engine.strategy import CheckedNode, Strategy

RUN: Final = 0  # the clock of the run's own bars; others are named by their nanoseconds
FIXED: Final = -1  # of a constant, which is the same on every clock

Port = tuple[str, str]


@dataclass(frozen=True)
class Clocks:
    """The clock of each node of a strategy, by node id."""

    strategy: Strategy
    of: Mapping[str, int]

    @cached_property
    def coarser(self) -> tuple[int, ...]:
        """The clocks beside the run's own, the coarsest first."""
        return tuple(sorted({clock for clock in self.of.values() if clock > RUN}, reverse=True))

    def on(self, clock: int) -> list[CheckedNode]:
        """The nodes of a clock in the order in which they are evaluated; actions act on the run's, whatever theirs."""
        order = self.strategy.order
        if clock == RUN:
            return [node for node in order if self.of[node.id] == RUN or node.type.category is Category.ACTION]
        return [node for node in order if self.of[node.id] == clock and node.type.category is not Category.ACTION]


def clocks_of(strategy: Strategy) -> Clocks:
    """Find the clock of every node."""
    found: dict[str, int] = {}
    for node in strategy.order:
        inputs = {found[source] for sources in node.inputs.values() for source, _ in sources} - {FIXED}
        if node.type.category is Category.RISK:
            found[node.id] = RUN
        elif node.type.param("timeframe") and not (inputs and node.type.instead_of_bars):
            named = node.params["timeframe"]
            found[node.id] = min({INTERVALS[str(named)] if named else RUN, *inputs})
        elif inputs:
            found[node.id] = min(inputs)
        else:
            found[node.id] = FIXED if node.type.name == "constant" else RUN
    return Clocks(strategy, found)


def warmups(scope: Scope, clocks: Clocks) -> dict[int, Expr]:
    """How many bars of each clock the longest path into an action needs, from the bound parameters."""
    f = scope.f
    needs: dict[str, dict[int, Expr]] = {}
    whole: dict[int, Expr] = {RUN: const(I32, 0), **dict.fromkeys(clocks.coarser, const(I32, 0))}
    for node in clocks.strategy.order:
        need = _longest(f, (needs[source] for sources in node.inputs.values() for source, _ in sources))
        if node.type.lookback:
            clock = max(clocks.of[node.id], RUN)
            need[clock] = f.let(need.get(clock, const(I32, 0)) + node.type.lookback(Site(scope, node)))
        needs[node.id] = need
        if node.type.category in (Category.ACTION, Category.RISK):
            whole = _longest(f, (whole, need))
    return whole


def _longest(f: Function, several: Iterable[Mapping[int, Expr]]) -> dict[int, Expr]:
    longest: dict[int, Expr] = {}
    for one in several:
        for clock, bars in one.items():
            longest[clock] = f.let(maximum(longest[clock], bars)) if clock in longest else bars
    return longest


def warmup_field(clock: int) -> str:
    """The row's field that holds how many bars of a clock the strategy needs."""
    return f"clock:{clock}:warmup" if clock > RUN else "warmup"


class Coarser:
    """The bars of one coarser clock, being built in the row, and the values that its nodes gave last."""

    def __init__(self, scope: Scope, clock: int) -> None:
        self.run, self.f, self.clock = scope, scope.f, clock
        row, prefix = scope.row, f"clock:{clock}"
        for name, (type, _) in R.BAR_FIELDS.fields.items():  # one behind the other, as in a BAR record
            row.add(type, name=f"{prefix}:{name}")
        self.bar = View(self.f, scope.base, R.BAR_FIELDS, row.struct.offset(f"{prefix}:ts"))
        self.is_open = scope.slot(I32, name=f"{prefix}:open?")
        self.bars = scope.slot(I32, name=f"{prefix}:bars")
        self.warmup = scope.slot(I32, name=warmup_field(clock))
        past = self.f.var(I64, scope.bar["ts"].op2("rem_s", clock))
        with self.f.when(past < 0):
            self.f.set(past, past + clock)
        self.start = self.f.let(scope.bar["ts"] - past)  # of the bar that the run's bar belongs to
        self.closed = self.f.var(I32, 0)
        self.held: dict[Port, Slot | tuple[Slot, Slot]] = {}

    @property
    def end(self) -> Expr:
        return self.bar["ts"] + self.clock

    @property
    def is_over(self) -> Expr:
        """Whether the bar being built had ended before the run's bar began."""
        return self.is_open.get() & self.bar["ts"].ne(self.start)

    def take(self) -> None:
        """Let the run's bar join."""
        f, bar, own = self.f, self.run.bar, self.bar
        with f.when(self.is_open.get()) as joining:
            with f.when(bar["high"] > own["high"]):
                own["high"] = bar["high"]
            with f.when(bar["low"] < own["low"]):
                own["low"] = bar["low"]
            own["volume"] = own["volume"] + bar["volume"]
        with f.otherwise(joining):
            for name in ("open", "high", "low", "volume"):
                own[name] = bar[name]
            own["ts"] = self.start
            self.is_open.set(1)
        own["close"] = bar["close"]

    def close(self, first: Slot, evaluate: Callable[[Scope], None]) -> None:
        """End the bar and evaluate the clock's nodes, if it is whole."""
        f = self.f
        self.is_open.set(0)
        with f.when(self.bar["ts"] >= first.get()):
            bars = f.let(self.bars.get() + 1)
            self.bars.set(bars)
            f.set(self.closed, 1)
            scope = self.run.on_clock(self.bar, bars)
            evaluate(scope)
            for port, value in scope.values.items():
                self.hold(port, value)

    def hold(self, port: Port, value: Value) -> None:
        """Keep what a port gave, for nodes of other clocks."""
        if port not in self.held:
            return
        kept = self.held[port]
        if isinstance(value, Series):
            assert isinstance(kept, Slot)
            kept.set(value.value)
        else:
            assert isinstance(kept, tuple)
            kept[0].set(value.true)
            kept[1].set(value.false)

    def room(self, node: CheckedNode, port: str) -> None:
        """Make room for what a port gives."""
        output = node.type.output(port)
        assert output is not None
        if (node.id, port) not in self.held:
            numeric = output.kind == "number"
            slots = self.run.slot(F64, NAN) if numeric else (self.run.slot(I32), self.run.slot(I32))
            self.held[node.id, port] = slots

    def read(self, port: Port, scope: Scope) -> Value:
        """What a port gave last, as a value on another clock."""
        kept = self.held[port]
        if isinstance(kept, Slot):
            return scope.series(kept.get())
        true, false = kept
        return Truth(scope, true.get(), false.get)


class Timeframes:
    """Evaluates a graph at the run's bar: first the nodes of coarser clocks whose bars have ended, then its own."""

    def __init__(self, scope: Scope, clocks: Clocks, *, hold_all: bool) -> None:
        self.scope, self.f, self.clocks = scope, scope.f, clocks
        self.first = scope.slot(I64)  # the start of the run's first bar
        self.coarser = {clock: Coarser(scope, clock) for clock in clocks.coarser}
        nodes = {node.id: node for node in clocks.strategy.nodes}
        for node in clocks.strategy.nodes:
            for sources in node.inputs.values():
                for source, port in sources:
                    clock = clocks.of[source]
                    if clock > RUN and (clock != clocks.of[node.id] or node.type.category is Category.ACTION):
                        self.coarser[clock].room(nodes[source], port)
        if hold_all:
            for node in clocks.strategy.nodes:
                if clocks.of[node.id] > RUN and node.type.category is not Category.ACTION:
                    for output in node.type.outputs:
                        self.coarser[clocks.of[node.id]].room(node, output.name)

    def evaluate(self) -> None:
        """Emit it all; afterwards the scope has a value for every port that a node of the run's clock may ask for."""
        f, scope = self.f, self.scope
        with f.when(scope.bars.eq(1)):
            self.first.set(scope.bar["ts"])
        for node in self.clocks.on(FIXED):
            lower_node(scope, node)
        self._close_what_ended()
        for clock, coarser in self.coarser.items():
            for port in coarser.held:
                scope.values[port] = coarser.read(port, scope)
            self._mark_fresh(clock, coarser)
        scope.warming = f.let(self._warming())
        for node in self.clocks.on(RUN):
            lower_node(scope, node)

    def _close_what_ended(self) -> None:
        """Goes round once for each end that lies before this bar, and once more for those that end with it."""
        f, scope = self.f, self.scope
        due, going = f.var(I64), f.var(I32, 1)
        with f.while_(going):
            f.set(due, R.NO_LEVEL)
            for coarser in self.coarser.values():
                with f.when(coarser.is_over & (coarser.end < due)):
                    f.set(due, coarser.end)
            with f.when(due.eq(R.NO_LEVEL)):
                for coarser in self.coarser.values():
                    coarser.take()
                f.set(due, scope.bar["ts"] + scope.view["bar_length"])
                f.set(going, 0)
            for clock, coarser in self.coarser.items():
                with f.when(coarser.is_open.get() & coarser.end.eq(due)):
                    coarser.close(self.first, partial(self._evaluate, clock))

    def _evaluate(self, clock: int, inner: Scope) -> None:
        nodes = self.clocks.on(clock)
        for node in nodes:  # what comes from other clocks, before any block that may not be reached
            for sources in node.inputs.values():
                for port in sources:
                    other = self.clocks.of[port[0]]
                    if other == FIXED:
                        constant = self.scope.values[port]
                        assert isinstance(constant, Series)
                        inner.values[port] = Series(inner, constant.value, always=True)
                    elif other != clock and port not in inner.values:
                        inner.values[port] = self.coarser[other].read(port, inner)
        for node in nodes:
            lower_node(inner, node)

    def _mark_fresh(self, clock: int, coarser: Coarser) -> None:
        """For actions of a coarser clock: the condition as it is when a bar of that clock has just closed."""
        for node in self.clocks.strategy.nodes:
            if node.type.category is Category.ACTION and self.clocks.of[node.id] == clock:
                for port in node.inputs.get("when", ()):
                    held = self.scope.values[port]
                    assert isinstance(held, Truth)
                    self.scope.fresh[port] = Truth(
                        self.scope, held.true & coarser.closed, partial(getattr, held, "false")
                    )

    def _warming(self) -> Expr:
        warming = self.scope.bars <= self.scope.view["warmup"]
        for coarser in self.coarser.values():
            warming = warming | (coarser.bars.get() <= coarser.warmup.get())
        return warming


def lower_node(scope: Scope, node: CheckedNode) -> None:
    """Emit a node's work and note what its ports give."""
    for port, value in node.type.lower(Site(scope, node)).items():
        scope.values[node.id, port] = value
