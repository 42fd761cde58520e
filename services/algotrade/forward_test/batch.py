"""Consecutive records of a partition, each symbol's ticks read out of them once, however many lanes ask."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from google.protobuf.message import DecodeError

from algotrade.engine.records import TICK, Records, joined
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


@dataclass(frozen=True, slots=True)
class Turn:
    """The feed becomes something else (a FeedState), after so many ticks of a stretch, noticed at a time.

    ``source``: the provider whose ticks follow, where that is said.
    """

    after: int
    state: int
    event_ns: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a reader takes of its symbol in a batch, and the reader after it: who goes on from there takes a copy.

    ``last``: time and sequence of the last tick; ``places``: of each record the sequence up to which it is read behind
    it, and its offset.
    """

    ticks: Records
    last: tuple[int, int] | None
    turns: tuple[Turn, ...]
    reader: FeedReader
    places: tuple[tuple[int, int], ...]

    def offset_of(self, sequence: int) -> int:
        """Return the offset of the record that a tick came with."""
        return self.places[bisect_left(self.places, (sequence, 0))][1]

    def parts(self) -> Iterator[tuple[Records, Turn | None]]:
        """Yield the ticks up to each turn with it, and last those behind the last turn."""
        start = 0
        for turn in self.turns:
            yield self.ticks[start : turn.after], turn
            start = turn.after
        yield self.ticks[start:], None


class Batch:
    """Consecutive records that lanes take at once."""

    def __init__(self, records: Sequence[Record], end: int | None = None) -> None:
        """Take records, one at least unless it is said where they end."""
        self._records = records
        self.end = records[-1].offset + 1 if end is None else end  # the offset behind them
        self._taken: dict[tuple[str, int, int, int], Stretch] = {}

    def stretch(self, symbol: str, reader: FeedReader) -> Stretch:
        """Return what a reader has not taken yet of a symbol. Raises RecordError."""
        key = (symbol, reader.sequence, reader.epoch, reader.state)
        if key not in self._taken:
            self._taken[key] = self._read(symbol, reader.copy())
        return self._taken[key]

    def _read(self, symbol: str, reader: FeedReader) -> Stretch:
        parts, turns, places, count = list[Records](), list[Turn](), list[tuple[int, int]](), 0
        for record in self._records:
            if record.key != symbol:
                continue
            state = reader.state
            update = _update(record)
            parts.append(_take(reader, update, record))
            places.append((reader.sequence, record.offset))
            count += len(parts[-1])
            if reader.state != state:
                change = update.feed_state
                turns.append(Turn(count, reader.state, change.event_time.ToNanoseconds(), change.source))
        ticks = joined(TICK, parts)
        last = (int(ticks["ts"][-1]), int(ticks["seq"][-1])) if len(ticks) else None
        return Stretch(ticks, last, tuple(turns), reader, tuple(places))


def _update(record: Record) -> MarketDataUpdate:
    try:
        return MarketDataUpdate.FromString(record.payload)
    except DecodeError as error:
        raise _unreadable(record, error) from error


def _take(reader: FeedReader, update: MarketDataUpdate, record: Record) -> Records:
    try:
        return reader.take(update)
    except ValueError as error:
        raise _unreadable(record, error) from error


def _unreadable(record: Record, error: Exception) -> RecordError:
    return RecordError(f"{record.topic}[{record.partition}] {record.offset}: {error}")
