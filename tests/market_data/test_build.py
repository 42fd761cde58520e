"""Composing the service: feeds by the settings, refused where they do not fit together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from market_data.feeds import ManualFeed, ramp

from algotrade.market_data.build import FeedsError, build, feeds_of
from algotrade.platform import limits
from algotrade.platform.bars_file import BarFileError
from algotrade.platform.clock import SystemClock
from algotrade.platform.http import AddressError
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.v1.market_data_service_pb2 import ListSymbolsRequest, StreamTicksRequest
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub


async def test_the_settings_name_the_feeds(tmp_path: Path) -> None:
    both = await feeds_of(Settings(data_dir=tmp_path, synthetic_symbols=("X-USD",)), SystemClock(), Metrics())
    symbols = [symbol for feed in both for symbol in feed.symbols]
    assert [(symbol.name, symbol.provider, symbol.bars, symbol.live) for symbol in symbols] == [
        ("X-USD", "synthetic", False, True),
        ("AAPL", "replay", True, False),
    ]
    trades = tmp_path / "trades.csv"
    trades.write_text("timestamp,price,size\n1700000000,10.5,2\n")
    settings = Settings(market_providers=("replay",), replay_path=trades, replay_symbol="TT")
    [only] = await feeds_of(settings, SystemClock(), Metrics())
    assert [(symbol.name, symbol.bars) for symbol in only.symbols] == [("TT", False)]


async def test_a_replay_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(market_providers=("replay",), replay_path=tmp_path / "absent.csv")
    with pytest.raises(BarFileError, match=r"absent\.csv"):
        await feeds_of(settings, SystemClock(), Metrics())


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ([ManualFeed("AAA"), ManualFeed("BBB", "AAA")], "AAA"),
        ([ManualFeed("aaa")], "aaa"),
        ([ManualFeed(*(f"S{number}" for number in range(limits.MAX_SYMBOLS + 1)))], str(limits.MAX_SYMBOLS)),
    ],
    ids=["twice", "spelling", "too many"],
)
async def test_feeds_that_cannot_be_served_stop_the_start(platform: Platform, feeds: Any, message: str) -> None:
    with pytest.raises(FeedsError, match=message):
        async with build(platform, feeds=feeds):
            pass


async def test_the_built_in_feeds_are_served(serve: Any, connect: Any, platform: Platform, user: str) -> None:
    stub: Any = MarketDataServiceStub(connect(await serve(build), user))
    listed = await stub.ListSymbols(ListSymbolsRequest())
    assert [(symbol.symbol, symbol.provider, symbol.bars) for symbol in listed.symbols] == [
        ("AAPL", "replay", True),
        ("BTC-USD", "synthetic", False),
        ("ETH-USD", "synthetic", False),
    ]
    for symbol in listed.symbols:
        call = stub.StreamTicks(StreamTicksRequest(symbol=symbol.symbol, after_sequence=0))
        assert (await call.read()).ticks.first_sequence == 1


async def test_a_second_start_on_taken_ports_leaves_the_first_one_writing(
    serve: Any, connect: Any, platform: Platform, user: str
) -> None:
    feed = ManualFeed("AAA", live=False)
    server = await serve(partial(build, feeds=[feed]))
    taken = platform.settings.model_copy(update={"http_address": f"127.0.0.1:{server.port}"})
    with pytest.raises(AddressError):
        await serve(partial(build, feeds=[ManualFeed("AAA")]), on=replace(platform, settings=taken))
    feed.push("AAA", ramp(0, 3))
    call = MarketDataServiceStub(connect(server, user)).StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=0))
    first = await call.read()
    assert (first.ticks.first_sequence, first.epoch) == (1, 1)
