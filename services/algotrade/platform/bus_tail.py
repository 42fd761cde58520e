"""What every adapter of the bus keeps in memory of a partition: its newest records, and who waits for more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from algotrade.platform import limits
from algotrade.platform.bus import Record


@dataclass(slots=True, eq=False)
class Waiter:
    """What one subscription waits on: partitions that were written since it last looked."""

    woken: set[int] = field(default_factory=set)
    written: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, timeout_seconds: float) -> set[int] | None:
        """Return the partitions written, or None when nothing woke it for so long."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.written.wait()
        except TimeoutError:
            return None
        self.written.clear()
        woken, self.woken = self.woken, set()
        return woken


@dataclass(slots=True)
class Tail:
    """The newest records of a partition, without a hole, and who waits for more."""

    most_records: int = limits.TAIL_RECORDS
    records: deque[Record] = field(default_factory=deque)
    waiters: set[Waiter] = field(default_factory=set)
    _bytes: int = 0

    def append(self, record: Record) -> None:
        if self.records and record.offset != self.records[-1].offset + 1:
            if record.offset <= self.records[-1].offset:
                return  # announced late: the tail is already past it
            self.clear()
        self._take((record,))

    def extend(self, records: Sequence[Record]) -> None:
        """Append records that follow each other, if nothing lies between them and those before."""
        first = self.records[-1].offset + 1 if self.records else records[0].offset
        if records[0].offset == first and records[-1].offset - first == len(records) - 1:
            self._take(records)
            return
        for record in records:
            self.append(record)

    def _take(self, records: Sequence[Record]) -> None:
        self.records.extend(records)
        self._bytes += sum(len(record.payload) for record in records)
        while len(self.records) > self.most_records or (self._bytes > limits.TAIL_BYTES and len(self.records) > 1):
            self._bytes -= len(self.records.popleft().payload)

    def clear(self) -> None:
        self.records.clear()
        self._bytes = 0

    def wake(self, partition: int) -> None:
        for waiter in self.waiters:
            waiter.woken.add(partition)
            waiter.written.set()

    def read(self, offset: int, limit: int) -> list[Record] | None:
        """Return records from an offset on, or None where only the table can tell."""
        if not self.records or not self.records[0].offset <= offset <= self.records[-1].offset:
            return None
        start = offset - self.records[0].offset
        end = min(start + limit, len(self.records))
        return [self.records[place] for place in range(start, end)]  # near an end that is at once: a walk is not
