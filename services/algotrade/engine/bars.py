"""Ticks to bars by the ticks' own time: the plain reference for the bars that artefacts build for themselves."""

from __future__ import annotations

import numpy as np

from algotrade.engine.records import BAR, CLOSES_BAR, MARKER, Records

_Bar = tuple[int, int, int, int, int, float]


def build_bars(ticks: Records, interval: int) -> Records:
    """Bars (BAR records) of TICK records in order; ``interval`` in nanoseconds, 0: bars close by their ticks' flags.

    A bar is [start, start + interval) in UTC and stamped by its start; one without ticks does not exist. It is closed
    by a tick or marker at or past its end. The first is left out where its beginning was missed, and so is a last
    one that nothing has closed.
    """
    return BarBuilder(interval).take(ticks)


class BarBuilder:
    """`build_bars` in pieces: the same ticks, however they are cut, give the same bars."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._since: int | None = None
        self._bar: list[float] | None = None

    @property
    def state(self) -> tuple[int | None, list[float] | None]:
        """What `restored` goes on from: plain numbers."""
        return self._since, None if self._bar is None else list(self._bar)

    @classmethod
    def restored(cls, interval: int, since: int | None, bar: list[float] | None) -> BarBuilder:
        """A builder that goes on where another, whose `state` this was, stood."""
        builder = cls(interval)
        builder._since, builder._bar = since, bar
        return builder

    def take(self, ticks: Records) -> Records:
        """Take ticks that follow those before; the bars they closed."""
        interval, bar, closed = self._interval, self._bar, []
        if self._since is None and len(ticks):
            self._since = int(ticks["ts"][0])
        for ts, price, size, flags in zip(
            *(ticks[name].tolist() for name in ("ts", "price", "size", "flags")), strict=True
        ):
            if bar is not None and interval and ts >= bar[0] + interval:
                closed.append(bar)
                bar = None
            if flags & MARKER:
                continue
            if bar is None:
                bar = [ts - ts % interval if interval else ts, price, price, price, price, 0.0]
            bar[2], bar[3], bar[4], bar[5] = max(bar[2], price), min(bar[3], price), price, bar[5] + size
            if not interval and flags & CLOSES_BAR:
                closed.append(bar)
                bar = None
        self._bar = bar
        return self._whole(closed)

    def miss(self, until: int) -> None:
        """Leave out bars that start before a time, as if what came before it had been missed."""
        self._since = until if self._since is None else max(self._since, until)

    @property
    def open(self) -> Records:
        """The bar that nothing has closed yet, as it stands: one record, or none."""
        return self._whole([self._bar] if self._bar is not None else [])

    def _whole(self, bars: list[list[float]]) -> Records:
        return np.array([_row(bar) for bar in bars if self._since is not None and self._since <= bar[0]], BAR)


def _row(bar: list[float]) -> _Bar:
    ts, start, high, low, close, volume = bar
    return int(ts), int(start), int(high), int(low), int(close), volume
