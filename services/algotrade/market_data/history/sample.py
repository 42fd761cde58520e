"""The bars that come with the platform, as a provider of the past that asks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from algotrade.engine.records import Records
from algotrade.market_data.history.candles import Candles
from algotrade.market_data.venues.venue import VenueRefused
from algotrade.platform import limits
from algotrade.platform.bars_file import read_bars
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.samples import aapl_daily

SAMPLE: Final = "sample"


class SampleCandles:
    """The port `CandleSource` over the sample: daily bars of AAPL, 2019 to 2024."""

    name: Final = SAMPLE
    page: Final = limits.BARS_A_CHUNK
    intervals: Final[Mapping[str, int]] = {"1d": 86_400 * SECOND_NS}
    symbols: Final = ("AAPL",)

    def __init__(self, directory: Path) -> None:
        """Take the folder in which the sample is written on first use."""
        self._directory = directory
        self._bars: Records | None = None

    async def candles(self, symbol: str, interval_ns: int, start_ns: int, end_ns: int) -> Candles:
        """Return the bars that start from one time to before another."""
        if symbol not in self.symbols:
            raise VenueRefused(f"the sample is of {', '.join(self.symbols)} alone", 404)
        if self._bars is None:
            self._bars = (await asyncio.to_thread(lambda: read_bars(aapl_daily(self._directory)))).bars
        times = self._bars["ts"]
        return Candles(self._bars[(times >= start_ns) & (times < end_ns)])

    async def close(self) -> None:
        """Close nothing."""
