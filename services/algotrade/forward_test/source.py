"""Where ticks are read from, whoever reads them: the log, and behind it the archive of what it no longer holds."""

from __future__ import annotations

import asyncio

from algotrade.forward_test.archive import Archive, Segment
from algotrade.forward_test.batch import TICK_BYTES, Batch, Reading
from algotrade.forward_test.pack import unpack
from algotrade.platform import limits
from algotrade.platform.bus import Bus, OffsetOutOfRange
from algotrade.platform.topics import MARKET_DATA_UPDATES


class Source:
    """Ticks from any offset that is kept."""

    def __init__(self, bus: Bus, archive: Archive) -> None:
        """Take the log and the archive."""
        self._bus = bus
        self._archive = archive

    async def batch(self, symbol: str, partition: int, offset: int, most_records: int, most_ticks: int) -> Batch | None:
        """Return what follows an offset of a symbol, no more than was said; None at the end of the log.

        Raises OffsetOutOfRange where that is no longer kept.
        """
        limit = min(most_records, limits.MAX_READ_RECORDS)
        try:
            return Reading(await self._bus.read(MARKET_DATA_UPDATES, partition, offset, limit)).batch(most_ticks)
        except OffsetOutOfRange as error:
            found = await self.archived(error, symbol, most_records, most_ticks)
            if found is None:
                raise
            return found

    async def archived(
        self, missing: OffsetOutOfRange, symbol: str, most_records: int, most_ticks: int
    ) -> Batch | None:
        """Return what the archive has of a symbol from an offset that the log lacks; None where it has nothing."""
        partition, offset = missing.partition, missing.offset
        if offset >= missing.bounds.earliest:
            return None  # the log is not the one it was: what the archive has under that offset is something else
        segment = await self._archive.find(partition, symbol, offset)
        if segment is None:
            return None
        end = min(segment.end_offset, offset + most_records)
        return await asyncio.to_thread(_cut, segment, partition, symbol, offset, end, most_ticks)


def _cut(segment: Segment, partition: int, symbol: str, offset: int, end: int, most_ticks: int) -> Batch:
    """Return the records of a segment between two offsets, one at least of those there are, and not too many ticks."""
    records = [one for one in unpack(segment.packed, partition, symbol) if offset <= one.offset < end]
    ticks = 0
    for index, record in enumerate(records):
        ticks += len(record.payload) // TICK_BYTES + 1
        if ticks > most_ticks and index:
            return Batch(records[:index], record.offset)
    return Batch(records, end)
