"""How Alpaca's market data speaks: frames are lists of messages, and a key is shown before anything is asked for.

``v2/iex`` and ``v2/sip`` have shares, ``v1beta3/crypto/us`` crypto, whose trades say who took the liquidity. Numbers of
trades are an exchange's own, with holes: they tell repeats, not what is missing. A key has one connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from algotrade.engine import fixed
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import BUYER, SELLER
from algotrade.market_data.venues.said import Complaint, Said, Trade, Trades
from algotrade.market_data.venues.venue import BadFrameError, VenueError, VenueRefused
from algotrade.platform.text_columns import time_ns

ALPACA_WS: Final = "wss://stream.data.alpaca.markets/v2/iex"

_FIRST_NS: Final = 1_262_304_000 * 10**9  # 2010: no time before it is one
_TAKER: Final = {"B": BUYER, "S": SELLER}
_REFUSED: Final = frozenset({401, 402, 404, 409, 411})  # not authenticated, auth failed, timeout, plan, no permission
_BUSY: Final = 406  # the key has a connection already


class AlpacaDialect:
    """Alpaca's trades."""

    def __init__(self, key_id: str, secret: str, names: Mapping[str, str], url: str = ALPACA_WS) -> None:
        """Take the key, and what the venue calls each of our symbols."""
        self.url = url
        self.opening = [orjson.dumps({"action": "auth", "key": key_id, "secret": secret}).decode()]
        self._theirs = dict(names)
        self._ours = {theirs: ours for ours, theirs in names.items()}

    def subscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """One frame for all."""
        return [self._frame("subscribe", symbols)]

    def unsubscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """Likewise."""
        return [self._frame("unsubscribe", symbols)]

    def read(self, frame: str | bytes) -> Sequence[Said]:
        """Return what a frame says. VenueRefused for a key that is not good, VenueError for one that is in use."""
        try:
            messages = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            raise BadFrameError(f"not JSON: {error}") from None
        of_symbol: dict[str, list[Trade]] = {}
        found: list[Said] = []
        try:
            for message in messages:
                match message["T"]:
                    case "t" if (ours := self._ours.get(message["S"])) is not None:
                        of_symbol.setdefault(ours, []).append(_trade(message))
                    case "error":
                        found.append(_complaint(int(message["code"]), str(message.get("msg", ""))))
        except (KeyError, TypeError, ValueError) as error:
            raise BadFrameError(f"{type(error).__name__} {error}") from None
        return [*found, *(Trades(symbol, trades) for symbol, trades in of_symbol.items())]

    def _frame(self, action: str, symbols: Sequence[str]) -> str:
        return orjson.dumps({"action": action, "trades": [self._theirs[symbol] for symbol in symbols]}).decode()


def _complaint(code: int, text: str) -> Complaint:
    if code in _REFUSED:
        raise VenueRefused(f"the venue answers {code} {text}")
    if code == _BUSY:
        raise VenueError(f"busy: {text}")
    return Complaint(f"{code} {text}")


def _trade(message: Mapping[str, Any]) -> Trade:
    number = int(message["i"])
    try:
        ts = time_ns(str(message.get("t")))
    except ValueError:
        ts = 0
    if ts < _FIRST_NS:
        return Trade(number, wrong="bad_time")
    try:
        price = fixed.from_number(message.get("p"))
    except ValueError:
        price = 0
    if not 0 < price <= MAX_AMOUNT:
        return Trade(number, wrong="bad_price")
    size = message.get("s")
    if not isinstance(size, int | float) or not 0 < size < float("inf"):
        return Trade(number, wrong="bad_size")
    return Trade(number, ts, price, float(size), _TAKER.get(str(message.get("tks")), 0))
