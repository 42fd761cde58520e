"""Why a strategy did what it did at a bar: every port's value, and a sentence for each action.

A probed build of the same graph keeps what each port held; it trades exactly as the plain build does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.backtest import fitting
from algotrade.engine.compile import Artefact
from algotrade.engine.node_type import Category
from algotrade.engine.records import EVENT, MARKER, TICK, EventKind, Reason, Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import INTERVALS, RunSettings, SettingsError
from algotrade.engine.strategy import Bound, CheckedNode, Strategy

# Refusals that happen when the bar closes; the others happen when an order comes to fill.
AT_CLOSE: Final = frozenset([Reason.WARMING_UP, Reason.ALREADY_LONG, Reason.HALTED])

PortValue = float | bool | None  # None: NaN or unknown


@dataclass(frozen=True, slots=True)
class Action:
    """What an action did at the bar. ``rejection`` names the reason where its order was refused."""

    node_id: str
    acted: bool
    rejection: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """``ts``: the bar's start; ``bar``: its index among the evaluated bars, from 0; ``ports``: (node, port) → value."""

    ts: int
    bar: int
    warmup_bars: int
    ports: Mapping[tuple[str, str], PortValue]
    actions: tuple[Action, ...]


def explain(
    strategy: Strategy,
    probed: Artefact,
    bars: Records,
    settings: RunSettings,
    parameters: Mapping[str, Any] | None,
    at: int,
) -> Explanation:
    """Replay up to the bar that holds the time ``at`` (ns) and tell what it decided.

    ``probed`` is `compile_strategy(document, probe=True)`. Raises SettingsError where no bar holds that time.
    """
    settings = fitting(settings, bars, probed)
    sessions = Sessions(probed)
    slot = sessions.add(settings, parameters)
    start, count, events = _replay(sessions, slot, bars, settings, at)
    state = sessions.state(slot)
    ports = sessions.probes(slot)
    decided = sessions.decided(slot)
    # What became of the orders is told by the next tick, or at once where they fill at the close.
    later = events if settings.fill == "close" else sessions.run(slot, bars[count : count + 1])[1]
    teller = _Teller(strategy, ports, state.warmup_bars - state.bars + 1, _refusals(events, start, AT_CLOSE), later)
    actions = tuple(
        teller.action(node, node.index in decided) for node in strategy.nodes if node.type.category is Category.ACTION
    )
    return Explanation(start, state.bars - 1, state.warmup_bars, ports, actions)


def _refusals(events: Records, since: int, reasons: frozenset[Reason]) -> dict[int, Reason]:
    """The reasons by node index of entries refused since a time."""
    return {
        int(event["node"]): Reason(int(event["reason"]))
        for event in events
        if event["kind"] == EventKind.REJECTION and event["ts"] >= since and int(event["reason"]) in reasons
    }


def _replay(sessions: Sessions, slot: int, bars: Records, settings: RunSettings, at: int) -> tuple[int, int, Records]:
    """Run until the bar that holds ``at`` has closed: its start, the rows taken, and the events of the last call."""
    interval = INTERVALS[settings.interval]
    if interval:
        start = at - at % interval
        count = int(np.searchsorted(bars["ts"], start + interval, side="left"))
        found = count > 0 and int(bars["ts"][count - 1]) >= start
    else:
        count = int(np.searchsorted(bars["ts"], at, side="right"))
        start, found = (int(bars["ts"][count - 1]), True) if count else (at, False)
    if not found:
        raise SettingsError("at", "no bar holds this time")
    done, events = 0, np.zeros(0, EVENT)
    while done < count:
        taken, events = sessions.run(slot, bars[done:count])
        done += taken
        if sessions.is_halted(slot):
            raise SettingsError("at", "the session had halted before this bar")
    if interval:
        marker = np.zeros(1, TICK)
        marker["ts"], marker["flags"], marker["seq"] = start + interval, MARKER, 1
        before = sessions.state(slot).bars
        events = sessions.step(marker)
        if sessions.state(slot).bars == before:
            raise SettingsError("at", "the data begin inside this bar, so it was not evaluated")
    return start, count, events


class _Teller:
    """Words for one bar. ``refused``: at the close, by node index. ``later``: the events of the tick after."""

    def __init__(
        self,
        strategy: Strategy,
        ports: Mapping[tuple[str, str], PortValue],
        bars_left: int,
        refused: Mapping[int, Reason],
        later: Records,
    ) -> None:
        self.nodes = {node.id: node for node in strategy.nodes}
        self.ports, self.bars_left, self.refused, self.later = ports, bars_left, refused, later

    def action(self, node: CheckedNode, decided: bool) -> Action:
        name = f"{node.type.name} {node.id!r}"
        source = node.inputs["when"][0]
        value, because = self.ports[source], self.because(source)
        if node.index in self.refused:
            reason = self.refused[node.index].label
            return Action(node.id, False, reason, f"{name} was refused at the close: {reason}; {because}.")
        outcome = next((e for e in self.later if e["node"] == node.index and value is True), None)
        if outcome is not None and outcome["kind"] == EventKind.REJECTION:
            reason = Reason(int(outcome["reason"])).label
            return Action(node.id, False, reason, f"{name} was refused when it came to fill: {reason}; {because}.")
        if outcome is not None:
            price = fixed.text(int(outcome["price"]))
            return Action(node.id, True, None, f"{name} acted, because {because}; it filled at {price}.")
        if decided:
            return Action(node.id, True, None, f"{name} acted, because {because}; the data end before it fills.")
        if value is True:
            return Action(node.id, False, None, f"{name} had nothing to do, although {because}.")
        state = "unknown" if value is None else "false"
        warming = f"; the strategy warms up for {self.bars_left} more bars" if self.bars_left > 0 else ""
        return Action(node.id, False, None, f"{name} did not act: when is {state}, because {because}{warming}.")

    def because(self, port: tuple[str, str]) -> str:
        """The node that decides a condition, with the values it saw; joins are followed to what blocks them."""
        node, value = self.nodes[port[0]], self.ports[port]
        sources = [source for sources in node.inputs.values() for source in sources]
        if node.type.name in ("and", "or", "not") and sources:
            telling = [s for s in sources if self.ports[s] == value] or sources
            return self.because(telling[0] if node.type.name != "not" else sources[0])
        seen = ", ".join(
            f"{name} = {_text(self.ports[source])}" for name, sources_ in node.inputs.items() for source in sources_
        )
        if node.type.name == "compare" and "b" not in node.inputs:
            limit = node.params["value"]
            seen += f", value = {limit.parameter.name if isinstance(limit, Bound) else limit}"
        operator = f" {node.params['op']}" if "op" in node.params else ""
        return f"{node.type.name}{operator} {node.id!r} is {_text(value)}" + (f" ({seen})" if seen else "")


def _text(value: PortValue) -> str:
    if value is None:
        return "unknown"
    return str(value).lower() if isinstance(value, bool) else f"{value:.10g}"
