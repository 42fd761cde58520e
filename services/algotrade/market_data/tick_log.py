"""Read one symbol's ticks back off the log, from any sequence on."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from typing import Final

from algotrade.engine.records import Records
from algotrade.platform import limits
from algotrade.platform.bus import Bus, OffsetOutOfRange, Record, partition_of
from algotrade.platform.ticks import FeedReader
from algotrade.platform.topics import MARKET_DATA_UPDATES as TOPIC
from algotrade.v1.events_pb2 import MarketDataUpdate

READ: Final = limits.MAX_READ_RECORDS


@dataclass(frozen=True, slots=True)
class LoggedTicks:
    """Consecutive ticks (dtype TICK) and the epoch of who wrote them."""

    epoch: int
    ticks: Records


async def ticks_after(bus: Bus, symbol: str, sequence: int) -> AsyncGenerator[LoggedTicks, None]:
    """Yield a symbol's ticks behind a sequence as far as the log goes now; the first may be later if that is all."""
    reader = FeedReader(sequence)
    async with aclosing(records_after(bus, symbol, reader)) as logged:
        async for _, ticks in logged:
            if len(ticks):
                yield LoggedTicks(reader.epoch, ticks)


async def records_after(bus: Bus, symbol: str, reader: FeedReader) -> AsyncGenerator[tuple[Record, Records], None]:
    """Yield a symbol's records from where a reader stands as far as the log goes now, with what it takes of each."""
    partition = partition_of(symbol, TOPIC.partitions)
    start = offset = await _locate(bus, partition, symbol, reader.sequence)
    while records := await bus.read(TOPIC, partition, offset, READ):
        offset = records[-1].offset + 1
        for record in records:
            if record.key != symbol:
                continue
            update = MarketDataUpdate.FromString(record.payload)
            if update.ticks.first_sequence > reader.sequence + 1:
                # That is all there are, or the search was led astray by a record that is in the log twice.
                earliest = (await bus.bounds(TOPIC, partition)).earliest
                if start > earliest:
                    start = offset = earliest
                    reader.epoch = 0
                    break
            yield record, reader.take(update)


async def newest_ticks(bus: Bus, symbol: str, count: int) -> list[LoggedTicks]:
    """Return the end of a symbol's log, oldest first: ``count`` ticks or a little more, or all there are."""
    found = await newest_updates(bus, symbol, count)
    reader = FeedReader(found[0].ticks.first_sequence - 1 if found else 0)
    return [LoggedTicks(update.epoch, ticks) for update in found if len(ticks := reader.take(update))]


async def newest_updates(bus: Bus, symbol: str, count: int) -> Sequence[MarketDataUpdate]:
    """Return the records at the end of a symbol's log, oldest first, that hold so many ticks, or all there are."""
    partition = partition_of(symbol, TOPIC.partitions)
    bounds = await bus.bounds(TOPIC, partition)
    found: deque[MarketDataUpdate] = deque()
    held, end = 0, bounds.end
    while end > bounds.earliest and held < count:
        start = max(bounds.earliest, end - READ)
        try:
            records = await bus.read(TOPIC, partition, start, end - start)
        except OffsetOutOfRange:
            break  # trimmed while we read
        for record in reversed(records):
            if record.key == symbol and held < count:
                found.appendleft(MarketDataUpdate.FromString(record.payload))
                held += len(found[0].ticks.times_nanos)
        end = start
    return found


async def _locate(bus: Bus, partition: int, symbol: str, sequence: int) -> int:
    """Return an offset with no tick of the symbol behind ``sequence`` before it, by bisection over the partition."""
    while True:
        bounds = await bus.bounds(TOPIC, partition)
        low, high = bounds.earliest, bounds.end
        try:
            while high - low > READ:
                middle = (low + high) // 2
                offset, first = await _next_of(bus, partition, symbol, middle, high)
                if first > sequence:
                    high = middle
                else:
                    low = offset
        except OffsetOutOfRange:
            continue  # trimmed while we looked: look again
        return low


async def _next_of(bus: Bus, partition: int, symbol: str, start: int, end: int) -> tuple[int, float]:
    """Return where a symbol's next ticks are between two offsets, and the first one's sequence; infinite for none."""
    while start < end:
        records = await bus.read(TOPIC, partition, start, min(READ, end - start))
        for record in records:
            if record.key == symbol and (ticks := MarketDataUpdate.FromString(record.payload).ticks).first_sequence:
                return record.offset, ticks.first_sequence
        start = records[-1].offset + 1 if records else end
    return end, inf
