"""Fewer points of a curve, for a picture of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def thinned(values: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.int64]:
    """Return indices, rising, of at most so many points (4 or more): the first, the last, and each part's extremes."""
    count = len(values)
    if count <= most:
        return np.arange(count)
    parts = np.array_split(np.arange(1, count - 1), (most - 2) // 2)
    kept = [0, count - 1]
    for part in parts:
        within = values[part]
        kept += [int(part[np.argmin(within)]), int(part[np.argmax(within)])]
    return np.unique(np.array(kept, np.int64))
