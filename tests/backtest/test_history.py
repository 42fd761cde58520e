"""Runs over the past of a symbol: a real market data service between the backtest service and a venue of our own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from backtest.conftest import Trader, columns
from google.protobuf.timestamp_pb2 import Timestamp
from graphs import sma_cross
from market_data.venues.fake_coinbase import FakeCoinbase

from algotrade.backtest.build import build
from algotrade.market_data.build import build as build_market_data
from algotrade.platform.bar_columns import records_of
from algotrade.platform.channel import open_channel
from algotrade.platform.errors import info, violations
from algotrade.platform.process import Platform
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

SYMBOL, HOUR = "BTC-USD", 3600
START = 1_700_000_000 // (1500 * HOUR) * 1500 * HOUR
GRAPH = sma_cross(3, 7)


@pytest.fixture
async def venue() -> AsyncIterator[FakeCoinbase]:
    async with FakeCoinbase() as venue:
        wave = (100, 102, 104, 103, 101, 99, 97, 98)
        venue.candles[SYMBOL] = [
            [START + at * HOUR, price - 2, price + 2, price, price + 1, 1.5]
            for at, price in ((at, wave[at % 8]) for at in range(1500))
            if at not in (700, 701)
        ]
        yield venue


@pytest.fixture
async def upstream(serve: Any, platform: Platform, venue: FakeCoinbase, tmp_path: Path) -> Any:
    given = {"data_dir": tmp_path, "coinbase_rest_url": venue.rest_url, "market_providers": ("replay",)}
    on = replace(platform, settings=platform.settings.model_copy(update=given))
    return await serve(build_strategy, build_market_data, on=on)


def hours(first: int = 0, last: int = 1500, **changes: Any) -> types_pb2.HistoryRange:
    given: dict[str, Any] = {
        "symbol": SYMBOL,
        "provider": "coinbase",
        "interval": "1h",
        "start_time": Timestamp(seconds=START + first * HOUR),
        "end_time": Timestamp(seconds=START + last * HOUR),
    }
    return types_pb2.HistoryRange(**given | changes)


async def test_a_range_is_fetched_run_over_and_named_and_is_the_same_as_the_same_bars_brought(
    ada: Trader, bob: Trader, venue: FakeCoinbase
) -> None:
    found = await ada.done(GRAPH, history=hours(100, 900))
    assert found.source == pb.DataSource(origin=pb.DATA_ORIGIN_HISTORY, history=hours(100, 900))
    assert found.name.endswith("BTC-USD 1h")
    assert found.progress.total_bars == 798
    assert found.summary.trades > 0
    fetched = len(venue.requests)

    got = await ada.backtests.GetBars(pb.GetBarsRequest(history=hours(100, 900)))
    assert (got.data_hash, got.source) == (found.data_hash, found.source)
    assert len(venue.requests) == fetched, "what is here is not fetched again"
    brought = await bob.done(GRAPH, bars=columns(records_of(got.bars)))
    assert brought.source == pb.DataSource(origin=pb.DATA_ORIGIN_UPLOADED)
    assert (brought.data_hash, brought.summary.result_hash) == (found.data_hash, found.summary.result_hash)

    again = await ada.done(GRAPH, data_hash=found.data_hash)
    assert (again.source, again.name) == (found.source, found.name)
    assert (await ada.rerun(found)).source == found.source
    listed = (await ada.backtests.ListBacktests(pb.ListBacktestsRequest())).backtests
    assert [one.source for one in listed] == [found.source] * 3


async def test_an_optimisation_takes_a_range_as_well(ada: Trader) -> None:
    graph = sma_cross(3, 7) | {
        "parameters": [{"name": "fast", "type": "int", "default": 3, "min": 2, "max": 6, "step": 1}]
    }
    graph["nodes"] = [
        node | {"data": {"params": {"timeperiod": {"param": "fast"}}}} if node["type"] == "sma" else node
        for node in graph["nodes"]
    ]
    made = await ada.backtests.StartOptimization(
        pb.StartOptimizationRequest(
            graph=json.dumps(graph), history=hours(), axes={"fast": "2,3"}, method=pb.OPTIMIZATION_METHOD_GRID
        )
    )
    assert made.optimization.source.history == hours()
    asked = pb.GetOptimizationRequest(optimization_id=made.optimization.optimization_id)
    assert (await ada.backtests.GetOptimization(asked)).optimization.source == made.optimization.source


async def test_the_sample_and_the_feeds_own_provider_are_named(ada: Trader) -> None:
    sampled = await ada.start(GRAPH)
    assert (sampled.source.origin, sampled.source.history.symbol) == (pb.DATA_ORIGIN_SAMPLE, "AAPL")
    asked = hours(symbol="AAPL", provider="", interval="1d", start_time=Timestamp(seconds=1_672_531_200))
    asked.ClearField("end_time")
    past = await ada.done(GRAPH, history=asked)
    assert (past.source.history.provider, past.progress.total_bars) == ("sample", 501)
    assert past.source.history.end_time.seconds > 1_700_000_000, "until when it went is kept"


async def test_what_is_wrong_is_told_by_field_and_starts_nothing(ada: Trader, venue: FakeCoinbase) -> None:
    async def failure(**fields: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ada.start(GRAPH, **fields)
        return caught.value

    wrong = await failure(history=hours(interval="7m"))
    assert list(violations(wrong)) == ["history.interval"]
    nothing = await failure(history=hours(-3000, -2000))
    assert (nothing.code().name, info(nothing).reason) == ("NOT_FOUND", "DATA_NOT_FOUND")
    venue.answers += [403]
    refused = await failure(history=hours())
    assert (refused.code().name, info(refused).reason) == ("FAILED_PRECONDITION", "HISTORY_REFUSED")
    assert info(refused).metadata["provider"] == "coinbase"
    assert not (await ada.backtests.ListBacktests(pb.ListBacktestsRequest())).backtests


async def test_a_venue_that_is_away_and_a_range_too_long_for_one_call_say_so(
    backtests_on: Any, trader_on: Any, upstream: Any, venue: FakeCoinbase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await trader_on(await backtests_on())
    monkeypatch.setattr("algotrade.backtest.history.SECONDS", 0.3)
    venue.answers += [503] * 50  # tried again, with pauses, for longer than that
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ada.start(GRAPH, history=hours())
    assert (caught.value.code().name, info(caught.value).reason) == ("UNAVAILABLE", "HISTORY_INCOMPLETE")
    assert info(caught.value).metadata["covered_time"] == hours().start_time.ToJsonString()
    monkeypatch.undo()
    venue.answers.clear()
    assert (await ada.start(GRAPH, history=hours())).progress.total_bars == 1498


async def test_without_market_data_runs_over_other_bars_go_on(serve: Any, trader_on: Any, platform: Platform) -> None:
    alone = await serve(build_strategy)
    channel = open_channel(f"127.0.0.1:{alone.port}")
    try:
        ada = await trader_on(await serve(partial(build, upstream=channel), on=platform))
        await ada.done(GRAPH)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ada.start(GRAPH, history=hours())
        assert info(caught.value).reason == "DEPENDENCY_UNAVAILABLE"
    finally:
        await channel.close()
