"""Bars that come in a message, held to what bars are; and the sample's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import Records
from algotrade.platform.bar_columns import COLUMNS, records_of, records_of_deltas
from algotrade.platform.bars_file import read_bars
from algotrade.platform.errors import InvalidArgument
from algotrade.platform.samples import aapl_daily
from algotrade.v1 import types_pb2

SAMPLES: Final = {"AAPL": aapl_daily}
_VIOLATIONS_NAMED: Final = 20


def bars_of(columns: types_pb2.BarColumns) -> Records:
    """Read columns as BAR records. Raises InvalidArgument naming columns and rows."""
    count = len(columns.times_nanos)
    _check_lengths("bars", {name: (len(getattr(columns, name)), count) for name in COLUMNS.values()})
    return _checked(records_of(columns))


def bars_of_deltas(deltas: types_pb2.BarDeltas) -> Records:
    """Read differences as BAR records. Raises InvalidArgument naming what is wrong in the bars that they come to."""
    count = len(deltas.opens)
    lengths = {name: (len(getattr(deltas, name)), count) for name in ("highs", "lows", "closes", "volumes")}
    _check_lengths("deltas", lengths | {"time_steps": (len(deltas.time_steps), count - 1)})
    return _checked(records_of_deltas(deltas))


def _check_lengths(path: str, lengths: Mapping[str, tuple[int, int]]) -> None:
    unequal = [
        (f"{path}.{name}", f"{found} values, not {wanted}")
        for name, (found, wanted) in lengths.items()
        if found != wanted
    ]
    if unequal:
        raise _invalid("columns of unequal length", unequal)


def _checked(bars: Records) -> Records:
    bars["volume"] += 0.0  # one zero: that of -0.0 is another hash
    if found := _violations(bars):
        raise _invalid(f"{len(found)} value(s) that cannot be", found[:_VIOLATIONS_NAMED])
    return bars


def hash_of(bars: Records) -> str:
    """SHA-256 of bars in hexadecimal, as bar files have it."""
    return hashlib.sha256(bars.tobytes()).hexdigest()


@lru_cache(maxsize=len(SAMPLES))
def sample(name: str, directory: Path) -> Records:
    """Bars (BAR records, read-only) that come with the platform, by a name in ``SAMPLES``."""
    bars = read_bars(SAMPLES[name](directory)).bars
    bars.flags.writeable = False
    return bars


def _violations(bars: Records) -> list[tuple[str, str]]:
    found: list[tuple[int, str, str]] = []

    def check(wrong: Records, column: str, sentence: str) -> None:
        found.extend((row, column, sentence) for row in np.flatnonzero(wrong).tolist())

    check(np.concatenate([[False], bars["ts"][1:] <= bars["ts"][:-1]]), "times_nanos", "is not after the one before")
    for field in ("open", "high", "low", "close"):
        wrong = (bars[field] <= 0) | (bars[field] > MAX_AMOUNT)
        check(wrong, COLUMNS[field], f"is outside 1 to {MAX_AMOUNT}")
    check(bars["high"] < bars["low"], "highs_e8", "is below low")
    for field in ("open", "close"):
        wrong = (bars[field] > bars["high"]) | (bars[field] < bars["low"])
        check(wrong, COLUMNS[field], "is outside low to high")
    check(~np.isfinite(bars["volume"]) | (bars["volume"] < 0), "volumes", "is not a finite number of at least 0")
    return [(f"bars.{column}[{row}]", sentence) for row, column, sentence in sorted(found)]


def _invalid(sentence: str, violations: list[tuple[str, str]]) -> InvalidArgument:
    path, detail = violations[0]
    return InvalidArgument("BARS_INVALID", f"bars: {sentence}; {path} {detail}", violations=violations)
