"""Bars of Alpaca: of shares, adjusted for splits as of the day they are fetched, and of crypto."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import numpy as np

from algotrade.engine.records import BAR
from algotrade.engine.settings import INTERVALS
from algotrade.market_data.history.candles import DAY_NS, Candles, bar_of, day_of
from algotrade.market_data.venues.rest import Rest
from algotrade.market_data.venues.venue import VenueError, VenueRefused
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS, utc
from algotrade.platform.text_columns import time_ns

ALPACA_REST: Final = "https://data.alpaca.markets"
REQUESTS_A_SECOND: Final = 3.0  # two hundred a minute, on the smallest plan
MOST_PAGES: Final = 8  # of an answer; a page of ours fits one
_LIMIT: Final = 10_000
_TIMEFRAMES: Final[Mapping[int, str]] = {
    60 * SECOND_NS: "1Min",
    300 * SECOND_NS: "5Min",
    900 * SECOND_NS: "15Min",
    1_800 * SECOND_NS: "30Min",
    3_600 * SECOND_NS: "1Hour",
    DAY_NS: "1Day",
}


class AlpacaCandles:
    """The port `CandleSource` over ``GET /v2/stocks/bars`` and ``/v1beta3/crypto/us/bars``."""

    name: Final = "alpaca"
    page: Final = limits.BARS_A_CHUNK
    symbols: Final[Sequence[str]] = ()
    intervals: Final[Mapping[str, int]] = {name: length for name, length in INTERVALS.items() if length in _TIMEFRAMES}

    def __init__(self, rest: Rest, names: Mapping[str, str], feed: str) -> None:
        """Take the API, which shows the key by itself, what it calls our symbols, and which tape: iex, sip …"""
        self._rest = rest
        self._names = names
        self._feed = feed

    async def candles(self, symbol: str, interval_ns: int, start_ns: int, end_ns: int) -> Candles:
        """Fetch the bars that start from one time to before another."""
        theirs = self._names.get(symbol, symbol)
        crypto = "/" in theirs
        if crypto and interval_ns == DAY_NS:
            raise VenueRefused("alpaca: days of crypto do not begin at midnight UTC there; ask for 1h")
        asked: dict[str, str | int] = {
            "symbols": theirs,
            "timeframe": _TIMEFRAMES[interval_ns],
            "start": utc(start_ns).isoformat(),
            "end": utc(end_ns - SECOND_NS).isoformat(),  # it counts as in the range
            "limit": _LIMIT,
        }
        if not crypto:
            asked |= {"adjustment": "split", "feed": self._feed}
        path = "/v1beta3/crypto/us/bars" if crypto else "/v2/stocks/bars"
        left_out: Counter[str] = Counter()
        found: dict[int, tuple[int, int, int, int, int, float]] = {}
        for row in await self._rows(path, asked, theirs):
            ts, prices, volume = _bar(row)
            ts = day_of(ts) if interval_ns == DAY_NS else ts
            if start_ns <= ts < end_ns:
                one = bar_of(ts, prices, volume, interval_ns)
                if isinstance(one, str):
                    left_out[one] += 1
                else:
                    found[ts] = one
        return Candles(np.array([found[ts] for ts in sorted(found)], BAR), left_out)

    async def close(self) -> None:
        """Close the API."""
        await self._rest.close()

    async def _rows(self, path: str, asked: dict[str, str | int], theirs: str) -> list[Any]:
        rows: list[Any] = []
        for _ in range(MOST_PAGES):
            try:
                answer = await self._rest.get(path, asked)
            except VenueRefused as refused:
                if refused.status == HTTPStatus.FORBIDDEN:
                    raise VenueRefused(f"alpaca: your plan does not include this: {refused}") from refused
                raise
            try:
                rows += (answer["bars"] or {}).get(theirs, ())
                token = answer.get("next_page_token")
            except (KeyError, TypeError, AttributeError) as error:
                raise VenueError(f"unreadable: {type(error).__name__} {error}") from None
            if not token:
                return rows
            asked = {**asked, "page_token": token}
        raise VenueError("an answer without an end")


def _bar(row: Any) -> tuple[int, tuple[Any, ...], Any]:
    try:
        return time_ns(row["t"]), tuple(row[name] for name in "ohlc"), row["v"]
    except (KeyError, TypeError, ValueError) as error:
        raise VenueError(f"unreadable: {type(error).__name__} {error}") from None
