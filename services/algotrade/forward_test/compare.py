"""What a replay gave against what is stored: events, trades, the row; the first thing that differs is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any, Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.compile import Artefact
from algotrade.engine.records import EventKind
from algotrade.engine.runtime import portable
from algotrade.engine.settings import INTERVALS
from algotrade.forward_test.book import Happening
from algotrade.forward_test.session import Event, Held, Progress, Session, SessionTrade, Status
from algotrade.forward_test.store import Proofs

EVENT, TRADE, STATE = "event", "trade", "state"
READ: Final = 500
STATE_FIELDS: Final = 10  # of the engine's row that are named at most
_AMOUNTS: Final = frozenset(
    {
        "price", "quantity", "amount", "fee", "pnl", "cash", "entry_price", "exit_price", "fees",
        "equity", "last_price", "average_price", "realized_pnl", "peak_balance", "max_drawdown",
    }
)  # fmt: skip
_BASE: Final = ("status", "last_sequence", "last_tick_sequence", "feed_state", "segment")
_ROW: Final = (*_BASE, "cash", "equity", "last_price", "quantity", "average_price", "realized_pnl", "bars")


@dataclass(frozen=True, slots=True)
class Difference:
    """A field with its value by the replay and as stored, as text; empty where there is none."""

    field: str
    expected: str
    stored: str


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where what is stored first differs from what the ticks give. ``bar_ns``: the start of the bar of its tick."""

    segment: int
    part: str  # event, trade or state
    sequence: int
    event_ns: int
    bar_ns: int
    tick_sequence: int
    node_id: str
    differences: tuple[Difference, ...]
    missing: bool = False  # it is not stored at all
    unexpected: bool = False  # it is stored, and the replay has nothing of the kind


class Comparison:
    """Follows a replay of one segment, comparing as it goes; holds no more than a batch brings."""

    def __init__(self, proofs: Proofs, held: Held, segment: int, base: Held) -> None:
        """Take where stored things are, the session's row, and the base after which events are compared."""
        self._proofs = proofs
        self._held = held
        self._segment = segment
        self.sequence = base.session.last_sequence  # of the last event that was compared
        self._traded = self.sequence  # trades up to here are compared, but for those that come again
        self._pending: tuple[SessionTrade, Event] | None = None  # may still be marked ambiguous
        self.events = 0
        self.trades = 0

    async def take(self, happenings: Sequence[Happening]) -> Divergence | None:
        """Compare what has happened next."""
        closed: list[tuple[SessionTrade, Event]] = []
        for happening in happenings:
            if happening.trade is not None:
                if self._pending is not None and self._pending[0].sequence != happening.trade.sequence:
                    closed.append(self._pending)
                self._pending = happening.trade, happening.event
        if found := await self._compare_events([happening.event for happening in happenings]):
            return found
        return await self._compare_trades(closed)

    async def finish(self, last_sequence: int) -> Divergence | None:
        """Compare what was waiting, and see that no trade is stored beyond it up to a sequence."""
        if self._pending is not None and (found := await self._compare_trades([self._pending])):
            return found
        for trade in await self._proofs.closed(self._held.session, self._traded, 1):
            if trade.sequence <= last_sequence:
                return self._unexpected(TRADE, trade.sequence, trade.exit_ns or 0, 0, "", trade)
        return None

    async def _compare_events(self, expected: Sequence[Event]) -> Divergence | None:
        for start in range(0, len(expected), READ):
            part = expected[start : start + READ]
            stored = await self._proofs.events(self._held.session, self.sequence, len(part))
            for event, other in zip_longest(part, stored):
                if other is not None and other.sequence < event.sequence:
                    return self._unexpected(EVENT, other.sequence, other.event_ns, other.tick_sequence, "", other)
                other = None if other is not None and other.sequence > event.sequence else other
                if differences := _differences(event, other):
                    return self._diverged(EVENT, event, differences, missing=other is None)
            self.sequence = part[-1].sequence
            self.events += len(part)
        return None

    async def _compare_trades(self, expected: Sequence[tuple[SessionTrade, Event]]) -> Divergence | None:
        for start in range(0, len(expected), READ):
            part = expected[start : start + READ]
            after = min(self._traded, part[0][0].sequence - 1)
            stored = [
                self._as_of_now(trade) for trade in await self._proofs.closed(self._held.session, after, len(part))
            ]
            for (trade, event), other in zip_longest(part, stored):
                if other is not None and other.sequence < trade.sequence:
                    return self._unexpected(TRADE, other.sequence, other.exit_ns or 0, 0, "", other)
                other = None if other is not None and other.sequence > trade.sequence else other
                if differences := _differences(trade, other):
                    return self._diverged(TRADE, event, differences, missing=other is None)
            self._traded = max(self._traded, part[-1][0].sequence)
            self.trades += len(part)
        return None

    def _as_of_now(self, stored: SessionTrade) -> SessionTrade:
        """Return the newest trade as it was when the row was read: what has marked it since is none of ours."""
        last = self._held.last_trade
        return last if last is not None and last.sequence == stored.sequence else stored

    async def halted(self, stored: Held) -> Divergence | None:
        """Compare the event of a halt that came from outside, which no replay gives."""
        session = stored.session
        cash = session.cash
        expected = {"sequence": str(self.sequence + 1), "kind": str(int(EventKind.HALT)), "reason": session.halt_reason}
        expected["cash"] = fixed.text(cash)
        events = await self._proofs.events(session, self.sequence, 1)
        texts = _texts(events[0]) if events else {}
        if not (differences := tuple(_unlike(expected, texts))):
            self.sequence += 1
            self.events += 1
            return None
        return Divergence(
            self._segment, EVENT, self.sequence + 1, 0, 0, session.last_tick_sequence, "", differences, not events
        )

    def state(self, artefact: Artefact, expected: Progress, stored: Held, *, base: bool) -> Divergence | None:
        """Compare a row with what the replay makes of it; a base keeps less than the row that it is of."""
        names = _BASE if base else _ROW
        texts = _row(names, expected), _row(names, stored)
        if stored.session.status is Status.HALTED and expected.session.status is not Status.HALTED:
            for text in texts:  # a halt from outside: the row is the last one before it
                del text["status"], text["last_sequence"]
        differences = list(_unlike(*texts))
        if stored.state is not None:
            differences += _state_differences(artefact, expected.state or b"", stored.state)
        if not differences:
            return None
        session = stored.session
        return Divergence(
            self._segment, STATE, session.last_sequence, 0, 0, session.last_tick_sequence, "", tuple(differences)
        )

    def _diverged(self, part: str, event: Event, differences: tuple[Difference, ...], *, missing: bool) -> Divergence:
        """Say where: at the event, whose sequence a trade has too."""
        bar_ns = _bar_ns(self._held.session, event.event_ns)
        return Divergence(
            self._segment, part, event.sequence, event.event_ns, bar_ns, event.tick_sequence, event.node_id,
            differences, missing,
        )  # fmt: skip

    def _unexpected(
        self, part: str, sequence: int, event_ns: int, tick_sequence: int, node_id: str, stored: Event | SessionTrade
    ) -> Divergence:
        differences = tuple(Difference(name, "", value) for name, value in _texts(stored).items())
        bar_ns = _bar_ns(self._held.session, event_ns)
        return Divergence(
            self._segment, part, sequence, event_ns, bar_ns, tick_sequence, node_id, differences, unexpected=True
        )


