"""What can be said of a strategy before it has seen a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from algotrade.engine.ir import Call, Expr, Fill, Function, If, Program, Return, Run, Set, Statement, Store, While
from algotrade.engine.lower import Lowered
from algotrade.engine.node_type import Category
from algotrade.engine.strategy import Strategy

# The division of two 64-bit numbers is a straight line, and the deepest loop of a bar is the search of a time zone's
# offsets: at most this many steps.
_LOOP_BOUND = 12


@dataclass(frozen=True, slots=True)
class Report:
    """Facts of an artefact.

    ``warmup_bars`` holds for the parameters' defaults. ``fuel_per_bar`` bounds what one bar can cost, in WebAssembly
    instructions. ``feeds``: the inputs it reads. ``orders``: all that it can ever do.
    """

    warmup_bars: int
    state_bytes: int
    fuel_per_bar: int
    order: tuple[str, ...]
    feeds: tuple[str, ...]
    orders: tuple[str, ...]

    LISTS: ClassVar[tuple[str, ...]] = ("order", "feeds", "orders")


def report_of(strategy: Strategy, lowered: Lowered, warmup: int) -> Report:
    types = {node.type.name for node in strategy.nodes}
    actions = [n.type.name for n in strategy.nodes if n.type.category in (Category.ACTION, Category.RISK)]
    feeds = {str(n.params["field"]) for n in strategy.nodes if n.type.name == "price"} | types & {"volume", "time"}
    orders = {name for name in actions if name != "hold"}
    return Report(
        warmup_bars=warmup,
        state_bytes=lowered.stride,
        fuel_per_bar=_Cost(lowered.program).bar(),
        order=tuple(node.id for node in strategy.order),
        feeds=tuple(sorted(feeds)),
        orders=tuple(sorted(orders)),
    )


class _Cost:
    """Instructions at most, counting both sides of every branch and every call."""

    def __init__(self, program: Program) -> None:
        self.functions = {f.name: f for f in program.functions}
        self.known: dict[str, int] = {}

    def bar(self) -> int:
        """One bar with its four ticks, by whichever way it comes in."""
        return self.function("regroup") + 8

    def function(self, name: str) -> int:
        if name not in self.known:
            # Loops over records are counted once, by what is inside them.
            per_record = name in ("bars", "regroup", "ticks", "run")
            self.known[name] = self.block(self.functions[name], self.functions[name].body, 1 if per_record else 0)
        return self.known[name]

    def block(self, f: Function, statements: list[Statement], loops: int) -> int:
        return sum(self.statement(f, s, loops) for s in statements)

    def statement(self, f: Function, s: Statement, loops: int) -> int:
        match s:
            case Set() | Return() | Run():
                value = s.call if isinstance(s, Run) else s.value
                return 1 + (self.expr(value) if value is not None else 0)
            case Store():
                return 1 + self.expr(s.address) + self.expr(s.value)
            case If():
                both = self.block(f, s.then, loops) + self.block(f, s.otherwise, loops)
                return 3 + self.expr(s.condition) + both
            case While():
                once = 6 + self.expr(s.condition) + self.block(f, s.body, loops)
                return once * (loops or _LOOP_BOUND)
            case Fill():
                return 4 + self.expr(s.address) + self.expr(s.length)

    def expr(self, e: Expr) -> int:
        called = self.function(e.function.name) if isinstance(e, Call) else 0
        return 1 + called + sum(self.expr(a) for a in e.args)
