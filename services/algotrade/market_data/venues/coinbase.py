"""How Coinbase speaks: the Exchange feed (`matches`, `heartbeat`) and Advanced Trade (`market_trades`, `heartbeats`).

Both name the maker's side of a trade; a tick carries the other one, who took the liquidity. Numbers are strings.
`last_match` and snapshots are of the past. Frames of other kinds are passed over: new ones may come any day.
Order books are never asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from algotrade.engine import fixed
from algotrade.engine.records import BUYER, SELLER
from algotrade.market_data.venues.said import Beat, Complaint, Doubt, Said, Trade, Trades
from algotrade.market_data.venues.venue import BadFrameError
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.text_columns import price_units, size_number

EXCHANGE_WS: Final = "wss://ws-feed.exchange.coinbase.com"
ADVANCED_WS: Final = "wss://advanced-trade-ws.coinbase.com"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_NS: Final = 1_262_304_000 * SECOND_NS  # 2010: no time before it is one
# Whose order was resting: the other one was the aggressor.
_AGGRESSOR: Final = {"buy": SELLER, "sell": BUYER, "BUY": SELLER, "SELL": BUYER}


class ExchangeDialect:
    """The Exchange feed."""

    def __init__(self, url: str = EXCHANGE_WS) -> None:
        """Take where it is."""
        self.url = url
        self.opening: Sequence[str] = ()

    def subscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """One frame asks for everything."""
        return [_frame("subscribe", symbols, channels=["matches", "heartbeat"])]

    def unsubscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """Likewise."""
        return [_frame("unsubscribe", symbols, channels=["matches", "heartbeat"])]

    def read(self, frame: str | bytes) -> Sequence[Said]:
        """Return what a frame says."""
        said = _object(frame)
        try:
            match said.get("type"):
                case "match" | "last_match" as kind:
                    return [Trades(said["product_id"], [trade(said)], snapshot=kind == "last_match")]
                case "heartbeat":
                    return [Beat(said["product_id"], _time_ns(said["time"]), int(said["last_trade_id"]))]
                case "error":
                    return [Complaint(f"{said.get('message', '')}: {said.get('reason', '')}")]
        except (KeyError, TypeError, ValueError) as error:
            raise BadFrameError(f"{said.get('type')}: {type(error).__name__} {error}") from None
        return []


class AdvancedDialect:
    """Advanced Trade. Its frames are numbered a connection, all channels together."""

    def __init__(self, url: str = ADVANCED_WS) -> None:
        """Take where it is."""
        self.url = url
        self.opening: Sequence[str] = ()
        self._next: int | None = None

    def subscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """A frame a channel; heartbeats come for all symbols at once."""
        return [_frame("subscribe", symbols, channel="market_trades"), _frame("subscribe", (), channel="heartbeats")]

    def unsubscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """The heartbeats stay."""
        return [_frame("unsubscribe", symbols, channel="market_trades")]

    def read(self, frame: str | bytes) -> Sequence[Said]:
        """Return what a frame says, and a doubt where one before it is missing."""
        said = _object(frame)
        found: list[Said] = []
        number = said.get("sequence_num")
        if isinstance(number, int):
            if self._next is not None and number > self._next:
                found.append(Doubt())
            self._next = max(number + 1, self._next or 0)
        try:
            match said.get("channel"):
                case "market_trades":
                    found += _advanced_trades(said["events"])
                case "heartbeats":
                    found.append(Beat("", _time_ns(said["timestamp"])))
        except (KeyError, TypeError, ValueError) as error:
            raise BadFrameError(f"{said.get('channel')}: {type(error).__name__} {error}") from None
        if said.get("type") == "error":
            found.append(Complaint(str(said.get("message", ""))))
        return found


def trade(said: Mapping[str, Any]) -> Trade:
    """Read a trade, of a frame or of an answer over REST. Raises KeyError or ValueError where it has no number."""
    number = int(said["trade_id"])
    try:
        ts = _time_ns(said["time"])
    except (KeyError, TypeError, ValueError):
        return Trade(number, wrong="bad_time")
    try:
        price = _price(said["price"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return Trade(number, wrong="bad_price")
    try:
        size = _size(said["size"])
    except (KeyError, TypeError, ValueError):
        return Trade(number, wrong="bad_size")
    return Trade(number, ts, price, size, _AGGRESSOR.get(said.get("side", ""), 0))


def _advanced_trades(events: Sequence[Mapping[str, Any]]) -> list[Said]:
    found: list[Said] = []
    for event in events:
        of_symbol: dict[str, list[Trade]] = {}
        for one in event["trades"]:
            of_symbol.setdefault(one["product_id"], []).append(trade(one))
        snapshot = event.get("type") != "update"
        found += [Trades(symbol, trades, snapshot=snapshot) for symbol, trades in of_symbol.items()]
    return found


def _price(text: str) -> int:
    """Units of 1e-8: what nearly all prices look like at once, the rest by the exact rules. ValueError."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if len(whole) <= 9 and len(fraction) <= fixed.DECIMALS and digits.isdecimal() and digits.isascii():
        units = int(whole + fraction.ljust(fixed.DECIMALS, "0"))
        if units:
            return units
    return price_units(text)


def _size(text: str) -> float:
    plain = len(text) <= 30 and text.isascii() and text.replace(".", "", 1).isdecimal()
    return float(text) if plain else size_number(text)


def _time_ns(text: str) -> int:
    """Nanoseconds of an ISO time, in whole microseconds. ValueError for one that cannot be a trade's."""
    since = datetime.fromisoformat(text) - _EPOCH
    ns = (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000
    if ns < _FIRST_NS:
        raise ValueError(f"{text!r} is before there were trades")
    return ns


def _object(frame: str | bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrameError(f"not JSON: {error}") from None
    if not isinstance(said, dict):
        raise BadFrameError("not an object")
    return said


def _frame(kind: str, symbols: Sequence[str], **more: Any) -> str:
    products = {"product_ids": list(symbols)} if symbols else {}
    return orjson.dumps({"type": kind, **products, **more}).decode()
