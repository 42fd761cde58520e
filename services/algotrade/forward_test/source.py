"""Where ticks are read from, whoever reads them: the worker that steps, and who replays what it did."""

from __future__ import annotations

from algotrade.forward_test.batch import Batch, Reading
from algotrade.platform import limits
from algotrade.platform.bus import Bus
from algotrade.platform.topics import MARKET_DATA_UPDATES


class Source:
    """The log of ticks."""

    def __init__(self, bus: Bus) -> None:
        """Take the bus that has it."""
        self._bus = bus

    async def batch(self, symbol: str, partition: int, offset: int, most_records: int, most_ticks: int) -> Batch | None:
        """Return what follows an offset of a symbol, no more than was said; None at the end of the log.

        Raises OffsetOutOfRange where that is no longer kept.
        """
        limit = min(most_records, limits.MAX_READ_RECORDS)
        return Reading(await self._bus.read(MARKET_DATA_UPDATES, partition, offset, limit)).batch(most_ticks)
