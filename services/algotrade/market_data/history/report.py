"""What is odd about bars: holes, bars off the grid, repeats, breaks of order; for people who bring their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from algotrade.engine.records import Records

LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Hole:
    """Bars that are missing between two: the first missing one's time (ns), and how many in a row."""

    start_ns: int
    bars: int


@dataclass(frozen=True, slots=True)
class BarsReport:
    """``holes``: the longest, longest first; ``missing``: bars, in all holes; ``off_grid``: the first times (ns)."""

    bars: int
    first_ns: int
    last_ns: int
    holes_total: int
    missing: int
    holes: tuple[Hole, ...]
    off_grid_total: int
    off_grid: tuple[int, ...]
    duplicates: int
    order_breaks: int
    silent: int  # bars without volume


def report(times: Records, volumes: Records, interval_ns: int) -> BarsReport:
    """Judge bars by their times (int64 ns, in the order in which they came) and volumes."""
    breaks = int(np.count_nonzero(np.diff(times) < 0))
    ordered, counts = np.unique(times, return_counts=True)
    off = ordered[ordered % interval_ns != 0]
    grid = ordered[ordered % interval_ns == 0]
    # A bar off the grid stands for the one that its time lies in.
    covered = np.unique(np.concatenate([grid, off // interval_ns * interval_ns]))
    steps = np.diff(covered) // interval_ns
    gaps = np.flatnonzero(steps > 1)
    longest = gaps[np.argsort(-steps[gaps], kind="stable")][:LISTED]
    return BarsReport(
        bars=len(times),
        first_ns=int(ordered[0]) if len(ordered) else 0,
        last_ns=int(ordered[-1]) if len(ordered) else 0,
        holes_total=len(gaps),
        missing=int(np.sum(steps[gaps] - 1)),
        holes=tuple(Hole(int(covered[at]) + interval_ns, int(steps[at]) - 1) for at in longest),
        off_grid_total=len(off),
        off_grid=tuple(off[:LISTED].tolist()),
        duplicates=int(np.sum(counts - 1)),
        order_breaks=breaks,
        silent=int(np.count_nonzero(volumes == 0)),
    )
