"""What can be said of a strategy before it has seen a price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final

from algotrade.engine import row as R
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
    WebAssembly instructions. ``feeds``: the inputs it reads. ``orders``: all that it can ever do, by node type, with
    the kinds of order where there is a choice; ``never``: what it cannot do, whatever comes.
    """

    warmup_bars: int
    warmup_by_timeframe: Mapping[str, int]
    state_bytes: int
    fuel_per_bar: int
    order: tuple[str, ...]
    feeds: tuple[str, ...]
    orders: tuple[str, ...]
    never: tuple[str, ...]

    @property
    def timeframes(self) -> tuple[str, ...]:
        """What it reads beside the run's own bars, such as 1h."""
        return tuple(self.warmup_by_timeframe)

    LISTS: ClassVar[tuple[str, ...]] = ("order", "feeds", "orders", "never")


def report_of(strategy: Strategy, lowered: Lowered, codes: Sequence[Code], warmup: Mapping[int, int]) -> Report:
    types = {node.type.name for node in strategy.nodes}
    feeds = {str(n.params["field"]) for n in strategy.nodes if n.type.name == "price"} | types & {"volume", "time"}
    return Report(
        warmup_bars=warmup[RUN],
        warmup_by_timeframe={_NAMES[clock]: bars for clock, bars in warmup.items() if clock != RUN},
        state_bytes=lowered.stride,
        fuel_per_bar=fuel_per_bar(lowered.program.functions, codes),
        order=tuple(node.id for node in strategy.order),
        feeds=tuple(sorted(feeds)),
        orders=tuple(sorted(_orders(strategy))),
        never=tuple(_never(strategy)),
    )


def _orders(strategy: Strategy) -> set[str]:
    return {
        f"{node.type.name} {kind}"
        if (kind := node.params.get("order_type")) not in (None, "market")
        else node.type.name
        for node in strategy.nodes
        if node.type.category in (Category.ACTION, Category.RISK) and node.type.name != "hold"
    }


def _never(strategy: Strategy) -> Iterator[str]:
    """What no node of this graph can ask for."""
    types = {node.type.name for node in strategy.nodes}
    kinds = {node.params.get("order_type") for node in strategy.nodes}
    if not types & {"buy", "reverse"}:
        yield "go long"
    if not types & {"short", "reverse"}:
        yield "go short"
    if not kinds & {"limit", "stop"}:
        yield "leave an entry waiting for a price"
    if not types & {"sell", "cover", "close", "reverse", "time_stop", "max_drawdown_halt", "daily_loss_limit"}:
        yield "leave by a decision at a close"
    if not types & {"stop_loss", "trailing_stop", "break_even"}:
        yield "leave at a stop"
    if "take_profit" not in types:
        yield "leave at a target"
    portions = [node.params.get("portion") for node in strategy.nodes if node.type.param("portion")]
    if all(portion == R.WHOLE_PERCENT for portion in portions):
        yield "leave in portions"


def fuel_per_bar(functions: Sequence[Function], codes: Sequence[Code]) -> int:
    """Instructions that one bar with its four ticks costs at most, by whichever way it comes in.

    Every function counts as if all its branches were taken. Fuel is one a WebAssembly instruction.
    """
    by_name = {function.name: code for function, code in zip(functions, codes, strict=True)}

    @cache
    def cost(name: str) -> int:
        return by_name[name].cost + sum(cost(called) for called in by_name[name].calls)

    return cost("regroup")
