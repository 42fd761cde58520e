"""Bars in columns, as messages carry them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

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
