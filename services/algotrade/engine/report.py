"""What can be said of a strategy before it has seen a price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final

from algotrade.engine.clocks import RUN
from algotrade.engine.ir import Function
from algotrade.engine.lower import Lowered
from algotrade.engine.node_type import Category
from algotrade.engine.settings import INTERVALS
from algotrade.engine.strategy import Strategy
from algotrade.engine.wasm import Code

_NAMES: Final = {length: name for name, length in INTERVALS.items() if length}


@dataclass(frozen=True, slots=True)
class Report:
    """Facts of an artefact.

    ``warmup_bars`` holds for the parameters' defaults, as does ``warmup_by_timeframe``, in bars of each timeframe that
    it reads beside the run's own; a run waits for all of them. ``fuel_per_bar`` bounds what one bar can cost, in
    WebAssembly instructions. ``feeds``: the inputs it reads. ``orders``: all that it can ever do.
    """

    warmup_bars: int
    warmup_by_timeframe: Mapping[str, int]
    state_bytes: int
    fuel_per_bar: int
    order: tuple[str, ...]
    feeds: tuple[str, ...]
    orders: tuple[str, ...]

    @property
    def timeframes(self) -> tuple[str, ...]:
        """What it reads beside the run's own bars, such as 1h."""
        return tuple(self.warmup_by_timeframe)

    LISTS: ClassVar[tuple[str, ...]] = ("order", "feeds", "orders")


def report_of(strategy: Strategy, lowered: Lowered, codes: Sequence[Code], warmup: Mapping[int, int]) -> Report:
    types = {node.type.name for node in strategy.nodes}
    actions = [n.type.name for n in strategy.nodes if n.type.category in (Category.ACTION, Category.RISK)]
    feeds = {str(n.params["field"]) for n in strategy.nodes if n.type.name == "price"} | types & {"volume", "time"}
    orders = {name for name in actions if name != "hold"}
    return Report(
        warmup_bars=warmup[RUN],
        warmup_by_timeframe={_NAMES[clock]: bars for clock, bars in warmup.items() if clock != RUN},
        state_bytes=lowered.stride,
        fuel_per_bar=fuel_per_bar(lowered.program.functions, codes),
        order=tuple(node.id for node in strategy.order),
        feeds=tuple(sorted(feeds)),
        orders=tuple(sorted(orders)),
    )


def fuel_per_bar(functions: Sequence[Function], codes: Sequence[Code]) -> int:
    """Instructions that one bar with its four ticks costs at most, by whichever way it comes in.

    Every function counts as if all its branches were taken. Fuel is one a WebAssembly instruction.
    """
    by_name = {function.name: code for function, code in zip(functions, codes, strict=True)}

    @cache
    def cost(name: str) -> int:
        return by_name[name].cost + sum(cost(called) for called in by_name[name].calls)

    return cost("regroup")
