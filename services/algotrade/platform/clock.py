"""Time as an argument: whoever needs the present is handed a clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

SECOND_NS = 1_000_000_000
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


def utc(ts_ns: int) -> datetime:
    """Return a time in nanoseconds since the epoch as PostgreSQL keeps it: whole microseconds, UTC."""
    return _EPOCH + timedelta(microseconds=ts_ns // 1000)
