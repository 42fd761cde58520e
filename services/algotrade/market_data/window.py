"""The newest ticks of each symbol, bounded: where readers at the head read, and wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from algotrade.engine.records import TICK, Records


@dataclass(frozen=True, slots=True)
class Head:
    """Where a symbol's feed stands."""

    sequence: int = 0
    oldest: int = 1  # sequence of the oldest tick still in the window
    epoch: int = 0
    event_ns: int = 0
    price: int = 0  # of the last tick that has one, in units of 1e-8


class WindowStore(Protocol):
    """The port. Symbols are as they were announced; KeyError for any other."""

    async def append(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Add numbered ticks (dtype TICK) that follow those there; ones already there are passed over."""
        ...

    async def capacity(self, symbol: str) -> int:
        """Return how many ticks are kept at most."""
        ...

    async def grow(self, symbol: str, capacity: int, older: Records) -> None:
        """Keep up to ``capacity`` ticks from now on, and those of ``older`` that lead up to what is there.

        A capacity no larger than before changes nothing.
        """
        ...

    async def head(self, symbol: str) -> Head:
        """Return where the feed stands."""
        ...

    async def newest(self, symbol: str, count: int) -> Records:
        """Return up to ``count`` of the newest ticks, oldest first."""
        ...

    async def after(self, symbol: str, sequence: int, count: int) -> Records | None:
        """Return up to ``count`` ticks that follow a sequence; None where the next one is no longer, or not, here."""
        ...

    async def wait(self, symbol: str, sequence: int, seconds: float) -> bool:
        """Wait until the head is past a sequence; False if it is not after so long."""
        ...


@dataclass(slots=True)
class _Window:
    """A buffer of twice the capacity: ticks are added behind, and moved to the front when it is full."""

    buffer: Records
    capacity: int
    start: int = 0
    end: int = 0
    head: Head = field(default_factory=Head)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ticks(self) -> Records:
        return self.buffer[self.start : self.end]


class MemoryWindows:
    """The port in this process's memory."""

    def __init__(self, symbols: list[str], capacity: int, larger: Mapping[str, int] | None = None) -> None:
        """Make an empty window a symbol, of ``capacity`` ticks or what ``larger`` says of it."""
        capacities = {symbol: max(capacity, (larger or {}).get(symbol, 0)) for symbol in symbols}
        self._windows = {symbol: _Window(np.zeros(2 * most, TICK), most) for symbol, most in capacities.items()}

    async def append(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Add numbered ticks (dtype TICK) that follow those there; ones already there are passed over."""
        window = self._windows[symbol]
        ticks = ticks[np.searchsorted(ticks["seq"], window.head.sequence, side="right") :]
        if not len(ticks):
            return
        if window.end > window.start and int(ticks["seq"][0]) != window.head.sequence + 1:
            window.start = window.end = 0  # a hole: what is older can no longer be read from here without it
        capacity = window.capacity
        fresh = ticks[-capacity:]
        if window.end + len(fresh) > len(window.buffer):
            kept = window.ticks[-(capacity - len(fresh)) :] if len(fresh) < capacity else fresh[:0]
            window.buffer[: len(kept)] = kept.copy()
            window.start, window.end = 0, len(kept)
        window.buffer[window.end : window.end + len(fresh)] = fresh
        window.end += len(fresh)
        window.start = max(window.start, window.end - capacity)
        priced = ticks["price"][ticks["price"] > 0]
        price = int(priced[-1]) if len(priced) else window.head.price
        oldest = int(window.ticks["seq"][0])
        window.head = Head(int(ticks["seq"][-1]), oldest, epoch, int(ticks["ts"][-1]), price)
        window.changed.set()
        window.changed = asyncio.Event()

    async def capacity(self, symbol: str) -> int:
        """Return how many ticks are kept at most."""
        return self._windows[symbol].capacity

    async def grow(self, symbol: str, capacity: int, older: Records) -> None:
        """Keep up to ``capacity`` ticks, and those of ``older`` that lead up to what is there."""
        window = self._windows[symbol]
        if capacity <= window.capacity:
            return
        held = window.ticks
        before = older[older["seq"] < window.head.oldest][-(capacity - len(held)) :] if len(held) else older[:0]
        if len(before) and int(before["seq"][-1]) != window.head.oldest - 1:
            before = before[:0]  # a hole lies between
        buffer = np.zeros(2 * capacity, TICK)
        window.start, window.end = 0, len(before) + len(held)
        buffer[: len(before)], buffer[len(before) : window.end] = before, held
        window.buffer, window.capacity = buffer, capacity
        if len(before):
            window.head = replace(window.head, oldest=int(before["seq"][0]))

    async def head(self, symbol: str) -> Head:
        """Return where the feed stands."""
        return self._windows[symbol].head

    async def newest(self, symbol: str, count: int) -> Records:
        """Return up to ``count`` of the newest ticks, oldest first."""
        ticks = self._windows[symbol].ticks
        return ticks[max(0, len(ticks) - count) :].copy()

    async def after(self, symbol: str, sequence: int, count: int) -> Records | None:
        """Return up to ``count`` ticks that follow a sequence; None where the next one is no longer, or not, here."""
        window = self._windows[symbol]
        if sequence == window.head.sequence:
            return window.buffer[:0].copy()
        ticks = window.ticks
        if not len(ticks) or not ticks["seq"][0] <= sequence + 1 <= ticks["seq"][-1]:
            return None
        first = sequence + 1 - int(ticks["seq"][0])
        return ticks[first : first + count].copy()

    async def wait(self, symbol: str, sequence: int, seconds: float) -> bool:
        """Wait until the head is past a sequence; False if it is not after so long."""
        window = self._windows[symbol]
        try:
            async with asyncio.timeout(seconds):
                while window.head.sequence <= sequence:
                    await window.changed.wait()
        except TimeoutError:
            return False
        return True
