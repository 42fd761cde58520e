"""Sessions of one artefact, side by side in one linear memory: settings in, ticks or bars through, events out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from algotrade.engine import fixed, native
from algotrade.engine import row as R
from algotrade.engine.binding import bind
from algotrade.engine.calendar import ENTRY_BYTES, zone_table
from algotrade.engine.compile import Artefact
from algotrade.engine.limits import (
    BARS_PER_CALL,
    EVENTS_PER_LOG,
    HELD_BARS_PER_CALL,
    MAX_SESSIONS_PER_PROGRAM,
    TICKS_PER_CALL,
)  # fmt: skip
from algotrade.engine.node_type import ParamKind
from algotrade.engine.records import BAR, CLOSES_BAR, EVENT, TICK, Records, joined
from algotrade.engine.row import EXITS_ONLY, GAP, HALTED, RUNNING, STALE
from algotrade.engine.settings import INTERVALS, RunSettings
from algotrade.engine.site import representation

_NUMPY: Final[Mapping[str, str]] = {"i32": "<i4", "i64": "<i8", "f64": "<f8"}
_BYTE: Final = np.dtype(np.uint8)
_I32: Final = np.dtype("<i4")
_ALIGN: Final = 64
_FIRST_ROWS: Final = 16
_OF_THE_MEMORY: Final = ("slot", "day_zone", "day_zone_length")  # fields of a row that are not the session's
CALL_FUEL: Final = 100_000  # what a call may cost besides its records

# The fields that every artefact's rows begin with.
_COMMON: Final = np.dtype(
    {
        "names": list(R.ROW.fields),
        "formats": [_NUMPY[type] for type, _ in R.ROW.fields.values()],
        "offsets": [offset for _, offset in R.ROW.fields.values()],
        "itemsize": R.ROW.size,
    }
)

__all__ = ["EXITS_ONLY", "GAP", "HALTED", "RUNNING", "STALE", "SessionState", "Sessions", "bind"]


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session's ledger, exact: integers in units of 1e-8, times in nanoseconds.

    ``quantity`` and ``cost`` are negative when short. ``equity`` is cash + quantity · last price, rounded down;
    ``average_price``, ``entry_ts``, ``stop`` and ``target`` are 0 while flat; ``order_level`` is the price that an
    entry waits for, or 0;
    ``max_drawdown`` is the deepest fall of the equity at closes from its peak, 0 to 1.
    """

    cash: int
    quantity: int
    average_price: int
    entry_ts: int
    cost: int
    entry_fee: int
    realized_pnl: int
    fees_paid: int
    last_price: int
    equity: int
    stop: int
    target: int
    order_level: int
    bars: int
    warmup_bars: int
    last_ts: int
    last_seq: int
    last_event: int
    mode: int
    max_drawdown: float

    @property
    def halted(self) -> bool:
        return self.mode == HALTED


@dataclass(frozen=True, slots=True)
class HeldBars:
    """Where bars lie in the memory of the `Sessions` that hold them."""

    address: int
    count: int

    def part(self, span: slice) -> HeldBars:
        """A stretch of them."""
        start, stop, _ = span.indices(self.count)
        return HeldBars(self.address + start * BAR.itemsize, max(stop - start, 0))


