"""Many artefacts, one call: the same ticks through the sessions of them all.

A call from Python into a module costs more than the module's work on a tick, and 1,000 strategies are 1,000 modules.
So their instances live in one store beside a dispatcher, a module of ours with a memory and a table of functions:

1. Each artefact gets a feeder, a small module that sees two memories, the dispatcher's and the artefact's. Artefacts
   themselves import nothing and know of none of this.
2. An order says where an artefact's rows are. The host writes the ticks once, into the dispatcher's memory, with the
   list of orders; one call goes through the list.
3. A feeder copies the ticks over, calls ``tick_all``, and copies the events back behind those of the others.

A strategy writes to its own memory only, so one that traps leaves the others as they are: the dispatcher noted whose
turn it was, and the call is made again for those behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from algotrade.engine import native
from algotrade.engine import row as R
from algotrade.engine.compile import Artefact
from algotrade.engine.limits import EVENTS_PER_LOG, FLEET_TICKS_PER_CALL, MAX_ARTEFACTS_PER_FLEET
from algotrade.engine.records import EVENT, TICK, Records, joined
from algotrade.engine.runtime import CALL_FUEL, Sessions
from algotrade.engine.settings import RunSettings

_I32: Final = np.dtype("<i4")
_BYTE: Final = np.dtype(np.uint8)
_KEPT_IDLE: Final = 256

# Where a module's rows are, and what became of its turn.
ORDER: Final = np.dtype(
    [
        ("step", "<i4"),  # the feeder's place in the table
        ("rows", "<i4"),  # address of the first row
        ("count", "<i4"),
        ("stride", "<i4"),
        ("input", "<i4"),  # where ticks go
        ("done", "<i4"),  # how many rows have taken the ticks
        ("events", "<i4"),  # how many there were
        ("pad", "<i4"),
        ("fuel", "<i8"),  # of a row and a tick
    ]
)

# The dispatcher's memory.
_TURN, _END, _LIMIT = 0, 4, 8  # whose turn it is; where the next events go; no turn begins behind this
_LIST: Final = 64
_ORDERS: Final = _LIST + _I32.itemsize * MAX_ARTEFACTS_PER_FLEET
_TICKS: Final = _ORDERS + ORDER.itemsize * MAX_ARTEFACTS_PER_FLEET
_EVENTS: Final = _TICKS + TICK.itemsize * FLEET_TICKS_PER_CALL
_LOG_BYTES: Final = EVENT.itemsize * EVENTS_PER_LOG
_SIZE: Final = _EVENTS + 2 * _LOG_BYTES

_AT: Final = {f"order_{name}": ORDER.fields[name][1] for name in ORDER.names or () if ORDER.fields}

DISPATCHER: Final = f"""
(module
  (memory (export "memory") {-(-_SIZE // 65_536)})
  (table (export "table") 0 {MAX_ARTEFACTS_PER_FLEET} funcref)
  (type $step (func (param i32 i32) (result i32)))

  ;; Orders from one of the list on, over the ticks: (first, orders, ticks) -> the next that was not done.
  (func (export "dispatch") (param $turn i32) (param $orders i32) (param $ticks i32) (result i32)
    (local $order i32)
    (block $over (loop $next
      (br_if $over (i32.ge_u (local.get $turn) (local.get $orders)))
      (i32.store (i32.const {_TURN}) (local.get $turn))
      (local.set $order (i32.load offset={_LIST} (i32.shl (local.get $turn) (i32.const 2))))
      (br_if $over (i32.eqz (call_indirect (type $step) (local.get $order) (local.get $ticks)
        (i32.load offset={_AT["order_step"]} (local.get $order)))))
      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
      (br $next)))
    (local.get $turn)))
"""

FEEDER: Final = f"""
(module
  (import "dispatcher" "memory" (memory $ours 1))
  (import "artefact" "memory" (memory $its 1))
  (import "artefact" "tick_all" (func $tick_all (param i32 i32 i32 i32 i32) (result i32)))

  ;; One order over the ticks: (order, ticks) -> whether it is done; if not, the events must be taken away first.
  (func (export "step") (param $order i32) (param $ticks i32) (result i32)
    (local $done i32) (local $bytes i32) (local $end i32)
    (if (i32.gt_u (i32.load $ours (i32.const {_END})) (i32.load $ours (i32.const {_LIMIT}))) (then
      (return (i32.const 0))))
    (memory.copy $its $ours (i32.load $ours offset={_AT["order_input"]} (local.get $order)) (i32.const {_TICKS})
      (i32.mul (local.get $ticks) (i32.const {TICK.itemsize})))
    (loop $again
      (local.set $done (i32.load $ours offset={_AT["order_done"]} (local.get $order)))
      (local.set $done (i32.add (local.get $done) (call $tick_all
        (i32.add (i32.load $ours offset={_AT["order_rows"]} (local.get $order))
          (i32.mul (local.get $done) (i32.load $ours offset={_AT["order_stride"]} (local.get $order))))
        (i32.sub (i32.load $ours offset={_AT["order_count"]} (local.get $order)) (local.get $done))
        (i32.load $ours offset={_AT["order_stride"]} (local.get $order))
        (i32.load $ours offset={_AT["order_input"]} (local.get $order))
        (local.get $ticks))))
      (i32.store $ours offset={_AT["order_done"]} (local.get $order) (local.get $done))
      (if (i32.load $its (i32.const {R.LOG_COUNT})) (then
        (local.set $bytes (i32.mul (i32.load $its (i32.const {R.LOG_COUNT})) (i32.const {EVENT.itemsize})))
        (local.set $end (i32.load $ours (i32.const {_END})))
        (memory.copy $ours $its (local.get $end) (i32.load $its (i32.const {R.LOG_POINTER})) (local.get $bytes))
        (i32.store $ours (i32.const {_END}) (i32.add (local.get $end) (local.get $bytes)))
        (i32.store $ours offset={_AT["order_events"]} (local.get $order)
          (i32.add (i32.load $ours offset={_AT["order_events"]} (local.get $order))
            (i32.load $its (i32.const {R.LOG_COUNT}))))
        (i32.store $its (i32.const {R.LOG_COUNT}) (i32.const 0))))
      (if (i32.ge_s (local.get $done) (i32.load $ours offset={_AT["order_count"]} (local.get $order))) (then
        (return (i32.const 1))))
      (br_if $again (i32.le_u (i32.load $ours (i32.const {_END})) (i32.load $ours (i32.const {_LIMIT})))))
    (i32.const 0)))
"""


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step did, by index into what was stepped: EVENT records where there were any, and who was stopped."""

    events: Mapping[int, Records]
    trapped: Mapping[int, native.TrapError]


class FleetSessions(Sessions):
    """The sessions of one artefact of a fleet."""

    def __init__(self, artefact: Artefact, store: native.Store, dispatcher: native.Instance, place: int) -> None:
        super().__init__(artefact, store)
        self.place = place
        self._order = dispatcher.view(_ORDERS + place * ORDER.itemsize, ORDER, 1)
        feeder = native.MODULES.load("feeder", FEEDER)
        self._order["step"] = dispatcher.enlist(feeder, self._instance, ("memory", "tick_all"))
        self._order["input"] = self._allocate(FLEET_TICKS_PER_CALL * TICK.itemsize)
        self._order["stride"], self._order["fuel"] = self._stride, artefact.report.fuel_per_bar

    def add(self, settings: RunSettings, parameters: Mapping[str, Any] | None = None) -> int:
        slot = super().add(settings, parameters)
        self._order["rows"], self._order["count"] = self._rows, self._count
        return slot

    def clear(self) -> None:
        """Forget every session."""
        self._native.clear()
        self._free.clear()
        self._count = 0
        self._order["count"] = 0


class Fleet:
    """Sessions of many artefacts in one store. Not to be used by two threads at once."""

    def __init__(self) -> None:
        self._store = native.Store(instances=2 * MAX_ARTEFACTS_PER_FLEET + 1)
        self._dispatcher = native.Instance(native.MODULES.load("dispatcher", DISPATCHER), self._store)
        self._orders = self._dispatcher.view(_ORDERS, ORDER, MAX_ARTEFACTS_PER_FLEET)
        self._idle: dict[str, list[FleetSessions]] = {}
        self._made = self._live = 0

    @property
    def worn(self) -> bool:
        """Whether it holds so many modules that nobody uses that it is time for a new fleet.

        A store keeps what it once held, so a module that is let go is only kept for the next of its kind.
        """
        return self._made - self._live > max(self._live, _KEPT_IDLE)

    def sessions(self, artefact: Artefact) -> FleetSessions:
        """Sessions of an artefact, empty. Raises MemoryError where the fleet is full."""
        if idle := self._idle.get(artefact.hash):
            found = idle.pop()
        else:
            if self._made >= MAX_ARTEFACTS_PER_FLEET:
                raise MemoryError(f"at most {MAX_ARTEFACTS_PER_FLEET} artefacts share a fleet")
            found = FleetSessions(artefact, self._store, self._dispatcher, self._made)
            self._made += 1
        self._live += 1
        return found

    def release(self, sessions: FleetSessions, *, sound: bool = True) -> None:
        """Take sessions back. Those that have trapped are not sound and will not be used again."""
        self._live -= 1
        sessions.clear()
        if sound:
            self._idle.setdefault(sessions.artefact.hash, []).append(sessions)

    def step(self, members: Sequence[FleetSessions], ticks: Records) -> Stepped:
        """Feed ticks (TICK records, ``seq`` rising) to every session of some members; each slot's events in order.

        One that traps takes no further ticks, and nothing it did counts: its memory then holds a state half done.
        """
        events: dict[int, list[Records]] = {}
        trapped: dict[int, native.TrapError] = {}
        places = np.array([member.place for member in members], np.intp)
        which = np.arange(len(members))
        for start in range(0, len(ticks), FLEET_TICKS_PER_CALL):
            if trapped:
                which = np.setdiff1d(which, list(trapped))
            for at, found in self._step(places[which], ticks[start : start + FLEET_TICKS_PER_CALL]):
                index = int(which[at])
                if isinstance(found, native.TrapError):
                    trapped[index] = found
                    events.pop(index, None)
                else:
                    events.setdefault(index, []).append(found)
        return Stepped({index: joined(EVENT, parts) for index, parts in events.items()}, trapped)

    def _step(self, places: Records, ticks: Records) -> Iterator[tuple[int, Records | native.TrapError]]:
        """Yield, by index into places, events as they come, and in its turn the error of one that traps."""
        dispatcher, orders = self._dispatcher, self._orders
        raw = np.ascontiguousarray(ticks, TICK).view(_BYTE)
        dispatcher.view(_TICKS, _BYTE, len(raw))[:] = raw
        dispatcher.view(_LIST, _I32, len(places))[:] = _ORDERS + places * ORDER.itemsize
        orders["done"][places] = orders["events"][places] = 0
        fuel = orders["fuel"][places] * orders["count"][places] * len(ticks) + CALL_FUEL
        header = dispatcher.view(0, _I32, 3)
        header[1], header[2] = _EVENTS, _EVENTS + _LOG_BYTES
        turn = 0
        while turn < len(places):
            first, stopped = turn, None
            try:
                turn = dispatcher.call("dispatch", turn, len(places), len(ticks), fuel=int(fuel[turn:].sum()))
            except native.TrapError as error:
                turn, stopped = int(header[0]), error
            # Where the events had no more room, the one whose turn it still is has some among them.
            yield from self._take(places[first : turn + 1], first)
            if stopped is not None:
                yield turn, stopped
                turn += 1

    def _take(self, places: Records, first: int) -> Iterator[tuple[int, Records]]:
        """Take the events away that lie behind each other in the dispatcher's memory, in the order of places."""
        counts = self._orders["events"][places]
        end = self._dispatcher.view(_END, _I32, 1)
        found = self._dispatcher.view(_EVENTS, _BYTE, int(end[0]) - _EVENTS).copy().view(EVENT)
        at = 0
        for index in np.flatnonzero(counts).tolist():
            yield first + index, found[at : (at := at + int(counts[index]))]
        self._orders["events"][places] = 0
        end[0] = _EVENTS
