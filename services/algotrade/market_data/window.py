"""The newest ticks of each symbol, bounded: where readers at the head read, and wait."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
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
    start: int = 0
    end: int = 0
    head: Head = field(default_factory=Head)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ticks(self) -> Records:
        return self.buffer[self.start : self.end]


class MemoryWindows:
    """The port in this process's memory."""

    def __init__(self, symbols: list[str], capacity: int) -> None:
        """Make an empty window a symbol, of ``capacity`` ticks."""
        self._capacity = capacity
        self._windows = {symbol: _Window(np.zeros(2 * capacity, TICK)) for symbol in symbols}

    async def append(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Add numbered ticks (dtype TICK) that follow those there; ones already there are passed over."""
        window = self._windows[symbol]
        ticks = ticks[np.searchsorted(ticks["seq"], window.head.sequence, side="right") :]
        if not len(ticks):
            return
        if window.end > window.start and int(ticks["seq"][0]) != window.head.sequence + 1:
            window.start = window.end = 0  # a hole: what is older can no longer be read from here without it
        fresh = ticks[-self._capacity :]
        if window.end + len(fresh) > len(window.buffer):
            kept = window.ticks[-(self._capacity - len(fresh)) :] if len(fresh) < self._capacity else fresh[:0]
            window.buffer[: len(kept)] = kept.copy()
            window.start, window.end = 0, len(kept)
        window.buffer[window.end : window.end + len(fresh)] = fresh
        window.end += len(fresh)
        window.start = max(window.start, window.end - self._capacity)
        priced = ticks["price"][ticks["price"] > 0]
        price = int(priced[-1]) if len(priced) else window.head.price
        oldest = int(window.ticks["seq"][0])
        window.head = Head(int(ticks["seq"][-1]), oldest, epoch, int(ticks["ts"][-1]), price)
        window.changed.set()
        window.changed = asyncio.Event()

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