class Sessions:
    """The sessions of one artefact. A slot names one; slots are reused after ``remove``."""

    def __init__(self, artefact: Artefact, store: native.Store | None = None) -> None:
        """In a store of their own, unless one is given."""
        self.artefact = artefact
        self._instance = native.Instance(native.MODULES.load(artefact.hash, artefact.wasm), store)
        manifest = artefact.manifest
        self._stride = manifest.stride
        self._dtype = np.dtype(
            {
                "names": list(manifest.fields),
                "formats": [_NUMPY[type] for type, _ in manifest.fields.values()],
                "offsets": [offset for _, offset in manifest.fields.values()],
                "itemsize": manifest.stride,
            }
        )
        self._zones: dict[str, tuple[int, int]] = {"UTC": (0, 0)}
        self._top = manifest.heap
        self._log = self._allocate(EVENTS_PER_LOG * EVENT.itemsize)
        self._input, self._input_bytes = 0, 0
        self._rows, self._capacity, self._count = 0, 0, 0
        self._free: list[int] = []
        self._native: dict[int, bool] = {}
        control = self._instance.view(R.LOG_POINTER, _I32, 3)
        control[:] = (self._log, 0, EVENTS_PER_LOG - manifest.events_per_bar * 8)

    # ------------------------------------------------------------------ memory

    def _allocate(self, size: int) -> int:
        address = self._top + -self._top % _ALIGN
        self._instance.grow(address + size)
        self._top = address + size
        return address

    def _input_at(self, size: int) -> int:
        """Room for incoming records, kept between calls."""
        if size > self._input_bytes:
            # Room that is outgrown is lost, so it grows by doubling.
            self._input_bytes = 1 << (size - 1).bit_length()
            self._input = self._allocate(self._input_bytes)
        return self._input

    def _table(self, capacity: int) -> None:
        """Room for this many rows, moving those there are."""
        old, count = self._rows, self._count
        self._rows = self._allocate(capacity * self._stride)
        self._capacity = capacity
        if count:
            size = count * self._stride
            self._bytes_at(self._rows, size)[:] = self._bytes_at(old, size)

    def _bytes_at(self, address: int, size: int) -> Records:
        return self._instance.view(address, _BYTE, size)

    def _row(self, slot: int) -> Any:
        return self._instance.view(self._rows + slot * self._stride, self._dtype, 1)[0]

    def _call(self, name: str, *args: int, records: int = 1) -> int:
        fuel = self.artefact.report.fuel_per_bar * max(records, 1) + CALL_FUEL
        return self._instance.call(name, *args, fuel=fuel)

    # ------------------------------------------------------------------ sessions

    @property
    def slots(self) -> list[int]:
        return sorted(self._native)

    def add(self, settings: RunSettings, parameters: Mapping[str, Any] | None = None) -> int:
        """Start a session; its slot. Raises SettingsError for what the strategy and the settings do not allow."""
        values = bind(self.artefact.manifest.parameters, parameters or {})
        settings.check_timeframes(self.artefact.report.timeframes)
        settings.check_short(sells_short=self.artefact.manifest.has_short)
        if len(self._native) >= MAX_SESSIONS_PER_PROGRAM:
            raise MemoryError(f"at most {MAX_SESSIONS_PER_PROGRAM} sessions share an artefact")
        zone, zone_length = self._zone(settings.day_timezone)
        slot = self._free.pop() if self._free else self._count
        if slot >= self._capacity:
            self._table(max(_FIRST_ROWS, self._capacity * 2))
        self._count = max(self._count, slot + 1)
        address = self._rows + slot * self._stride
        self._bytes_at(address, self._stride)[:] = 0
        row = self._row(slot)
        for name, value in _row_settings(settings).items():
            row[name] = value
        row["day_zone"], row["day_zone_length"], row["slot"] = zone, zone_length, slot
        for name, number in values.items():
            for field in self.artefact.manifest.slots[name]:
                row[field] = representation(ParamKind(field.rpartition(":")[2]), number)
        self._call("prepare", address)
        self._native[slot] = settings.interval == "native"
        return slot

    def _zone(self, name: str) -> tuple[int, int]:
        if name not in self._zones:
            table = zone_table(name)
            address = self._allocate(len(table))
            self._bytes_at(address, len(table))[:] = np.frombuffer(table, np.uint8)
            self._zones[name] = (address, len(table) // ENTRY_BYTES)
        return self._zones[name]

    def remove(self, slot: int) -> None:
        """Forget a session. Its row stays halted until the slot is reused."""
        del self._native[slot]
        self._row(slot)["mode"] = HALTED
        self._free.append(slot)

    def snapshot(self, slot: int) -> bytes:
        """The whole state of a session, to be put back by ``restore`` into any slot of the same artefact."""
        self._native[slot]
        return self._bytes_at(self._rows + slot * self._stride, self._stride).tobytes()

    def restore(self, slot: int, raw: bytes) -> None:
        """Raises ValueError where the snapshot is of another artefact's size."""
        if len(raw) != self._stride:
            raise ValueError(f"a row of {len(raw)} bytes; this artefact's have {self._stride}")
        row = self._row(slot)
        own = {name: row[name].item() for name in _OF_THE_MEMORY}
        self._bytes_at(self._rows + slot * self._stride, self._stride)[:] = np.frombuffer(raw, np.uint8)
        for name, value in own.items():  # addresses and the slot belong to this memory, not to the session
            row[name] = value

    def state(self, slot: int) -> SessionState:
        self._native[slot]
        address = self._rows + slot * self._stride
        return _state(self._instance.view(address, _COMMON, 1))

    def set_mode(self, slot: int, mode: int) -> None:
        """RUNNING, EXITS_ONLY (no entries), STALE or GAP (none either, as the feed is not live), HALTED (nothing)."""
        self._native[slot]
        self._row(slot)["mode"] = mode

    def refuse(self, slot: int) -> Records:
        """Give up an entry that waits for its tick, as stale_data; the EVENT records of it, one or none."""
        self._native[slot]
        self._call("refuse", self._rows + slot * self._stride)
        return self._drain()

    def is_halted(self, slot: int) -> bool:
        address = self._rows + slot * self._stride + R.ROW.offset("mode")
        return int(self._instance.view(address, _I32, 1)[0]) == HALTED

    def flatten(self, slot: int) -> None:
        """Sell everything at the next tick."""
        self._native[slot]
        self._call("flatten", self._rows + slot * self._stride)

    def probes(self, slot: int) -> dict[tuple[str, str], float | bool | None]:
        """What every port held at the last evaluated bar, of a probed artefact; None: NaN or unknown."""
        row = self._row(slot)
        values: dict[tuple[str, str], float | bool | None] = {}
        for node, port, field in self.artefact.manifest.probes:
            value = row[field].item()
            if isinstance(value, int):
                values[node, port] = {0: None, 1: True, 2: False}[value]
            else:
                values[node, port] = None if value != value else value
        return values

    def decided(self, slot: int) -> set[int]:
        """The indices of the nodes whose orders wait for the next tick, or for their price."""
        row = self._row(slot)
        waiting = {R.ENTRY_PENDING: "entry_node", R.EXIT_PENDING: "exit_node"}
        decided = {int(row[name]) - 1 for bit, name in waiting.items() if int(row["attention"]) & bit}
        if row["order_level"]:
            decided.add(int(row["entry_node"]) - 1)
        return decided - {-1}

    # ------------------------------------------------------------------ records

    def step(self, ticks: Records) -> Records:
        """Feed ticks (TICK records, ``seq`` rising) to every session; the EVENT records they caused.

        A session skips ticks whose ``seq`` it has seen. Events come grouped by slot, each slot's in order.
        """
        parts = [
            part
            for start in range(0, len(ticks), TICKS_PER_CALL)
            for part in self._step(ticks[start:][:TICKS_PER_CALL])
        ]
        return joined(EVENT, parts)

    def _step(self, ticks: Records) -> Iterator[Records]:
        address = self._put(ticks, TICK)
        done = 0
        while done < self._count:
            first, rows = self._rows + done * self._stride, self._count - done
            records = rows * len(ticks)
            done += self._call("tick_all", first, rows, self._stride, address, len(ticks), records=records)
            if len(events := self._drain()):
                yield events

    def run(self, slot: int, bars: Records) -> tuple[int, Records]:
        """Feed bars (BAR records) to one session, as many as fit one call; (bars taken, EVENT records)."""
        bars = bars[:BARS_PER_CALL]
        return self._run(slot, self._put(bars, BAR), len(bars))

    def hold(self, bars: Records) -> HeldBars:
        """Keep bars in the memory for many runs; they stay as long as this object."""
        raw = np.ascontiguousarray(bars, BAR).view(np.uint8)
        address = self._allocate(len(raw))
        self._bytes_at(address, len(raw))[:] = raw
        return HeldBars(address, len(bars))

    def run_held(self, slot: int, bars: HeldBars, start: int = 0) -> tuple[int, Records]:
        """As `run`, over bars from ``hold`` and from an index on."""
        count = min(bars.count - start, HELD_BARS_PER_CALL)
        return self._run(slot, bars.address + start * BAR.itemsize, count)

    def _run(self, slot: int, address: int, count: int) -> tuple[int, Records]:
        row = self._rows + slot * self._stride
        if self._native[slot]:
            return self._call("bars", row, address, count, 1, records=count), self._drain()
        return self._call("regroup", row, address, count, records=count), self._drain()

    def _put(self, records: Records, dtype: np.dtype[Any]) -> int:
        """Copy records into the memory, as bytes: numpy copies structured records field by field."""
        raw = np.ascontiguousarray(records, dtype).view(np.uint8)
        address = self._input_at(len(raw))
        self._bytes_at(address, len(raw))[:] = raw
        return address

    def _drain(self) -> Records:
        """Take the log's events."""
        count = self._instance.view(R.LOG_COUNT, _I32, 1)
        raw = self._bytes_at(self._log, int(count[0]) * EVENT.itemsize).copy()
        count[0] = 0
        return raw.view(EVENT)


def state_of(snapshot: bytes) -> SessionState:
    """The ledger in a snapshot of any artefact's session. Raises ValueError where it is too short to be one."""
    return _state(np.frombuffer(snapshot, _COMMON, 1))


def portable(snapshot: bytes) -> bytes:
    """A snapshot without what belongs to the memory it was taken from: two of them are equal where the sessions are."""
    raw = bytearray(snapshot)
    row = np.frombuffer(raw, _COMMON, 1)
    for name in _OF_THE_MEMORY:
        row[name] = 0
    return bytes(raw)


def _state(row: Records) -> SessionState:
    get = dict(zip(_COMMON.names or (), row.item(), strict=True))
    held = get["quantity"] != 0
    return SessionState(
        cash=get["cash"],
        quantity=get["quantity"],
        average_price=get["average_price"] if held else 0,
        entry_ts=get["entry_ts"] if held else 0,
        cost=get["cost"],
        entry_fee=get["entry_fee"],
        realized_pnl=get["realized_pnl"],
        fees_paid=get["fees_paid"],
        last_price=get["last_price"],
        equity=get["cash"] + get["quantity"] * get["last_price"] // fixed.SCALE,
        stop=get["stop"] if held else 0,
        target=get["target"] if held else 0,
        order_level=get["order_level"],
        bars=get["bars"],
        warmup_bars=get["warmup"],
        last_ts=get["last_ts"],
        last_seq=get["last_seq"],
        last_event=get["event_number"],
        mode=get["mode"],
        max_drawdown=get["max_drawdown"],
    )


def _row_settings(settings: RunSettings) -> dict[str, int]:
    return {
        "initial_cash": settings.initial_cash,
        "fee_bps": settings.fee_bps,
        "slippage_bps": settings.slippage_bps,
        "lot_step": settings.lot_step,
        "price_step": settings.price_step,
        "min_notional": settings.min_notional,
        "max_position_percent": settings.max_position_percent,
        "interval": INTERVALS[settings.interval],
        "bar_length": settings.bar_length_ns,
        "fill_at_close": int(settings.fill == "close"),
        "worst_path": int(settings.path == "worst"),
        "allow_short": int(settings.allow_short),
        "closes_always": CLOSES_BAR if settings.interval == "tick" else 0,
        "closes_mask": CLOSES_BAR if INTERVALS[settings.interval] == 0 else 0,
    }
