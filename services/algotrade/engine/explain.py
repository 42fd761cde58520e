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
AT_CLOSE: Final = frozenset(
    [
        Reason.WARMING_UP,
        Reason.ALREADY_LONG,
        Reason.ALREADY_SHORT,
        Reason.SHORT_NOT_ALLOWED,
        Reason.HALTED,
        Reason.STALE_DATA,
        Reason.NO_ENTRY,
        Reason.NO_LEVEL,
    ]
)
GIVEN_UP: Final = frozenset([Reason.EXPIRED, Reason.CANCELLED])  # of orders that waited

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
    now = events[events["ts"] >= start]
    bar = _Bar(state.warmup_bars - state.bars + 1, decided, state.order_level, now, later)
    teller = _Teller(strategy, ports, bar)
    actions = [teller.action(node) for node in strategy.nodes if node.type.category is Category.ACTION]
    actions += [teller.limit(node) for node in strategy.nodes if teller.left(node)]
    return Explanation(start, state.bars - 1, state.warmup_bars, ports, tuple(actions))


@dataclass(frozen=True, slots=True)
class _Bar:
    """``decided``: node indices with an order; ``now``: the events of the bar, ``later``: those of the tick after."""

    warmup_left: int
    decided: set[int]
    order_level: int
    now: Records
    later: Records

    def refused(self, reasons: frozenset[Reason]) -> dict[int, Reason]:
        """The reasons by node index of orders refused or given up at this close."""
        found = self.now[self.now["kind"] == EventKind.REJECTION]
        return {int(e["node"]): Reason(int(e["reason"])) for e in found if int(e["reason"]) in reasons}

    def told_later(self, node: CheckedNode, kind: EventKind) -> Any:
        """The first event of a kind that a node's order brought about after the close, or None."""
        return next((e for e in self.later if e["node"] == node.index and e["kind"] == kind), None)


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
    """Words for one bar."""

    def __init__(self, strategy: Strategy, ports: Mapping[tuple[str, str], PortValue], bar: _Bar) -> None:
        self.nodes = {node.id: node for node in strategy.nodes}
        self.ports, self.bar = ports, bar
        self.refused, self.given_up = bar.refused(AT_CLOSE), bar.refused(GIVEN_UP)

    def action(self, node: CheckedNode) -> Action:
        name = f"{node.type.name} {node.id!r}"
        value = self.ports[node.inputs["when"][0]]
        because = self.because(node.inputs["when"][0])
        if value is not True:
            return self._idle(node, name, because)
        if node.type.name == "notify":
            return self._notice(node, name, because)
        if node.index in self.refused and node.index not in self.bar.decided:
            reason = self.refused[node.index]
            if reason is Reason.NO_ENTRY:
                because = self._no_entry()
            return Action(node.id, False, reason.label, f"{name} was refused at the close: {reason.label}; {because}.")
        fill = self.bar.told_later(node, EventKind.EXIT) or self.bar.told_later(node, EventKind.ENTRY)
        outcome = self.bar.told_later(node, EventKind.REJECTION)
        if fill is not None:
            tail = self._other_half(node, outcome)
            price = fixed.text(int(fill["price"]))
            return Action(node.id, True, None, f"{name} acted, because {because}; it filled at {price}{tail}.")
        if outcome is not None:
            reason = Reason(int(outcome["reason"]))
            said = f"{name} was refused when it came to fill: {reason.label}; {because}."
            return Action(node.id, False, reason.label, said)
        if node.index in self.bar.decided:
            return Action(node.id, True, None, f"{name} acted, because {because}; {self._pending(node)}.")
        return Action(node.id, False, None, f"{name} had nothing to do, although {because}.")

    def left(self, node: CheckedNode) -> bool:
        """Whether it is a risk node that closes the position at this bar."""
        decided = node.index in self.bar.decided or self.bar.told_later(node, EventKind.EXIT) is not None
        return node.type.category is Category.RISK and decided

    def limit(self, node: CheckedNode) -> Action:
        """What a risk node did that needs no input."""
        fill = self.bar.told_later(node, EventKind.EXIT)
        end = "the data end before it fills" if fill is None else f"it filled at {fixed.text(int(fill['price']))}"
        return Action(node.id, True, None, f"{node.type.name} {node.id!r} closes the position; {end}.")

    def _idle(self, node: CheckedNode, name: str, because: str) -> Action:
        state = "unknown" if self.ports[node.inputs["when"][0]] is None else "false"
        left = self.bar.warmup_left
        warming = f"; the strategy warms up for {left} more bars" if left > 0 else ""
        gone = self.given_up.get(node.index) or self.refused.get(node.index)
        given_up = f"; its order that waited was given up: {gone.label}" if gone else ""
        return Action(
            node.id, False, None, f"{name} did not act: when is {state}, because {because}{warming}{given_up}."
        )

    def _notice(self, node: CheckedNode, name: str, because: str) -> Action:
        spoke = any(e["node"] == node.index and e["kind"] == EventKind.NOTICE for e in self.bar.now)
        what = "spoke" if spoke else "stayed silent, as it warms up or has spoken lately,"
        return Action(node.id, spoke, None, f"{name} {what} {'because' if spoke else 'although'} {because}.")

    def _pending(self, node: CheckedNode) -> str:
        kind = node.params.get("order_type", "market")
        if kind != "market" and self.bar.order_level:
            return f"its {kind} order waits at {fixed.text(self.bar.order_level)}"
        return "the data end before it fills"

    def _other_half(self, node: CheckedNode, refused: Any) -> str:
        """What became of a reverse's entry."""
        if node.type.name != "reverse":
            return ""
        entry = self.bar.told_later(node, EventKind.ENTRY)
        if entry is not None:
            side = "short" if int(entry["quantity"]) < 0 else "long"
            return f" and entered {side}"
        reason = Reason(int(refused["reason"])) if refused is not None else self.refused.get(node.index)
        return f", and entering the other side was refused: {reason.label}" if reason else " and only closed"

    def _no_entry(self) -> str:
        blocking = next(node for node in self.nodes.values() if node.type.name == "no_entry")
        return self.because(blocking.inputs["when"][0])

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
