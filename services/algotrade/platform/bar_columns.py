"""Bars in columns, as messages carry them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from algotrade.engine.records import BAR, Records
from algotrade.v1 import types_pb2

# What a field of BAR is called in a message.
COLUMNS: Final[Mapping[str, str]] = {
    "ts": "times_nanos",
    "open": "opens_e8",
    "high": "highs_e8",
    "low": "lows_e8",
    "close": "closes_e8",
    "volume": "volumes",
}


def columns_of(bars: Records) -> types_pb2.BarColumns:
    """Write BAR records as columns."""
    return types_pb2.BarColumns(**{name: bars[field].tolist() for field, name in COLUMNS.items()})


def records_of(columns: types_pb2.BarColumns) -> Records:
    """Read columns of equal length as BAR records, whatever the values are."""
    bars = np.empty(len(columns.times_nanos), BAR)
    for field, name in COLUMNS.items():
        bars[field] = np.fromiter(getattr(columns, name), BAR[field], len(bars))
    return bars


def records_of_deltas(deltas: types_pb2.BarDeltas) -> Records:
    """Read differences, one a bar each, as BAR records, whatever they come to."""
    count = len(deltas.opens)

    def column(values: Iterable[int], most: int) -> npt.NDArray[np.int64]:
        return np.fromiter(values, np.int64, most)

    opens, closes = column(deltas.opens, count), column(deltas.closes, count)
    # An opening price is all the moves up to the close before it, and the one to it.
    opened = np.cumsum(opens) + np.concatenate([[0], np.cumsum(closes)[:-1]])
    steps = np.concatenate([[0], column(deltas.time_steps, count - 1)])
    bars = np.empty(count, BAR)
    bars["ts"] = deltas.first_time_nanos + np.cumsum(steps) * deltas.time_unit_nanos
    bars["open"] = opened * deltas.price_unit_e8
    for field, values in (("high", deltas.highs), ("low", deltas.lows), ("close", deltas.closes)):
        bars[field] = (opened + column(values, count)) * deltas.price_unit_e8
    bars["volume"] = np.fromiter(deltas.volumes, np.float64, count)
    return bars
