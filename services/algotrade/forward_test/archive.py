"""Keeps the ticks that sessions have seen when the log is about to forget them.

1. It follows the log at a distance, a block of records at a time, with a position of its own that the log does not
   forget past (`bus_holds`). So what a session has seen is in the archive or still in the log, whatever stops when.
2. Of a block it keeps the records of those symbols that a session has read or is going to read, a segment each. A
   session that begins behind the position takes it back; a block that is done twice gives the same segments.
3. Segments that no session refers to any more are removed, a few at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from algotrade.forward_test.pack import pack
from algotrade.platform import limits
from algotrade.platform.bus import Bus, OffsetOutOfRange, Record
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.topics import MARKET_DATA_UPDATES as TOPIC

log = logger(__name__)

RETRY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Segment:
    """The records of a symbol between two offsets of a partition, packed."""

    first_offset: int
    end_offset: int
    records: int
    ticks: int
    packed: bytes


class Archive(Protocol):
    """The port: where segments are kept."""

    async def position(self, partition: int, earliest: int) -> int:
        """Return the next offset to archive; the first time it is the oldest that the log holds."""
        ...

    async def wanted(self, partition: int, first: int, end: int) -> frozenset[str]:
        """Return the symbols of which a session has read, or is going to read, between two offsets."""
        ...

    async def keep(self, partition: int, first: int, end: int, segments: Mapping[str, Segment]) -> bool:
        """Keep a block's segments and move the position from its beginning to its end.

        False, and nothing changed, where the position has moved or another symbol is wanted meanwhile.
        """
        ...

    async def find(self, partition: int, symbol: str, offset: int) -> Segment | None:
        """Return the segment of a symbol that covers an offset."""
        ...

    async def forget(self, after: tuple[int, str, int], limit: int) -> tuple[int, tuple[int, str, int] | None]:
        """Look at so many segments behind a key and remove those that no session refers to.

        Return how many went, and the last key that was looked at; None at the end.
        """
        ...


class Archivist:
    """Moves ticks from the log into the archive."""

    def __init__(
        self,
        archive: Archive,
        bus: Bus,
        clock: Clock,
        *,
        after_seconds: float,
        every_seconds: float,
        here: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take both, how old a record is that is archived, how often to look, and whether it is for this process."""
        self._here = here
        self._archive = archive
        self._bus = bus
        self._clock = clock
        self._after_ns = round(after_seconds * SECOND_NS)
        self._every_seconds = every_seconds
        self._looked: tuple[int, str, int] = (-1, "", 0)

    async def run(self) -> None:
        """Work for ever."""
        while True:
            if not self._here():
                await asyncio.sleep(self._every_seconds)
                continue
            try:
                moved = [await self.turn(partition) for partition in range(TOPIC.partitions)]
                await self.tidy()
            except Exception as error:
                log.warning("archive.failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await asyncio.sleep(0 if any(moved) else self._every_seconds)

    async def turn(self, partition: int) -> bool:
        """Archive the next block of a partition if it is time; tell whether the position moved."""
        bounds = await self._bus.bounds(TOPIC, partition)
        first = await self._archive.position(partition, bounds.earliest)
        size = limits.ARCHIVED_RECORDS
        end = (first // size + 1) * size
        if first < bounds.earliest:
            log.error("archive.behind", partition=partition, position=first, earliest=bounds.earliest)
            return await self._archive.keep(partition, first, bounds.earliest, {})
        if end > bounds.end:
            return False
        try:
            (newest,) = await self._bus.read(TOPIC, partition, end - 1, 1)
            crowded = bounds.end - end > TOPIC.retention_records // 2
            if not crowded and self._clock.now_ns() - newest.write_time_ns < self._after_ns:
                return False
            wanted = await self._archive.wanted(partition, first, end)
            records = await self._block(partition, first, end) if wanted else []
        except OffsetOutOfRange:
            return False  # trimmed while we looked: the next turn says so
        segments = await asyncio.to_thread(_segments, records, wanted, first, end)
        return await self._archive.keep(partition, first, end, segments)

    async def _block(self, partition: int, first: int, end: int) -> list[Record]:
        found: list[Record] = []
        while first < end:
            found += await self._bus.read(TOPIC, partition, first, end - first)
            first = found[-1].offset + 1
        return found

    async def tidy(self) -> int:
        """Look at some segments and remove those that no session refers to; return how many went."""
        gone, last = await self._archive.forget(self._looked, limits.ARCHIVE_TIDIED)
        self._looked = last or (-1, "", 0)
        return gone


def _segments(records: Sequence[Record], wanted: frozenset[str], first: int, end: int) -> dict[str, Segment]:
    by_symbol: dict[str, list[Record]] = {symbol: [] for symbol in wanted}
    for record in records:
        if record.key in by_symbol:
            by_symbol[record.key].append(record)
    found = {}
    for symbol, own in by_symbol.items():
        packed, ticks = pack(own)
        found[symbol] = Segment(first, end, len(own), ticks, packed)
    return found
