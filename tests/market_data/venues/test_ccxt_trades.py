"""Trades through ccxt.pro: what is new becomes ticks, a lost connection a gap. ccxt is an extra: its place is taken."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from market_data.venues.readers import counted, reading
from pydantic import ValidationError

from algotrade.engine.fixed import SCALE
from algotrade.engine.records import BUYER, SELLER
from algotrade.market_data.feed import FeedState, Resume
from algotrade.market_data.venues.build import ccxt_feed
from algotrade.market_data.venues.feed import VenueFeed
from algotrade.platform.clock import SystemClock
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

NAME, SYMBOL = "ccxt.kraken", "BTC-USD"
CLOCK = SystemClock()


class BaseError(Exception): ...


class NetworkError(BaseError): ...


class AuthenticationError(BaseError): ...


class Exchange:
    """Says what it is given to say of a symbol, and then waits for more."""

    follows = True

    def __init__(self, options: dict[str, Any], said: dict[str, asyncio.Queue[Any]], log: list[str]) -> None:
        assert options == {"enableRateLimit": True, "newUpdates": True}
        self.has = {"watchTrades": self.follows}
        self._said, self._log = said, log
        log.append("opened")

    async def watch_trades(self, symbol: str) -> list[dict[str, Any]]:
        self._log.append(symbol)
        found = await self._said.setdefault(symbol, asyncio.Queue()).get()
        if isinstance(found, Exception):
            raise found
        return list(found)

    async def close(self) -> None:
        self._log.append("closed")


class Library:
    """The module ccxt.pro with exchanges of ours."""

    def __init__(self) -> None:
        self.said: dict[str, asyncio.Queue[Any]] = {}
        self.log: list[str] = []
        self.module: Any = ModuleType("ccxt.pro")
        self.module.exchanges = ["kraken", "coinbase"]
        self.module.kraken = self.module.coinbase = partial(Exchange, said=self.said, log=self.log)
        self.module.BaseError, self.module.NetworkError = BaseError, NetworkError

    def say(self, found: object, symbol: str = "BTC/USD") -> None:
        self.said.setdefault(symbol, asyncio.Queue()).put_nowait(found)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    package: Any = ModuleType("ccxt")
    package.pro = library.module
    monkeypatch.setitem(sys.modules, "ccxt", package)
    monkeypatch.setitem(sys.modules, "ccxt.pro", library.module)
    return library


def feed_of(name: str = NAME, metrics: Metrics | None = None, **changes: Any) -> VenueFeed:
    settings = Settings(market_providers=(name,), venue_backoff_seconds=0.001, **changes)
    return ccxt_feed(name, settings, CLOCK, metrics or Metrics())


def trade(price: float, identity: str, side: str = "buy", later_ms: int = 1_000, **changes: Any) -> dict[str, Any]:
    at_ms = CLOCK.now_ns() // 1_000_000 + later_ms
    return {"id": identity, "timestamp": at_ms, "price": price, "amount": 0.5, "side": side} | changes


async def test_trades_become_ticks_once_and_the_past_does_not(library: Library) -> None:
    metrics = Metrics()
    feed = feed_of(metrics=metrics)
    library.say([trade(99, "a1", later_ms=-60_000), trade(100.25, "a2")])
    again = trade(101, "7", "sell")
    library.say([again])
    library.say([again, trade(102, "8", side="none"), trade(-1, "9"), trade(1, "10", amount=0), {"id": "11"}])
    async with reading(feed, SYMBOL) as reader:
        await reader.until(lambda: len(reader.prices) == 3)
        assert reader.prices == [100.25 * SCALE, 101 * SCALE, 102 * SCALE]
        assert reader.sides == [BUYER, SELLER, 0]
        await feed.probe()
    assert library.log[:2] == ["opened", "BTC/USD"]
    assert library.log[-1] == "closed"
    rejected = {reason: counted(metrics, NAME, "rejected_total", reason=reason) for reason in ("bad_price", "bad_size")}
    assert rejected == {"bad_price": 1, "bad_size": 1}
    assert counted(metrics, NAME, "rejected_total", reason="bad_frame") == 1
    assert counted(metrics, NAME, "rejected_total", reason="duplicates") == 1


async def test_a_lost_connection_is_a_gap_and_is_made_anew(library: Library) -> None:
    feed = feed_of()
    library.say([trade(100, "1")])
    library.say(NetworkError("gone"))
    async with reading(feed, SYMBOL, Resume(1, 5, 1, 1, FeedState.LIVE)) as reader:
        await reader.becomes("GAP", "LIVE", "GAP")
        library.say([trade(101, "2")])
        await reader.becomes("GAP", "LIVE", "GAP", "LIVE")
        await reader.until(lambda: len(reader.prices) == 2)
    assert reader.details[2:] == ["NetworkError: gone", "what was missed nobody knows"]
    assert [word for word in library.log if "/" not in word] == ["opened", "closed"] * 2


async def test_coinbase_tells_makers_and_a_symbol_may_be_called_otherwise(library: Library) -> None:
    feed = feed_of("ccxt.coinbase", ccxt_symbols=("BTC-PERP=BTC/USD:USD", "BTC-USD"))
    library.say([trade(100, "1", "buy"), trade(100, "2", "sell")], "BTC/USD:USD")
    async with reading(feed, "BTC-PERP") as reader:
        await reader.until(lambda: len(reader.sides) == 2)
        assert reader.sides == [SELLER, BUYER]


async def test_a_silent_symbol_is_asked_for_anew(library: Library) -> None:
    feed = feed_of(ccxt_silence_seconds=0.05)
    async with reading(feed, SYMBOL):
        async with asyncio.timeout(20):
            while library.log.count("opened") < 2:  # noqa: ASYNC110  (what is waited for sets no event)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        (NAME, AuthenticationError("no"), "AuthenticationError: no"),
        ("ccxt.nowhere", None, "follows no exchange nowhere"),
        (NAME, "absent", "not installed"),
        (NAME, "deaf", "does not follow"),
    ],
)
async def test_a_no_is_for_good(
    library: Library, monkeypatch: pytest.MonkeyPatch, name: str, error: Any, why: str
) -> None:
    if error == "absent":
        monkeypatch.setitem(sys.modules, "ccxt.pro", None)
        monkeypatch.delattr(sys.modules["ccxt"], "pro")
    elif error == "deaf":
        monkeypatch.setattr(Exchange, "follows", False)
    elif error is not None:
        library.say(error)
    async with reading(feed_of(name), SYMBOL) as reader:
        await reader.until(lambda: reader.ended)
        assert (reader.states, why in reader.details[0]) == ([FeedState.STALE], True), reader.details


def test_only_names_of_exchanges_are_providers() -> None:
    with pytest.raises(ValidationError):
        Settings(market_providers=("ccxt.",))
    with pytest.raises(ValidationError):
        Settings(market_providers=("nowhere",))
