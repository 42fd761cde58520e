"""Alpaca: a key first, lists of messages, and what it means when it says no."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from market_data.venues.readers import counted, reading
from pydantic import ValidationError
from websockets.asyncio.server import ServerConnection, serve

from algotrade.engine.fixed import SCALE
from algotrade.engine.records import BUYER, SELLER
from algotrade.market_data.feed import FeedState
from algotrade.market_data.venues.alpaca import AlpacaDialect
from algotrade.market_data.venues.build import alpaca_feed
from algotrade.market_data.venues.said import Complaint, Trade, Trades
from algotrade.market_data.venues.venue import BadFrameError, VenueError, VenueRefused
from algotrade.platform.clock import SystemClock
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

KEY, SECRET = "an-id", "a-secret"
START = 1_714_564_800_123_456_789
TRADE = {"T": "t", "S": "AAPL", "i": 71, "x": "V", "p": 190.25, "s": 100, "c": ["@"], "z": "C"}
TRADE |= {"t": "2024-05-01T12:00:00.123456789Z"}


def read(*messages: Any) -> list[Any]:
    dialect = AlpacaDialect(KEY, SECRET, {"AAPL": "AAPL", "BTC-USD": "BTC/USD"})
    return list(dialect.read(json.dumps(messages)))


def test_messages_of_a_frame_are_sorted_by_symbol() -> None:
    coins = [TRADE | {"S": "BTC/USD", "p": 60000.5, "s": 0.25, "tks": side} for side in ("B", "S")]
    assert read(TRADE, *coins, {"T": "success", "msg": "authenticated"}, TRADE | {"S": "MSFT"}, {"T": "b"}) == [
        Trades("AAPL", [Trade(71, START, 19_025_000_000, 100.0)]),
        Trades("BTC-USD", [Trade(71, START, 6_000_050_000_000, 0.25, flag) for flag in (BUYER, SELLER)]),
    ]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"t": "0001-01-01T00:00:00Z"}, "bad_time"),
        ({"t": None}, "bad_time"),
        ({"p": 0}, "bad_price"),
        ({"p": "x"}, "bad_price"),
        ({"s": 0}, "bad_size"),
        ({"s": None}, "bad_size"),
    ],
)
def test_a_trade_that_cannot_be_says_why(changes: dict[str, Any], wrong: str) -> None:
    assert read(TRADE | changes) == [Trades("AAPL", [Trade(71, wrong=wrong)])]


@pytest.mark.parametrize("frame", ["{", "7", "[7]", '[{"T":"t","S":"AAPL"}]', '[{"T":"error","code":"x"}]'])
def test_what_is_no_frame_is_refused(frame: str) -> None:
    with pytest.raises(BadFrameError):
        AlpacaDialect(KEY, SECRET, {"AAPL": "AAPL"}).read(frame)


def test_a_no_is_for_good_or_for_now() -> None:
    with pytest.raises(VenueRefused, match="402 auth failed"):
        read({"T": "error", "code": 402, "msg": "auth failed"})
    with pytest.raises(VenueError, match="busy"):
        read({"T": "error", "code": 406, "msg": "connection limit exceeded"})
    assert read({"T": "error", "code": 405, "msg": "symbol limit exceeded"}) == [Complaint("405 symbol limit exceeded")]


class FakeAlpaca:
    """Takes one key, and is busy as often as it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.busy = 0
        self.tries = 0
        self.ws_url = ""

    async def talk(self, connection: ServerConnection) -> None:
        self.tries += 1
        await self.say(connection, {"T": "success", "msg": "connected"})
        shown = json.loads(await connection.recv())
        if (shown["action"], shown["key"], shown["secret"]) != ("auth", KEY, SECRET):
            await self.say(connection, {"T": "error", "code": 402, "msg": "auth failed"})
            return
        if self.busy:
            self.busy -= 1
            await self.say(connection, {"T": "error", "code": 406, "msg": "connection limit exceeded"})
            return
        await self.say(connection, {"T": "success", "msg": "authenticated"})
        self.asked.append(json.loads(await connection.recv()))
        await self.say(connection, TRADE, TRADE | {"i": 72, "p": 191})
        await self.say(connection, TRADE | {"i": 72, "p": 191}, TRADE | {"i": 73, "p": 192})
        await connection.wait_closed()

    async def say(self, connection: ServerConnection, *messages: Any) -> None:
        await connection.send(json.dumps(messages).encode())


@pytest.fixture
async def venue() -> AsyncIterator[FakeAlpaca]:
    venue = FakeAlpaca()
    async with serve(venue.talk, "127.0.0.1", 0, close_timeout=0.2) as server:
        venue.ws_url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield venue


def feed_of(venue: FakeAlpaca, metrics: Metrics, secret: str = SECRET) -> Any:
    settings = Settings(
        alpaca_key_id=KEY,
        alpaca_key=secret,
        alpaca_ws_url=venue.ws_url,
        venue_backoff_seconds=0.01,
        venue_most_backoff_seconds=0.05,
    )
    return alpaca_feed(settings, SystemClock(), metrics)


async def test_the_key_comes_first_and_a_busy_key_is_waited_for(venue: FakeAlpaca) -> None:
    venue.busy, metrics = 2, Metrics()
    async with reading(feed_of(venue, metrics), "AAPL") as reader:
        await reader.until(lambda: len(reader.prices) >= 3)
    assert [price / SCALE for price in reader.prices] == [190.25, 191, 192]
    assert venue.asked == [{"action": "subscribe", "trades": ["AAPL"]}]
    assert counted(metrics, "alpaca", "disconnects_total", cause="busy") == 2
    assert counted(metrics, "alpaca", "rejected_total", reason="duplicates") == 1


async def test_a_wrong_key_ends_it(venue: FakeAlpaca) -> None:
    async with reading(feed_of(venue, Metrics(), "wrong"), "AAPL") as reader:
        await reader.until(lambda: reader.ended)
    assert reader.states == [FeedState.STALE]
    assert "auth failed" in reader.details[0]
    await asyncio.sleep(0)
    assert venue.tries == 1


def test_without_a_key_it_does_not_start() -> None:
    with pytest.raises(ValidationError, match="ALGOTRADE_ALPACA_KEY_ID"):
        Settings(market_providers=("alpaca",), alpaca_key="x")
