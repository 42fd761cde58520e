"""Bars of any exchange that ccxt knows. ccxt is large and is an extra: it is imported when somebody asks for it.

A symbol of ours is ccxt's with a dash: BTC-USD is BTC/USD.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import stamina

from algotrade.engine.records import BAR
from algotrade.engine.settings import INTERVALS
from algotrade.market_data.history.candles import Candles, bar_of
from algotrade.market_data.venues.venue import VenueError, VenueRefused

PREFIX: Final = "ccxt."  # of the provider's name: ccxt.kraken
PAGE: Final = 300  # what the strictest of them give
ATTEMPTS: Final = 4
ALL_SECONDS: Final = 60.0
MILLISECOND_NS: Final = 1_000_000


class CcxtCandles:
    """The port `CandleSource` over one exchange of ccxt."""

    page: Final = PAGE
    symbols: Final[Sequence[str]] = ()

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        """Open an exchange by the provider's name. VenueRefused where ccxt, or in it the exchange, is missing."""
        exchange = name.removeprefix(PREFIX)
        try:
            import ccxt.async_support as ccxt  # an extra, and large
        except ImportError:
            raise VenueRefused("ccxt is not installed: pip install 'algotrade[ccxt]'") from None
        if exchange not in ccxt.exchanges:
            raise VenueRefused(f"ccxt knows no exchange {exchange}")
        self.name = name
        self._ccxt = ccxt
        self._exchange = getattr(ccxt, exchange)({"enableRateLimit": True, **(options or {})})
        known = self._exchange.timeframes or {}
        self.intervals = {bar: length for bar, length in INTERVALS.items() if length and bar in known}

    async def candles(self, symbol: str, interval_ns: int, start_ns: int, end_ns: int) -> Candles:
        """Fetch the bars that start from one time to before another."""
        bar = next(name for name, length in self.intervals.items() if length == interval_ns)
        count = (end_ns - start_ns) // interval_ns
        rows: list[Any] = []
        async for attempt in stamina.retry_context(on=VenueError, attempts=ATTEMPTS, timeout=ALL_SECONDS):
            with attempt:
                rows = await self._fetch(symbol.replace("-", "/"), bar, start_ns // MILLISECOND_NS, count)
        left_out: Counter[str] = Counter()
        found: dict[int, tuple[int, int, int, int, int, float]] = {}
        try:
            for at, opened, high, low, closed, volume in rows:
                ts = int(at) * MILLISECOND_NS
                if start_ns <= ts < end_ns:
                    one = bar_of(ts, (opened, high, low, closed), volume, interval_ns)
                    if isinstance(one, str):
                        left_out[one] += 1
                    else:
                        found[ts] = one
        except (TypeError, ValueError) as error:
            raise VenueError(f"unreadable: {type(error).__name__} {error}") from None
        return Candles(np.array([found[ts] for ts in sorted(found)], BAR), left_out)

    async def close(self) -> None:
        """Close the exchange's connections."""
        await self._exchange.close()

    async def _fetch(self, symbol: str, bar: str, since_ms: int, count: int) -> list[Any]:
        try:
            rows: list[Any] = await self._exchange.fetch_ohlcv(symbol, bar, since=since_ms, limit=count)
        except self._ccxt.NetworkError as error:  # away, or too many requests
            raise VenueError(f"{type(error).__name__}: {str(error)[:200]}") from error
        except self._ccxt.BaseError as error:
            raise VenueRefused(f"{type(error).__name__}: {str(error)[:200]}") from error
        return rows
