"""Replay a file of bars or trades: at a multiple of the speed of life, or as fast as it is taken.

A bar becomes its four ticks, which stay together. After a restart it goes on behind the last time in the log; ticks
of one time are never parted, so none is lost or repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import numpy as np

from algotrade.engine.records import Records, bar_ticks
from algotrade.market_data.feed import FeedItem, FeedSymbol, FeedTicks, Resume
from algotrade.platform.bars_file import BarFileError, read_bars, read_trades
from algotrade.platform.clock import SECOND_NS, Clock

BATCH: Final = 1024
WEEK_NS: Final = 7 * 24 * 3600 * SECOND_NS

Gate = Callable[[], Awaitable[object]]


async def _open() -> None:
    """Hold nothing back."""


class ReplayFeed:
    """The port `Feed` over the ticks of one symbol."""

    def __init__(
        self,
        symbol: str,
        ticks: Records,
        clock: Clock,
        *,
        bars: bool,
        speed: float = 0.0,
        repeat: bool = False,
        gate: Gate = _open,
    ) -> None:
        """Take ticks in order of time; nothing starts before ``gate`` returns.

        ``speed`` 0 is as fast as possible. With ``repeat`` it begins again at the end, its times moved on by as many
        whole weeks as it lasts, so that time never runs backwards.
        """
        self.symbols = (FeedSymbol(symbol, "replay", bars, live=False),)
        self._ticks = ticks
        self._clock = clock
        self._speed = speed
        self._repeat = repeat
        self._gate = gate

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        """Yield the ticks behind the last logged time."""
        await self._gate()
        span_ns = _whole_weeks(self._ticks["ts"])
        turn = (resume.event_ns - int(self._ticks["ts"][0])) // span_ns if self._repeat and resume.sequence else 0
        while True:
            ticks = self._ticks.copy()
            ticks["ts"] += turn * span_ns
            if resume.sequence:
                ticks = ticks[np.searchsorted(ticks["ts"], resume.event_ns, side="right") :]
            async with aclosing(self._pace(ticks)) as paced:
                async for fed in paced:
                    yield fed
            if not self._repeat:
                return
            turn += 1

    async def _pace(self, ticks: Records) -> AsyncGenerator[FeedTicks, None]:
        """Yield ticks as their time comes, cut only where a new time begins."""
        if not len(ticks):
            return
        cuts = np.append(np.flatnonzero(np.diff(ticks["ts"])) + 1, len(ticks))
        started_ns, first_ns = self._clock.now_ns(), int(ticks["ts"][0])
        sent = 0
        while sent < len(ticks):
            due = sent + BATCH
            if self._speed:
                wait_ns = (int(ticks["ts"][sent]) - first_ns) / self._speed
                await self._clock.sleep_until(started_ns + round(wait_ns))
                passed_ns = (self._clock.now_ns() - started_ns) * self._speed
                reached = int(np.searchsorted(ticks["ts"] - first_ns, passed_ns, side="right"))
                due = min(due, max(sent + 1, reached))
            end = int(cuts[np.searchsorted(cuts, due)]) if due < len(ticks) else len(ticks)
            yield FeedTicks(ticks[sent:end])
            sent = end
            await asyncio.sleep(0)  # a replay at full speed must not keep the loop to itself


def _whole_weeks(times: Records) -> int:
    """Return how long a replay lasts, one usual step after its last tick included, in nanoseconds."""
    steps = np.diff(np.unique(times))
    lasts = int(times[-1]) - int(times[0]) + (int(np.median(steps)) if len(steps) else 1)
    return -(-lasts // WEEK_NS) * WEEK_NS


def read_ticks(path: Path) -> tuple[Records, bool]:
    """Read bars, or else trades; return the ticks and whether they are bars. BarFileError for a file of neither."""
    try:
        return bar_ticks(read_bars(path).bars), True
    except BarFileError as error:
        if error.code != "missing_column":
            raise
        try:
            return read_trades(path).ticks, False
        except BarFileError as other:
            raise (error if other.code == "missing_column" else other) from None
