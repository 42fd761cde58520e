"""Longer bars of shorter ones."""

from __future__ import annotations

import numpy as np

from algotrade.engine.records import BAR, Records


def grouped(bars: Records, length_ns: int) -> Records:
    """Join bars (BAR records, by time) into those of a length from the epoch; one without any does not exist."""
    if not len(bars):
        return bars
    starts = bars["ts"] // length_ns * length_ns
    first = np.flatnonzero(np.concatenate([[True], starts[1:] != starts[:-1]]))
    joined = np.zeros(len(first), BAR)
    joined["ts"] = starts[first]
    joined["open"] = bars["open"][first]
    joined["close"] = bars["close"][np.append(first[1:], len(bars)) - 1]
    joined["high"] = np.maximum.reduceat(bars["high"], first)
    joined["low"] = np.minimum.reduceat(bars["low"], first)
    joined["volume"] = np.add.reduceat(bars["volume"], first)
    return joined