def _differences(expected: Event | SessionTrade, stored: Event | SessionTrade | None) -> tuple[Difference, ...]:
    if stored == expected:
        return ()
    return tuple(_unlike(_texts(expected), {} if stored is None else _texts(stored)))


def _unlike(expected: Mapping[str, str], stored: Mapping[str, str]) -> Iterator[Difference]:
    for name, value in expected.items():
        if stored.get(name) != value:
            yield Difference(name, value, stored.get(name, ""))


def _texts(one: Event | SessionTrade) -> dict[str, str]:
    return {
        field.name: _text(field.name, getattr(one, field.name)) for field in fields(one) if field.name != "session_id"
    }


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    return fixed.text(value) if name in _AMOUNTS else str(value)


def _row(names: Sequence[str], one: Progress | Held) -> dict[str, str]:
    texts = {name: _text(name, getattr(one.session, name)) for name in names}
    totals = one.totals
    texts |= {f"totals.{field.name}": _text(field.name, getattr(totals, field.name)) for field in fields(totals)}
    if one.open is not None:
        texts |= {f"open.{name}": value for name, value in _texts(one.open).items()}
    return texts


def _state_differences(artefact: Artefact, expected: bytes, stored: bytes) -> Iterator[Difference]:
    """Name the fields of the engine's row that differ."""
    layout = artefact.manifest.fields
    stride = artefact.manifest.stride
    if len(stored) != stride or len(expected) != stride:
        yield Difference("state.bytes", str(len(expected)), str(len(stored)))
        return
    left, right = portable(expected), portable(stored)
    if left == right:
        return
    formats = {"i32": "<i4", "i64": "<i8", "f64": "<f8"}
    found = 0
    for name, (kind, offset) in layout.items():
        size = np.dtype(formats[kind]).itemsize
        ours, theirs = left[offset : offset + size], right[offset : offset + size]
        if ours != theirs:
            found += 1
            values = [np.frombuffer(raw, formats[kind])[0].item() for raw in (ours, theirs)]
            yield Difference(f"state.{name}", *map(str, values))
        if found == STATE_FIELDS:
            return
    if not found:  # a ring of an indicator: it has no name of its own
        at = next(index for index in range(stride) if left[index] != right[index])
        yield Difference(f"state.byte_{at}", str(left[at]), str(right[at]))


def _bar_ns(session: Session, event_ns: int) -> int:
    interval = INTERVALS[session.settings.interval]
    return event_ns - event_ns % interval if interval else event_ns
