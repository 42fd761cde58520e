"""Bars of Finnhub: columns become bars, and a plan that has none is told in plain words, once."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from algotrade.market_data.venues.finnhub_candles import FinnhubCandles
from algotrade.market_data.venues.rest import Rest
from algotrade.market_data.venues.venue import VenueError, VenueRefused

HOUR = 3_600 * 10**9
START_S = 1_700_000_000 // 3_600 * 3_600
START = START_S * 10**9
KEY = "a-key-of-our-own"
GOOD = {"s": "ok", "t": [START_S, START_S + 3_600], "o": [1.5, 2], "h": [3, 2], "l": [1, 3], "c": [2, 2], "v": [10, 1]}


class FakeRest:
    """Answers what it is given, once each, to whoever shows the key."""

    def __init__(self) -> None:
        self.answers: deque[tuple[int, Any]] = deque()
        self.asked: list[str] = []

    def answer(self, connection: ServerConnection, request: Request) -> Response:
        self.asked.append(request.path)
        if request.headers.get("X-Finnhub-Token") != KEY:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "{}")
        status, body = self.answers.popleft()
        return connection.respond(HTTPStatus(status), json.dumps(body))


@pytest.fixture
def fake() -> FakeRest:
    return FakeRest()


@pytest.fixture
async def source(fake: FakeRest) -> AsyncIterator[FinnhubCandles]:
    async def nobody(connection: ServerConnection) -> None: ...

    async with serve(nobody, "127.0.0.1", 0, process_request=fake.answer) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        rest = Rest(f"http://127.0.0.1:{port}", {"X-Finnhub-Token": KEY}, a_second=10_000)
        source = FinnhubCandles(rest, {"BTC": "BINANCE:BTCUSDT"})
        yield source
        await source.close()


async def test_columns_become_bars(source: FinnhubCandles, fake: FakeRest) -> None:
    fake.answers += [(429, {}), (200, GOOD), (200, {"s": "no_data"})]
    found = await source.candles("AAPL", HOUR, START, START + 5 * HOUR)
    assert found.bars.tolist() == [(START, 150_000_000, 300_000_000, 100_000_000, 200_000_000, 10.0)]
    assert dict(found.left_out) == {"bad_price": 1}
    assert fake.asked[-1].endswith(f"symbol=AAPL&resolution=60&from={START_S}&to={START_S + 4 * 3_600}")
    assert not len((await source.candles("AAPL", HOUR, START, START + HOUR)).bars)


async def test_a_plan_without_them_is_told_and_not_asked_again(source: FinnhubCandles, fake: FakeRest) -> None:
    fake.answers += [(403, {"error": "You don't have access to this resource."})]
    with pytest.raises(VenueRefused, match="your plan does not include"):
        await source.candles("AAPL", HOUR, START, START + HOUR)
    assert len(fake.asked) == 1
    fake.answers += [(200, {"s": "ok", "t": [1]})]
    with pytest.raises(VenueError, match="unreadable"):
        await source.candles("AAPL", HOUR, START, START + HOUR)


async def test_days_lie_on_their_dates_and_crypto_is_called_by_its_own_name(
    source: FinnhubCandles, fake: FakeRest
) -> None:
    day = 24 * HOUR
    begin = START // day * day
    at = begin // 10**9 + 5 * 3_600  # midnight in New York
    told = {"s": "ok", "t": [at], "o": [2], "h": [2], "l": [2], "c": [2], "v": [1]}
    fake.answers += [(200, told), (200, told)]
    assert (await source.candles("AAPL", day, begin, begin + day)).bars["ts"].tolist() == [begin]
    assert len((await source.candles("BTC", day, begin, begin + day)).bars) == 1
    assert [path.split("?")[0] for path in fake.asked] == ["/api/v1/stock/candle", "/api/v1/crypto/candle"]
    assert "symbol=BINANCE%3ABTCUSDT" in fake.asked[1]
