"""The newest ticks of each symbol, bounded: where readers at the head read, and wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from algotrade.engine.records import TICK, Records, joined
from algotrade.market_data.tick_log import LoggedTicks, newest_ticks
from algotrade.platform.bus import Bus


@dataclass(frozen=True, slots=True)
class Head:
    """Where a symbol's feed stands."""

    sequence: int = 0
    oldest: int = 1  # sequence of the oldest tick still in the window
    epoch: int = 0
    event_ns: int = 0
    price: int = 0  # of the last tick that has one, in units of 1e-8

    def moved(self, epoch: int, ticks: Records, oldest: int) -> Head:
        """Return where it stands after more ticks, one at least."""
        priced = ticks["price"][ticks["price"] > 0]
        price = int(priced[-1]) if len(priced) else self.price
        return Head(int(ticks["seq"][-1]), oldest, epoch, int(ticks["ts"][-1]), price)


class WindowStore(Protocol):
    """The port. Symbols are as they were announced; KeyError for any other."""

    async def append(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Add numbered ticks (dtype TICK) that follow those there; ones already there are passed over."""
        ...

    async def append_all(self, batches: Mapping[str, LoggedTicks]) -> list[str]:
        """Append to many windows at once; return those that began anew: what they held did not lead up to this."""
        ...

    async def replace(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Hold these consecutive ticks, the newest of them, and nothing else; of none, nothing."""
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


class Arrivals:
    """How far each symbol's feed is known to be, and who waits for it to go further."""

    def __init__(self, symbols: Iterable[str]) -> None:
        """Begin with nothing known."""
        self._known = dict.fromkeys(symbols, 0)
        self._changed = {symbol: asyncio.Event() for symbol in self._known}

    def tell(self, symbol: str, sequence: int) -> None:
        """Say that a feed is this far."""
        self._known[symbol] = sequence
        self._changed[symbol].set()
        self._changed[symbol] = asyncio.Event()

    async def wait(
        self, symbol: str, sequence: int, seconds: float, look: Callable[[], Awaitable[Head]], every: float
    ) -> bool:
        """Wait until a feed is past a sequence, which is told, or found by a look every so many seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._known[symbol] <= sequence:
            left = end - loop.time()
            try:
                async with asyncio.timeout(min(left, every)):
                    await self._changed[symbol].wait()
            except TimeoutError:
                if (found := (await look()).sequence) > self._known[symbol]:
                    self.tell(symbol, found)
                elif left <= every:
                    return False
        return True


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
        window.head = window.head.moved(epoch, ticks, int(window.ticks["seq"][0]))
        window.changed.set()
        window.changed = asyncio.Event()

    async def append_all(self, batches: Mapping[str, LoggedTicks]) -> list[str]:
        """Append one after another."""
        anew = []
        for symbol, batch in batches.items():
            before = self._windows[symbol].head.sequence
            await self.append(symbol, batch.epoch, batch.ticks)
            if len(batch.ticks) and (not before or int(batch.ticks["seq"][0]) > before + 1):
                anew.append(symbol)
        return anew

    async def replace(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Hold these consecutive ticks, the newest of them, and nothing else; of none, nothing."""
        window = self._windows[symbol]
        window.start, window.end, window.head = 0, 0, Head()
        await self.append(symbol, epoch, ticks)

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


async def fill(windows: WindowStore, bus: Bus, symbol: str) -> None:
    """Make a window hold the end of a symbol's log, whatever it held."""
    logged = await newest_ticks(bus, symbol, await windows.capacity(symbol))
    ticks = joined(TICK, (batch.ticks for batch in logged))
    holes = np.flatnonzero(np.diff(ticks["seq"]) != 1)  # where the log has lost some, what is older is of no use
    ticks = ticks[holes[-1] + 1 :] if len(holes) else ticks
    await windows.replace(symbol, logged[-1].epoch if logged else 0, ticks)
