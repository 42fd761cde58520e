"""Bars of Alpaca: rows become bars, days lie on their dates, and a plan that has none is told in plain words, once."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from algotrade.market_data.history.candles import DAY_NS, CandleSource
from algotrade.market_data.venues.candles import MissingKey, candle_source
from algotrade.market_data.venues.venue import VenueError, VenueRefused
from algotrade.platform.settings import Settings

HOUR = 3_600 * 10**9
START = 1_700_000_000 // 3_600 * HOUR
MIDNIGHT = START // DAY_NS * DAY_NS


class FakeRest:
    """Answers what it is given, once each, to whoever shows the key."""

    def __init__(self) -> None:
        self.answers: deque[tuple[int, Any]] = deque()
        self.asked: list[tuple[str, dict[str, str]]] = []

    def answer(self, connection: ServerConnection, request: Request) -> Response:
        parts = urlsplit(request.path)
        self.asked.append((parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}))
        if (request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY")) != ("id", "secret"):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "{}")
        status, body = self.answers.popleft()
        return connection.respond(HTTPStatus(status), json.dumps(body))


@pytest.fixture
def fake() -> FakeRest:
    return FakeRest()


@pytest.fixture
async def source(fake: FakeRest) -> AsyncIterator[CandleSource]:
    async def nobody(connection: ServerConnection) -> None: ...

    async with serve(nobody, "127.0.0.1", 0, process_request=fake.answer) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings = Settings(
            alpaca_key_id=SecretStr("id"),
            alpaca_key=SecretStr("secret"),
            alpaca_symbols=("AAPL", "BTC-USD=BTC/USD"),
            alpaca_rest_url=f"http://127.0.0.1:{port}",
        )
        source = candle_source("alpaca", settings)
        yield source
        await source.close()


def row(time: str, opened: float, high: float, low: float, closed: float, volume: float = 10) -> dict[str, Any]:
    return {"t": time, "o": opened, "h": high, "l": low, "c": closed, "v": volume, "n": 3, "vw": 1.5}


async def test_rows_of_all_pages_become_bars(source: CandleSource, fake: FakeRest) -> None:
    first, bad = row("2023-11-14T22:00:00Z", 1.5, 3, 1, 2), row("2023-11-14T23:00:00Z", 9, 3, 1, 2)
    last = row("2023-11-15T00:00:00Z", 2, 2, 2, 2, 1)
    fake.answers += [
        (429, {}),
        (200, {"bars": {"AAPL": [first, bad]}, "next_page_token": "more"}),
        (200, {"bars": {"AAPL": [last]}, "next_page_token": None}),
        (200, {"bars": {}, "next_page_token": None}),
    ]
    found = await source.candles("AAPL", HOUR, START, START + 5 * HOUR)
    assert found.bars.tolist() == [
        (START, 150_000_000, 300_000_000, 100_000_000, 200_000_000, 10.0),
        (START + 2 * HOUR, 200_000_000, 200_000_000, 200_000_000, 200_000_000, 1.0),
    ]
    assert dict(found.left_out) == {"bad_price": 1}
    path, asked = fake.asked[2]
    assert (path, asked["symbols"], asked["timeframe"]) == ("/v2/stocks/bars", "AAPL", "1Hour")
    assert (asked["feed"], asked["adjustment"], asked["page_token"]) == ("iex", "split", "more")
    assert (asked["start"], asked["end"]) == ("2023-11-14T22:00:00+00:00", "2023-11-15T02:59:59+00:00")
    assert not len((await source.candles("AAPL", HOUR, START, START + HOUR)).bars)


async def test_a_day_lies_on_its_date_in_summer_and_in_winter(source: CandleSource, fake: FakeRest) -> None:
    days = [row("2023-11-14T05:00:00Z", 1, 1, 1, 1), row("2023-11-15T04:00:00Z", 2, 2, 2, 2)]
    fake.answers += [(200, {"bars": {"AAPL": days}, "next_page_token": None})]
    found = await source.candles("AAPL", DAY_NS, MIDNIGHT, MIDNIGHT + 3 * DAY_NS)
    assert found.bars["ts"].tolist() == [MIDNIGHT, MIDNIGHT + DAY_NS]


async def test_crypto_is_called_by_its_own_name_and_has_no_days(source: CandleSource, fake: FakeRest) -> None:
    fake.answers += [(200, {"bars": {"BTC/USD": [row("2023-11-14T22:00:00Z", 1, 1, 1, 1)]}, "next_page_token": None})]
    assert len((await source.candles("BTC-USD", HOUR, START, START + HOUR)).bars) == 1
    path, asked = fake.asked[0]
    assert (path, asked["symbols"], "feed" in asked) == ("/v1beta3/crypto/us/bars", "BTC/USD", False)
    with pytest.raises(VenueRefused, match="midnight"):
        await source.candles("BTC-USD", DAY_NS, MIDNIGHT, MIDNIGHT + DAY_NS)


async def test_a_plan_without_them_is_told_and_not_asked_again(source: CandleSource, fake: FakeRest) -> None:
    fake.answers += [(403, {"message": "subscription does not permit querying recent SIP data"})]
    with pytest.raises(VenueRefused, match=r"your plan does not include this.*recent SIP"):
        await source.candles("AAPL", HOUR, START, START + HOUR)
    assert len(fake.asked) == 1
    for strange in ({"bars": 7}, [], {"bars": {"AAPL": [{"t": "x"}]}}):
        fake.answers += [(200, strange)]
        with pytest.raises(VenueError, match="unreadable"):
            await source.candles("AAPL", HOUR, START, START + HOUR)


def test_without_a_key_nobody_is_asked() -> None:
    with pytest.raises(MissingKey, match="ALGOTRADE_ALPACA_KEY"):
        candle_source("alpaca", Settings())
