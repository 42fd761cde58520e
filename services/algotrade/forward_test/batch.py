"""Consecutive records of a partition, each symbol's ticks read out of them once, however many lanes ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from google.protobuf.message import DecodeError

from algotrade.engine.records import TICK, Records
from algotrade.platform import limits
from algotrade.platform.bus import Record
from algotrade.platform.ticks import FeedReader
from algotrade.v1.events_pb2 import MarketDataUpdate


class RecordError(Exception):
    """A record of the log is not what it should be."""


class Batch:
    """What one read of the log gave."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Take one record or more."""
        self._records = records
        self._taken: dict[tuple[str, int, int], tuple[Records, FeedReader]] = {}

    @property
    def end(self) -> int:
        """The offset behind the last record."""
        return self._records[-1].offset + 1

    @property
    def size(self) -> int:
        """The most ticks that may be in it."""
        return len(self._records) * limits.MAX_TICKS_A_RECORD

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
