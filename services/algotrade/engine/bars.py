"""Ticks to bars by the ticks' own time: the plain reference for the bars that artefacts build for themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from algotrade.engine.records import BAR, CLOSES_BAR, MARKER, Records


def build_bars(ticks: Records, interval: int) -> Records:
    """Bars (BAR records) of TICK records in order; ``interval`` in nanoseconds, 0: bars close by their ticks' flags.

    A bar is [start, start + interval) in UTC and stamped by its start; one without ticks does not exist. It is closed
    by a tick or marker at or past its end. The first is left out where its beginning was missed, and so is a last
    one that nothing has closed.
    """
    return np.array(list(_bars(ticks, interval)), BAR)


def _bars(ticks: Records, interval: int) -> Iterator[tuple[int, int, int, int, int, float]]:
    bar: list[float] | None = None
    since: int | None = None
    for ts, price, size, flags in zip(
        *(ticks[name].tolist() for name in ("ts", "price", "size", "flags")), strict=True
    ):
        since = ts if since is None else min(since, ts)
        if bar is not None and interval and ts >= bar[0] + interval:
            yield from _whole(bar, since)
            bar = None
        if flags & MARKER:
            continue
        if bar is None:
            bar = [ts - ts % interval if interval else ts, price, price, price, price, 0.0]
        bar[2], bar[3], bar[4], bar[5] = max(bar[2], price), min(bar[3], price), price, bar[5] + size
        if not interval and flags & CLOSES_BAR:
            yield from _whole(bar, since)
            bar = None


def _whole(bar: list[float], since: int) -> Iterator[tuple[int, int, int, int, int, float]]:
    if since <= bar[0]:
        ts, start, high, low, close, volume = bar
        yield int(ts), int(start), int(high), int(low), int(close), volume
