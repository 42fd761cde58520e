"""Bars of a symbol: those of the ticks in its window, and then each as it closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import numpy as np

from algotrade.engine.bars import BarBuilder
from algotrade.engine.records import Records
from algotrade.market_data.follow import Follower, Heartbeat
from algotrade.market_data.window import WindowStore
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.errors import OutOfRange

CONCURRENT_BUILDS: Final = 2


@dataclass(frozen=True, slots=True)
class KeptBars:
    """What the window gives: closed bars (BAR records), the builder that holds the open one, and where it stands.

    ``missed_ns``: of bars that start at or before this, nothing is known; -1 where nothing was missed. ``last_ns``:
    time of the newest tick. ``sequence``: of the newest tick.
    """

    closed: Records
    builder: BarBuilder
    missed_ns: int
    last_ns: int
    sequence: int


class BarSource:
    """Makes the bars of one process."""

    def __init__(self, windows: WindowStore, follower: Follower, clock: Clock, *, heartbeat_seconds: float) -> None:
        """Take where ticks are, and how long silence may be."""
        self._windows = windows
        self._follower = follower
        self._clock = clock
        self._heartbeat_ns = round(heartbeat_seconds * SECOND_NS)
        self._building = asyncio.Semaphore(CONCURRENT_BUILDS)

    async def kept(self, symbol: str, interval: int) -> KeptBars:
        """Build the bars of what is in the window; ``interval`` in nanoseconds, 0 for those of a feed of bars."""
        async with self._building:
            ticks = await self._windows.newest(symbol, limits.MAX_TICKS_A_WINDOW)
            head = await self._windows.head(symbol)
            sequence = int(ticks["seq"][-1]) if len(ticks) else head.sequence
            return await asyncio.to_thread(_build, ticks, interval, sequence)

    async def follow(self, symbol: str, interval: int, after: int | None) -> AsyncGenerator[Records | Heartbeat, None]:
        """Yield closed bars that start after a time (ns; None: those that close from now on), without a hole.

        OutOfRange for a cursor before what is kept or after the newest tick; ResourceExhausted for a reader too slow.
        """
        kept = await self.kept(symbol, interval)
        if after is not None:
            _check_cursor(symbol, kept, interval, after)
            bars = kept.closed[np.searchsorted(kept.closed["ts"], after, side="right") :]
            for part in _parts(bars):
                yield part
        said_ns = self._clock.now_ns()
        async with aclosing(self._follower.follow(symbol, kept.sequence)) as followed:
            async for item in followed:
                bars = kept.closed[:0] if isinstance(item, Heartbeat) else kept.builder.take(item.ticks)
                for part in _parts(bars):
                    yield part
                now_ns = self._clock.now_ns()
                if len(bars):
                    said_ns = now_ns
                elif isinstance(item, Heartbeat) or now_ns - said_ns >= self._heartbeat_ns:
                    said_ns = now_ns
                    yield Heartbeat(kept.sequence, 0, now_ns)


def _build(ticks: Records, interval: int, sequence: int) -> KeptBars:
    missed_ns = -1
    last_ns = int(ticks["ts"][-1]) if len(ticks) else -1
    if len(ticks) and ticks["seq"][0] > 1:
        # What came before has left the window, maybe with ticks of the same time: all of them are left out.
        missed_ns = int(ticks["ts"][0])
        ticks = ticks[np.searchsorted(ticks["ts"], missed_ns, side="right") :]
    builder = BarBuilder(interval, missed_ns + 1 if missed_ns >= 0 else None)
    return KeptBars(builder.take(ticks), builder, missed_ns, last_ns, sequence)


def _check_cursor(symbol: str, kept: KeptBars, interval: int, after: int) -> None:
    if after > max(kept.last_ns, 0):
        raise OutOfRange("CURSOR_AHEAD", f"the newest tick of {symbol} is older", last_time=_text(kept.last_ns))
    step = interval or 1
    following = after - after % step + step
    if after > 0 and following <= kept.missed_ns:
        first_ns = kept.missed_ns - kept.missed_ns % step + step
        raise OutOfRange(
            "CURSOR_EXPIRED",
            f"bars of {symbol} that follow that time are no longer kept",
            first_time=_text(first_ns),
        )


def _text(ns: int) -> str:
    return str(np.datetime64(max(ns, 0), "ns")) + "Z"


def _parts(bars: Records) -> list[Records]:
    size = limits.MAX_BARS_A_MESSAGE
    return [bars[start : start + size] for start in range(0, len(bars), size)]
