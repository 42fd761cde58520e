"""Coinbase over REST, without a key: the trades that a feed has missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from algotrade.market_data.venues.coinbase import trade
from algotrade.market_data.venues.rest import Rest
from algotrade.market_data.venues.said import Fill, Trade
from algotrade.market_data.venues.venue import VenueError
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS

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


def _trades(page: Any) -> list[Trade]:
    """Read a page; VenueError for what is none."""
    try:
        return [trade(one) for one in page]
    except (KeyError, TypeError, ValueError) as error:
        raise VenueError(f"unreadable: {type(error).__name__} {error}") from None
