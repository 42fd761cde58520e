"""Time as an argument: whoever needs the present is handed a clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

SECOND_NS = 1_000_000_000
_ELAPSED: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time and waits for it."""

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch, UTC."""
        ...

    async def sleep_until(self, ts_ns: int) -> None:
        """Return at or after a time; at once when it has passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch, UTC."""
        return time.time_ns()

    async def sleep_until(self, ts_ns: int) -> None:
        """Return at or after a time; at once when it has passed."""
        await asyncio.sleep(max(0.0, (ts_ns - time.time_ns()) / SECOND_NS))


class SteadyClock:
    """The machine's clock as it was when this began, and from then on evenly, however the machine's is set meanwhile.

    For whatever must neither stop nor leap with it. Where the machine sleeps, time goes on.
    """

    def __init__(self) -> None:
        """Begin now."""
        self._ahead_ns = time.time_ns() - _elapsed_ns()

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch, UTC."""
        return self._ahead_ns + _elapsed_ns()

    async def sleep_until(self, ts_ns: int) -> None:
        """Return at or after a time; at once when it has passed."""
        await asyncio.sleep(max(0.0, (ts_ns - self.now_ns()) / SECOND_NS))


def steady(clock: Clock) -> Clock:
    """Return a steady clock for the machine's; any other goes as it is made to."""
    return SteadyClock() if isinstance(clock, SystemClock) else clock


def _elapsed_ns() -> int:
    return time.clock_gettime_ns(_ELAPSED)


def utc(ts_ns: int) -> datetime:
    """Return a time in nanoseconds since the epoch as PostgreSQL keeps it: whole microseconds, UTC."""
    return _EPOCH + timedelta(microseconds=ts_ns // 1000)
