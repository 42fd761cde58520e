"""Windows that outlive Redis: while it is away they are in memory, and what it has lost is put back from the log.

The log is the truth, so nothing is handed over when Redis goes: each window is filled from the end of the log when it
is next asked for, as at a start. When Redis is back, its streams are replaced by the end of the log, one by one, and
memory is let go. A Redis that was emptied is noticed by a write that finds nothing before it, or by a read that finds
less than was written.

The process that uses these windows is the one that writes them. So it knows where each feed stands without asking, and
keeps the newest ticks beside Redis (`limits.MAX_TICKS_A_TAIL`): streams at the head, of which there may be hundreds,
cost no round trip each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
import stamina

from algotrade.engine.records import Records
from algotrade.market_data.redis_windows import RedisWindows
from algotrade.market_data.tick_log import LoggedTicks
from algotrade.market_data.window import Head, MemoryWindows, WindowStore, fill
from algotrade.platform import limits
from algotrade.platform.background import background
from algotrade.platform.bus import Bus
from algotrade.platform.database import is_away
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.redis import AWAY

T = TypeVar("T")

log = logger(__name__)

REBUILD_SECONDS: Final = 5.0  # a window that the log does not hold either is looked for so often at most
LOG_ATTEMPTS: Final = 20
LOG_SECONDS: Final = 60.0


@asynccontextmanager
async def open_windows(platform: Platform, symbols: list[str], larger: Mapping[str, int]) -> AsyncIterator[WindowStore]:
    """Yield the windows that the settings want; ``larger``: those of more ticks than usual."""
    settings = platform.settings
    if platform.redis is None:
        yield MemoryWindows(symbols, settings.window_ticks, larger)
        return
    windows = RedisWindows(
        platform.redis, symbols, settings.window_ticks, larger, poll_seconds=settings.bus_poll_seconds
    )
    lasting = FallbackWindows(windows, platform.bus, platform.metrics, retry_seconds=settings.redis_retry_seconds)
    async with lasting.recovering():
        yield lasting


class FallbackWindows:
    """The port over Redis, or over memory while Redis is away."""

    def __init__(self, windows: RedisWindows, bus: Bus, metrics: Metrics, *, retry_seconds: float) -> None:
        """Take the windows in Redis, the log that fills them, and how often a Redis that is away is tried again."""
        self._redis = windows
        self._bus = bus
        self._metrics = metrics
        self._retry_seconds = retry_seconds
        self._moving = asyncio.Lock()  # held by writes, and while a window is filled
        tail = min(limits.MAX_TICKS_A_TAIL, *windows.capacities.values()) if windows.capacities else 1
        self._tail = MemoryWindows(list(windows.capacities), tail)
        self._oldest = dict.fromkeys(windows.capacities, 1)  # the oldest tick that is kept, when last looked at
        self._memory: MemoryWindows | None = None
        self._away: set[str] = set()  # symbols that memory stands in for …
        self._filled: set[str] = set()  # … and those of them that were asked for
        self._left = asyncio.Event()
        self._rebuilt: dict[str, float] = {}  # when, by the loop's clock

    @property
    def in_memory(self) -> bool:
        """Whether memory stands in for any window."""
        return bool(self._away)

    @asynccontextmanager
    async def recovering(self) -> AsyncIterator[None]:
        """While open, go back to Redis when it answers again."""
        async with background(self._recover_for_ever(), "windows-recovery"):
            yield

    async def append(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Add numbered ticks (dtype TICK) that follow those there; ones already there are passed over."""
        await self.append_all({symbol: LoggedTicks(epoch, ticks)})

    async def append_all(self, batches: Mapping[str, LoggedTicks]) -> list[str]:
        """Append; what Redis has lost of a window is put back from the log."""
        async with self._moving:
            here = {symbol: batch for symbol, batch in batches.items() if symbol not in self._away}
            anew: list[str] = []
            if here:
                try:
                    anew = await self._redis.append_all(here)
                except AWAY as error:
                    self._leave(error)
            for symbol in anew:
                if (await self._tail.head(symbol)).sequence:
                    await self._rebuild(symbol)
                else:
                    self._oldest[symbol] = int(batches[symbol].ticks["seq"][0])
            for symbol in batches.keys() & self._away:
                batch, memory = batches[symbol], await self._memory_of(symbol)
                await memory.append(symbol, batch.epoch, batch.ticks)
            await self._tail.append_all(batches)
            return anew

    async def replace(self, symbol: str, epoch: int, ticks: Records) -> None:
        """Hold these consecutive ticks, the newest of them, and nothing else; of none, nothing."""
        async with self._moving:
            await self._tail.replace(symbol, epoch, ticks)
            await self._write(symbol, lambda windows: windows.replace(symbol, epoch, ticks))

    async def capacity(self, symbol: str) -> int:
        """Return how many ticks are kept at most."""
        return await self._read(symbol, lambda windows: windows.capacity(symbol))

    async def grow(self, symbol: str, capacity: int, older: Records) -> None:
        """Keep up to ``capacity`` ticks, and those of ``older`` that lead up to what is there."""
        async with self._moving:
            await self._write(symbol, lambda windows: windows.grow(symbol, capacity, older))
            self._redis.capacities[symbol] = max(self._redis.capacities[symbol], capacity)

    async def head(self, symbol: str) -> Head:
        """Return where the feed stands, as far as this process has written it."""
        head = await self._tail.head(symbol)
        if not head.sequence:
            return head
        return replace(head, oldest=max(self._oldest[symbol], head.sequence - self._redis.capacities[symbol] + 1))

    async def newest(self, symbol: str, count: int) -> Records:
        """Return up to ``count`` of the newest ticks, oldest first, none that `head` does not know of yet."""
        head = await self._tail.head(symbol)
        found = await self._known(symbol, await self._read(symbol, lambda windows: windows.newest(symbol, count)))
        if (int(found["seq"][-1]) if len(found) else 0) < head.sequence:  # lost, or just being put back by a write
            await self._put_back(symbol)
            found = await self._known(symbol, await self._read(symbol, lambda windows: windows.newest(symbol, count)))
        return found

    async def after(self, symbol: str, sequence: int, count: int) -> Records | None:
        """Return up to ``count`` ticks that follow a sequence; None where the next one is no longer, or not, here."""
        found = await self._tail.after(symbol, sequence, count)
        if found is not None:
            return found
        head = await self.head(symbol)
        if not head.oldest <= sequence + 1 <= head.sequence:
            return None
        found = await self._read(symbol, lambda windows: windows.after(symbol, sequence, count))
        if found is None or not len(found):  # it was written, so it is lost
            await self._put_back(symbol)
            found = await self._read(symbol, lambda windows: windows.after(symbol, sequence, count))
        return await self._known(symbol, found) if found is not None and len(found) else None

    async def wait(self, symbol: str, sequence: int, seconds: float) -> bool:
        """Wait until the head is past a sequence; False if it is not after so long."""
        return await self._tail.wait(symbol, sequence, seconds)

    # ------------------------------------------------------------------ who answers

    async def _known(self, symbol: str, ticks: Records) -> Records:
        """Leave out what is just being written: it is in Redis a moment before this process says so."""
        head = await self._tail.head(symbol)
        return ticks[: np.searchsorted(ticks["seq"], head.sequence, side="right")]

    async def _read(self, symbol: str, act: Callable[[WindowStore], Awaitable[T]]) -> T:
        while True:
            if symbol not in self._away:
                try:
                    return await act(self._redis)
                except AWAY as error:
                    self._leave(error)
            async with self._moving:
                if symbol in self._away:
                    return await act(await self._memory_of(symbol))

    async def _write(self, symbol: str, act: Callable[[WindowStore], Awaitable[None]]) -> None:
        """Write to one window; the lock is held."""
        if symbol not in self._away:
            try:
                await act(self._redis)
                return await self._look(self._redis, symbol)
            except AWAY as error:
                self._leave(error)
        memory = await self._memory_of(symbol)
        await act(memory)
        return await self._look(memory, symbol)

    def _leave(self, error: BaseException) -> None:
        """Let memory stand in for every window."""
        self._metrics.redis_errors.labels("windows").inc()
        if self._memory is None:
            log.warning("windows.redis_away", error=type(error).__name__)
            self._memory = MemoryWindows(list(self._redis.capacities), 1, self._redis.capacities)
        back = self._redis.capacities.keys() - self._away
        self._filled -= back
        self._away |= back
        self._left.set()

    async def _memory_of(self, symbol: str) -> MemoryWindows:
        """Return memory with the symbol's window in it; the lock is held."""
        assert self._memory is not None, "a symbol is away"  # noqa: S101
        if symbol not in self._filled:
            await self._fill(self._memory, symbol)
            self._filled.add(symbol)
        return self._memory

    async def _fill(self, windows: WindowStore, symbol: str) -> None:
        """Fill a window from the log, patiently: where that is away, nothing can be written anyway."""
        async for attempt in stamina.retry_context(on=is_away, attempts=LOG_ATTEMPTS, timeout=LOG_SECONDS):
            with attempt:
                await fill(windows, self._bus, symbol)
        await self._look(windows, symbol)

    async def _look(self, windows: WindowStore, symbol: str) -> None:
        """See how far back a window reaches; where it holds nothing of a feed, not at all."""
        head, tail = await windows.head(symbol), await self._tail.head(symbol)
        self._oldest[symbol] = head.oldest if head.sequence else tail.sequence + 1

    # ------------------------------------------------------------------ what is put back

    async def _put_back(self, symbol: str) -> None:
        """Fill a window if it has lost something, unless the log has just been found not to hold it either."""
        async with self._moving:
            now = asyncio.get_running_loop().time()
            if symbol in self._away or now - self._rebuilt.get(symbol, -REBUILD_SECONDS) < REBUILD_SECONDS:
                return
            try:
                if await self._is_short(symbol):
                    await self._rebuild(symbol)
                    if symbol not in self._away and await self._is_short(symbol):
                        self._rebuilt[symbol] = now
            except AWAY as error:
                self._leave(error)

    async def _is_short(self, symbol: str) -> bool:
        """Tell whether Redis has less than was written."""
        return (await self._redis.head(symbol)).sequence < (await self._tail.head(symbol)).sequence

    async def _rebuild(self, symbol: str) -> None:
        """Replace a stream by the end of the log; the lock is held."""
        try:
            await self._fill(self._redis, symbol)
        except AWAY as error:
            self._leave(error)
        else:
            self._metrics.window_rebuilds.inc()
            log.warning("windows.rebuilt", symbol=symbol)

    async def _recover_for_ever(self) -> None:
        while True:
            await self._left.wait()
            await asyncio.sleep(self._retry_seconds)
            try:
                await self._recover()
            except Exception as error:
                if not isinstance(error, AWAY):
                    log.warning("windows.not_recovered", error=type(error).__name__)

    async def _recover(self) -> None:
        """Move every window back, one at a time, so that writes of others go on meanwhile."""
        for symbol in sorted(self._away):
            await self._redis.head(symbol)  # where Redis is silent, nobody but this waits for it
            async with self._moving:
                await fill(self._redis, self._bus, symbol)
                await self._look(self._redis, symbol)
                self._away.discard(symbol)
                self._filled.discard(symbol)
        if not self._away:
            self._left.clear()
            self._memory = None
            log.info("windows.redis_back")
