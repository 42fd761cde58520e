"""How Finnhub speaks: one connection a key, a frame a symbol to subscribe, trades of many symbols mixed in a frame.

Trades have neither numbers nor sides. A volume of nought is a change of price without a trade. A ping comes every
minute or two when nothing else does; nothing need be answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from algotrade.engine import fixed
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.market_data.venues.said import Complaint, Said, Trade, Trades
from algotrade.market_data.venues.venue import BadFrameError

FINNHUB_WS: Final = "wss://ws.finnhub.io"

_FIRST_MS: Final = 1_262_304_000_000  # 2010: no time before it is one
_LAST_MS: Final = 4_102_444_800_000  # 2100: nor one after it


class FinnhubDialect:
    """Finnhub's trades."""

    def __init__(self, token: str, names: Mapping[str, str], url: str = FINNHUB_WS) -> None:
        """Take the key, and what the venue calls each of our symbols."""
        self.opening: Sequence[str] = ()
        self.url = f"{url}?{urlencode({'token': token})}"
        self._theirs = dict(names)
        self._ours = {theirs: ours for ours, theirs in names.items()}

    def subscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """A frame a symbol."""
        return [_frame("subscribe", self._theirs[symbol]) for symbol in symbols]

    def unsubscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """Likewise."""
        return [_frame("unsubscribe", self._theirs[symbol]) for symbol in symbols]

    def read(self, frame: str | bytes) -> Sequence[Said]:
        """Return what a frame says: a symbol's trades together, in the order in which they stand."""
        try:
            said = orjson.loads(frame)
            match said["type"]:
                case "trade":
                    return self._trades(said["data"])
                case "error":
                    return [Complaint(str(said.get("msg", "")))]
        except orjson.JSONDecodeError as error:
            raise BadFrameError(f"not JSON: {error}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise BadFrameError(f"{type(error).__name__} {error}") from None
        return []

    def _trades(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Said]:
        of_symbol: dict[str, list[Trade]] = {}
        for row in rows:
            if (ours := self._ours.get(row["s"])) is not None and row.get("v") != 0:
                of_symbol.setdefault(ours, []).append(_trade(row))
        return [Trades(symbol, trades) for symbol, trades in of_symbol.items()]


def _trade(row: Mapping[str, Any]) -> Trade:
    time_ms, price, size = row.get("t"), row.get("p"), row.get("v")
    if not isinstance(time_ms, int) or not _FIRST_MS <= time_ms <= _LAST_MS:
        return Trade(0, wrong="bad_time")
    try:
        units = fixed.from_number(price)
    except ValueError:
        return Trade(0, wrong="bad_price")
    if not 0 < units <= MAX_AMOUNT:
        return Trade(0, wrong="bad_price")
    if not isinstance(size, int | float) or not 0 < size < float("inf"):
        return Trade(0, wrong="bad_size")
    return Trade(0, time_ms * 1_000_000, units, float(size))


def _frame(kind: str, symbol: str) -> str:
    return orjson.dumps({"type": kind, "symbol": symbol}).decode()
