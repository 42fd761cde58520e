"""Coinbase over REST, without a key: the trades that a feed has missed, and candles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from algotrade.engine.records import BAR
from algotrade.market_data.history.candles import Candles, bar_of
from algotrade.market_data.venues.coinbase import trade
from algotrade.market_data.venues.rest import Rest
from algotrade.market_data.venues.said import Fill, Trade
from algotrade.market_data.venues.venue import VenueError
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS, utc

EXCHANGE_REST: Final = "https://api.exchange.coinbase.com"
ADVANCED_REST: Final = "https://api.coinbase.com"
PAGE: Final = 1_000


class ExchangeTrades:
    """The port `TradeHistory` over ``GET /products/{id}/trades``: pages from the newest back, by number."""

    def __init__(self, rest: Rest) -> None:
        """Take the API."""
        self._rest = rest

    async def trades_after(self, symbol: str, number: int) -> Fill:
        """Fetch the trades that follow a number."""
        found: dict[int, Trade] = {}
        parameters: dict[str, str | int] = {"limit": PAGE}
        for _ in range(limits.MAX_BACKFILL_PAGES):
            page = await self._rest.get(f"/products/{symbol}/trades", parameters)
            trades = _trades(page)
            found.update((one.number, one) for one in trades if one.number > number)
            oldest = min((one.number for one in trades), default=0)
            if oldest <= number + 1:
                return Fill(list(found.values()), complete=True)
            parameters["after"] = oldest  # on this API, what is older
        return Fill(list(found.values()), complete=False)

    async def close(self) -> None:
        """Close the API."""
        await self._rest.close()


class AdvancedTrades:
    """The port `TradeHistory` over ``GET …/market/products/{id}/ticker``: pages from the newest back, by time."""

    def __init__(self, rest: Rest) -> None:
        """Take the API."""
        self._rest = rest

    async def trades_after(self, symbol: str, number: int) -> Fill:
        """Fetch the trades that follow a number."""
        found: dict[int, Trade] = {}
        parameters: dict[str, str | int] = {"limit": PAGE}
        oldest: int | None = None
        for _ in range(limits.MAX_BACKFILL_PAGES):
            page = await self._rest.get(f"/api/v3/brokerage/market/products/{symbol}/ticker", parameters)
            trades = _trades(page.get("trades") if isinstance(page, Mapping) else None)
            found.update((one.number, one) for one in trades if one.number > number)
            first = min(trades, default=None)
            if first is None or first.number <= number + 1:
                return Fill(list(found.values()), complete=first is not None)
            if first.number == oldest:
                break  # a second with more trades than a page
            oldest = first.number
            times = [one.ts for one in trades if one.ts]
            if not times:
                break
            parameters["end"] = min(times) // SECOND_NS + 1
        return Fill(list(found.values()), complete=False)

    async def close(self) -> None:
        """Close the API."""
        await self._rest.close()


class ExchangeCandles:
    """The port `CandleSource` over ``GET /products/{id}/candles``: newest first, 300 at most, holes left out."""

    name: Final = "coinbase"
    page: Final = 300
    symbols: Final[Sequence[str]] = ()
    intervals: Final[Mapping[str, int]] = {
        "1m": 60 * SECOND_NS,
        "5m": 300 * SECOND_NS,
        "15m": 900 * SECOND_NS,
        "1h": 3_600 * SECOND_NS,
        "6h": 21_600 * SECOND_NS,
        "1d": 86_400 * SECOND_NS,
    }

    def __init__(self, rest: Rest) -> None:
        """Take the API."""
        self._rest = rest

    async def candles(self, symbol: str, interval_ns: int, start_ns: int, end_ns: int) -> Candles:
        """Fetch the bars that start from one time to before another."""
        seconds = interval_ns // SECOND_NS
        rows = await self._rest.get(
            f"/products/{symbol}/candles",
            {
                "granularity": seconds,
                "start": utc(start_ns).isoformat(),
                "end": utc(end_ns - interval_ns).isoformat(),  # it counts as in the range
            },
        )
        left_out: Counter[str] = Counter()
        found: dict[int, tuple[int, int, int, int, int, float]] = {}
        try:
            for row in rows:
                if start_ns <= int(row[0]) * SECOND_NS < end_ns:  # it gives more at times
                    low, high, opened, closed = row[1:5]
                    prices = opened, high, low, closed
                    bar = bar_of(int(row[0]) * SECOND_NS, prices, row[5], interval_ns)
                    if isinstance(bar, str):
                        left_out[bar] += 1
                    else:
                        found[bar[0]] = bar
        except (TypeError, IndexError, ValueError) as error:
            raise VenueError(f"unreadable: {type(error).__name__} {error}") from None
        return Candles(np.array([found[ts] for ts in sorted(found)], BAR), left_out)

    async def close(self) -> None:
        """Close the API."""
        await self._rest.close()


def _trades(page: Any) -> list[Trade]:
    """Read a page; VenueError for what is none."""
    try:
        return [trade(one) for one in page]
    except (KeyError, TypeError, ValueError) as error:
        raise VenueError(f"unreadable: {type(error).__name__} {error}") from None
