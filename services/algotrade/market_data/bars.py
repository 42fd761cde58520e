"""Bars of a symbol: those of the ticks in its window, and then each as it closes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from algotrade.engine.bars import BarBuilder
from algotrade.engine.records import BAR, Records, joined
from algotrade.market_data.follow import Follower, Heartbeat
from algotrade.market_data.window import WindowStore
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.errors import OutOfRange

REMEMBERED: Final = 32  # symbols and intervals


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
        self._building = asyncio.Lock()
        self._remembered: OrderedDict[tuple[str, int], KeptBars] = OrderedDict()

    async def kept(self, symbol: str, interval: int) -> KeptBars:
        """Build the bars of what is in the window; ``interval`` in nanoseconds, 0 for those of a feed of bars.

        What was built before is remembered and gone on with: only ticks that are new cost anything.
        """
        async with self._building:
            before = self._remembered.pop((symbol, interval), None)
            fresh = await self._go_on(symbol, before) if before is not None else None
            if fresh is None:
                ticks = await self._windows.newest(symbol, limits.MAX_TICKS_A_WINDOW)
                fresh = await asyncio.to_thread(_build, ticks, interval)
            self._remembered[symbol, interval] = fresh
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return replace(fresh, builder=deepcopy(fresh.builder))

    async def _go_on(self, symbol: str, before: KeptBars) -> KeptBars | None:
        """Take the ticks since; None where they are gone, or where the window reaches further back than before."""
        ticks = await self._windows.after(symbol, before.sequence, limits.MAX_TICKS_A_WINDOW)
        head = await self._windows.head(symbol)
        oldest = await self._windows.after(symbol, head.oldest - 1, 1)
        if ticks is None or oldest is None or (missed_ns := _missed_ns(oldest)) < before.missed_ns:
            return None
        return await asyncio.to_thread(_extended, before, ticks, missed_ns)

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


def _missed_ns(ticks: Records) -> int:
    # What came before the first has left the window, maybe with ticks of the same time.
    return int(ticks["ts"][0]) if len(ticks) and ticks["seq"][0] > 1 else -1


def _build(ticks: Records, interval: int) -> KeptBars:
    missed_ns, builder = _missed_ns(ticks), BarBuilder(interval)
    if missed_ns >= 0:
        builder.miss(missed_ns + 1)
    return _extended(KeptBars(np.zeros(0, BAR), builder, missed_ns, -1, 0), ticks, missed_ns)


def _extended(before: KeptBars, ticks: Records, missed_ns: int) -> KeptBars:
    """Take ticks, and leave out what a window that begins later no longer tells."""
    builder, last_ns, sequence = deepcopy(before.builder), before.last_ns, before.sequence
    closed = joined(BAR, (before.closed, builder.take(ticks)))
    if missed_ns >= 0:
        builder.miss(missed_ns + 1)
        closed = closed[np.searchsorted(closed["ts"], missed_ns, side="right") :]
    if len(ticks):
        last_ns, sequence = int(ticks["ts"][-1]), int(ticks["seq"][-1])
    return KeptBars(closed, builder, missed_ns, last_ns, sequence)


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
