"""Consecutive records of a partition, each symbol's ticks read out of them once, however many lanes ask."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from algotrade.engine.records import TICK, Records
from algotrade.platform.bus import Record
from algotrade.platform.ticks import FeedReader
from algotrade.v1.events_pb2 import MarketDataUpdate

TICK_BYTES: Final = 25  # of a tick in a TickBatch: three numbers of eight bytes and its flags


class RecordError(Exception):
    """A record of the log is not what it should be."""


class Reading:
    """What one read of the log gave, to be taken whole or from the front."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Take records, maybe none."""
        self._records = records
        self._ends = list(accumulate(len(record.payload) // TICK_BYTES + 1 for record in records))
        self._batches: dict[int, Batch] = {}

    def batch(self, most_ticks: int) -> Batch | None:
        """Return the first records, one at least, that hold about so many ticks together; None of no records."""
        count = min(len(self._records), max(1, bisect_right(self._ends, most_ticks)))
        if not count:
            return None
        if count not in self._batches:
            self._batches[count] = Batch(self._records[:count])
        return self._batches[count]


class Batch:
    """Consecutive records that lanes take at once."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Take one record or more."""
        self._records = records
        self._taken: dict[tuple[str, int, int], tuple[Records, FeedReader]] = {}

    @property
    def end(self) -> int:
        """The offset behind the last record."""
        return self._records[-1].offset + 1

    def ticks(self, symbol: str, reader: FeedReader) -> tuple[Records, FeedReader]:
        """Return a symbol's ticks that a reader has not taken yet, and the reader after them. Raises RecordError."""
        key = (symbol, reader.sequence, reader.epoch)
        if key not in self._taken:
            after = replace(reader)
            parts = [_take(after, record) for record in self._records if record.key == symbol]
            self._taken[key] = np.concatenate([np.zeros(0, TICK), *parts]), after
        ticks, after = self._taken[key]
        return ticks, replace(after)


def _take(reader: FeedReader, record: Record) -> Records:
    try:
        return reader.take(MarketDataUpdate.FromString(record.payload))
    except (DecodeError, ValueError) as error:
        raise RecordError(f"{record.topic}[{record.partition}] {record.offset}: {error}") from error
