"""Bars from Finnhub, for those whose plan has them: the columns of one answer."""

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
from algotrade.platform.clock import SECOND_NS

FINNHUB_REST: Final = "https://finnhub.io"
REQUESTS_A_SECOND: Final = 1.0  # sixty a minute, on the smallest plan
_COLUMNS: Final = ("t", "o", "h", "l", "c", "v")
_RESOLUTIONS: Final[Mapping[int, str]] = {
    60 * SECOND_NS: "1",
    300 * SECOND_NS: "5",
    900 * SECOND_NS: "15",
    1_800 * SECOND_NS: "30",
    3_600 * SECOND_NS: "60",
    DAY_NS: "D",
}


class FinnhubCandles:
    """The port `CandleSource` over ``GET /api/v1/stock/candle`` and ``crypto/candle``."""

    name: Final = "finnhub"
    page: Final = 1_500  # of bars of a minute: about a day
    symbols: Final[Sequence[str]] = ()
    intervals: Final[Mapping[str, int]] = {name: length for name, length in INTERVALS.items() if length in _RESOLUTIONS}

    def __init__(self, rest: Rest, names: Mapping[str, str] | None = None) -> None:
        """Take the API, which shows the key by itself, and what it calls those of our symbols that are not its own."""
        self._rest = rest
        self._names = names or {}

    async def candles(self, symbol: str, interval_ns: int, start_ns: int, end_ns: int) -> Candles:
        """Fetch the bars that start from one time to before another."""
        theirs = self._names.get(symbol, symbol)
        kind = "crypto" if ":" in theirs else "stock"
        wanted: dict[str, str | int] = {
            "symbol": theirs,
            "resolution": _RESOLUTIONS[interval_ns],
            "from": start_ns // SECOND_NS,
            "to": (end_ns - interval_ns) // SECOND_NS,
        }
        try:
            answer = await self._rest.get(f"/api/v1/{kind}/candle", wanted)
        except VenueRefused as refused:
            if refused.status == HTTPStatus.FORBIDDEN:
                raise VenueRefused("finnhub: your plan does not include bars of the past") from refused
            raise
        left_out: Counter[str] = Counter()
        found: dict[int, tuple[int, int, int, int, int, float]] = {}
        for at, opened, high, low, closed, volume in _rows(answer):
            ts = int(at) * SECOND_NS
            ts = day_of(ts) if interval_ns == DAY_NS else ts
            if start_ns <= ts < end_ns:
                one = bar_of(ts, (opened, high, low, closed), volume, interval_ns)
                if isinstance(one, str):
                    left_out[one] += 1
                else:
                    found[ts] = one
        return Candles(np.array([found[ts] for ts in sorted(found)], BAR), left_out)

    async def close(self) -> None:
        """Close the API."""
        await self._rest.close()


def _rows(answer: Any) -> list[tuple[Any, ...]]:
    """Turn columns into rows; VenueError for what is none."""
    try:
        if answer["s"] == "no_data":
            return []
        return list(zip(*(answer[name] for name in _COLUMNS), strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise VenueError(f"unreadable: {type(error).__name__} {error}") from None
