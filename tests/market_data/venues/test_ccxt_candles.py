"""Bars through ccxt: asked for in its words, its errors in ours. ccxt is an extra, so its place is taken here."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from algotrade.market_data.venues.ccxt_candles import CcxtCandles
from algotrade.market_data.venues.venue import VenueError, VenueRefused

MINUTE = 60 * 10**9
START = 1_700_000_040 * 10**9
START_MS = START // 10**6


class BaseError(Exception): ...


class NetworkError(BaseError): ...


class Exchange:
    """Answers what it is given, once each; then nothing."""

    timeframes = {"1m": 60, "1h": 3600, "3d": 1, "1w": 1}  # noqa: RUF012
    answers: list[Any] = []  # noqa: RUF012
    asked: list[Any] = []  # noqa: RUF012

    def __init__(self, options: dict[str, Any]) -> None:
        assert options["enableRateLimit"]

    async def fetch_ohlcv(self, *wanted: Any, **more: Any) -> list[Any]:
        self.asked.append((*wanted, more))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    async def close(self) -> None:
        self.asked.append("closed")


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> CcxtCandles:
    module: Any = ModuleType("ccxt.async_support")
    module.exchanges, module.kraken = ["kraken"], Exchange
    module.BaseError, module.NetworkError = BaseError, NetworkError
    package: Any = ModuleType("ccxt")
    package.async_support = module
    monkeypatch.setitem(sys.modules, "ccxt", package)
    monkeypatch.setitem(sys.modules, "ccxt.async_support", module)
    monkeypatch.setattr(Exchange, "answers", [])
    monkeypatch.setattr(Exchange, "asked", [])
    return CcxtCandles("ccxt.kraken")


async def test_bars_are_asked_for_and_read_exactly(source: CcxtCandles) -> None:
    Exchange.answers = [
        [
            [START_MS, 100.5, 101, 99.25, 100, 1.5],
            [START_MS + 60_000, 5, 4, 3, 5, 1],
            [START_MS + 120_000, 100, 101, 99, 100, 2],
        ]
    ]
    found = await source.candles("BTC-USD", MINUTE, START, START + 2 * MINUTE)
    assert Exchange.asked == [("BTC/USD", "1m", {"since": START_MS, "limit": 2})]
    assert found.bars.tolist() == [(START, 10_050_000_000, 10_100_000_000, 9_925_000_000, 10_000_000_000, 1.5)]
    assert dict(found.left_out) == {"bad_price": 1}
    assert source.intervals == {"1m": MINUTE, "1h": 60 * MINUTE}
    await source.close()
    assert Exchange.asked[-1] == "closed"


async def test_what_passes_is_tried_again_and_a_no_is_not(source: CcxtCandles) -> None:
    Exchange.answers = [NetworkError("429"), []]
    assert not len((await source.candles("A-B", MINUTE, START, START + MINUTE)).bars)
    Exchange.answers = [BaseError("no such symbol"), []]
    with pytest.raises(VenueRefused, match="no such symbol"):
        await source.candles("A-B", MINUTE, START, START + MINUTE)
    Exchange.answers = [[["x"]]]
    with pytest.raises(VenueError, match="unreadable"):
        await source.candles("A-B", MINUTE, START, START + MINUTE)


def test_what_is_not_there_is_said(source: CcxtCandles, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VenueRefused, match="nowhere"):
        CcxtCandles("ccxt.nowhere")
    monkeypatch.setitem(sys.modules, "ccxt.async_support", None)
    with pytest.raises(VenueRefused, match="pip install"):
        CcxtCandles("ccxt.kraken")
