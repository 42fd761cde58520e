"""Follow one symbol: everything after a cursor, from the log first, then from the window as it comes.

Nothing is queued for a reader: its place is its cursor, so a slow one costs no memory. One that has been at the head
and then falls too far behind for too long is told so and ended; it may come back with its cursor.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from algotrade.engine.records import Records
from algotrade.market_data.tick_log import LoggedTicks, ticks_after
from algotrade.market_data.window import Head, WindowStore
from algotrade.platform import limits
from algotrade.platform.bus import Bus
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.errors import OutOfRange, ResourceExhausted
from algotrade.platform.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing came for a while."""

    sequence: int
    epoch: int
    time_ns: int


class Follower:
    """Makes the streams of ticks of one process."""

    def __init__(
        self,
        windows: WindowStore,
        bus: Bus,
        clock: Clock,
        *,
        metrics: Metrics,
        heartbeat_seconds: float,
        lag_ticks: int,
        lag_seconds: float,
    ) -> None:
        """Take where ticks are, and how long silence and how far behind may be."""
        self._windows = windows
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._heartbeat_seconds = heartbeat_seconds
        self._lag_ticks = lag_ticks
        self._lag_ns = round(lag_seconds * SECOND_NS)

    async def follow(self, symbol: str, after: int | None) -> AsyncGenerator[LoggedTicks | Heartbeat, None]:
        """Yield ticks after a sequence (None: from now on; 0: from the oldest kept), without a hole or a repeat.

        OutOfRange for a cursor before what is kept or after the newest; ResourceExhausted for a reader too slow.
        """
        head = await self._windows.head(symbol)
        cursor = head.sequence if after is None else after
        if cursor > head.sequence:
            raise OutOfRange(
                "CURSOR_AHEAD", f"the newest tick of {symbol} is {head.sequence}", last_sequence=head.sequence
            )
        from_oldest = after == 0
        caught_up_ns: int | None = None  # when it was last at the head; None before it ever was
        while True:
            ticks = await self._windows.after(symbol, cursor, limits.MAX_TICKS_A_MESSAGE)
            head = await self._windows.head(symbol)
            self._metrics.window_reads.labels("miss" if ticks is None else "hit").inc()
            self._metrics.stream_lag_ticks.observe(head.sequence - cursor)
            self._check_pace(symbol, head.sequence - cursor, caught_up_ns)
            if ticks is None:
                async with aclosing(self._from_log(symbol, cursor, head, from_oldest=from_oldest)) as logged:
                    async for batch in logged:
                        cursor = int(batch.ticks["seq"][-1])
                        yield batch
            elif len(ticks):
                cursor = int(ticks["seq"][-1])
                yield LoggedTicks(head.epoch, ticks)
            else:
                caught_up_ns = self._clock.now_ns()
                if not await self._windows.wait(symbol, cursor, self._heartbeat_seconds):
                    yield Heartbeat(cursor, head.epoch, self._clock.now_ns())
            from_oldest = False

    def _check_pace(self, symbol: str, lag: int, caught_up_ns: int | None) -> None:
        if caught_up_ns is None or lag <= self._lag_ticks:
            return
        if self._clock.now_ns() - caught_up_ns > self._lag_ns:
            raise ResourceExhausted("CONSUMER_TOO_SLOW", f"{lag} ticks of {symbol} behind; come back with the cursor")

    async def _from_log(
        self, symbol: str, cursor: int, head: Head, *, from_oldest: bool
    ) -> AsyncGenerator[LoggedTicks, None]:
        """Yield what lies between a cursor and the window, in messages of bounded length."""
        async with aclosing(ticks_after(self._bus, symbol, cursor)) as logged:
            async for batch in logged:
                oldest = int(batch.ticks["seq"][0])
                if oldest != cursor + 1 and not from_oldest:
                    raise _expired(symbol, cursor, oldest)
                from_oldest = False
                for part in _parts(batch.ticks):
                    yield LoggedTicks(batch.epoch, part)
                cursor = int(batch.ticks["seq"][-1])
                if await self._windows.after(symbol, cursor, 1) is not None:
                    return
        if from_oldest:  # the log holds none of them any more, the window does
            rest = await self._windows.newest(symbol, limits.MAX_TICKS_A_WINDOW)
            for part in _parts(rest):
                yield LoggedTicks(head.epoch, part)
        elif cursor + 1 < head.oldest:
            raise _expired(symbol, cursor, head.oldest)


def _expired(symbol: str, cursor: int, oldest: int) -> OutOfRange:
    return OutOfRange("CURSOR_EXPIRED", f"what follows {cursor} of {symbol} is no longer kept", first_sequence=oldest)


def _parts(ticks: Records) -> list[Records]:
    size = limits.MAX_TICKS_A_MESSAGE
    return [ticks[start : start + size] for start in range(0, len(ticks), size)]
