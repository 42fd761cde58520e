"""ListHistory through its door: a range page by page, from a venue of our own, and what it says when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from market_data.feeds import ManualFeed, made
from market_data.venues.fake_coinbase import FakeCoinbase

from algotrade.engine.records import Records
from algotrade.market_data.build import build
from algotrade.market_data.feed import FeedChange, FeedState
from algotrade.platform import limits
from algotrade.platform.bar_columns import records_of
from algotrade.platform.errors import info, violations
from algotrade.platform.process import Platform
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

SYMBOL, MINUTE = "BTC-USD", 60
CHUNK = limits.BARS_A_CHUNK
START = 1_700_000_000 // (CHUNK * MINUTE) * CHUNK * MINUTE
HOLES = {3, 1600}
Open = Callable[..., Awaitable[Any]]


@pytest.fixture
async def venue() -> AsyncIterator[FakeCoinbase]:
    async with FakeCoinbase() as venue:
        venue.candles[SYMBOL] = [
            [START + at * MINUTE, 99.5, 101.25, 100 + at % 2, 100.01, 0.5 + at] for at in range(4000) if at not in HOLES
        ]
        yield venue


@pytest.fixture
async def open_stub(
    serve: Any, connect: Any, platform: Platform, user: str, venue: FakeCoinbase, tmp_path: Path
) -> Open:
    """Serve, under changed settings if asked, beside the venue; with a feed where one is given."""

    async def open_with(*feeds: ManualFeed, **changes: object) -> Any:
        given = {"data_dir": tmp_path, "coinbase_rest_url": venue.rest_url, "market_providers": ("replay",), **changes}
        on = replace(platform, settings=platform.settings.model_copy(update=given))

        def builder(at: Platform) -> Any:
            return build(at, feeds or None)

        return MarketDataServiceStub(connect(await serve(builder, on=on), user))

    return open_with


def at(minute: int) -> Timestamp:
    return Timestamp(seconds=START + minute * MINUTE)


def asked(first: int = 0, last: int | None = 4000, **changes: Any) -> types_pb2.HistoryRange:
    given = {"symbol": SYMBOL, "provider": "coinbase", "interval": "1m", "start_time": at(first)}
    if last is not None:
        given["end_time"] = at(last)
    return types_pb2.HistoryRange(**given | changes)


async def pages(stub: Any, **fields: Any) -> list[pb.ListHistoryResponse]:
    found: list[pb.ListHistoryResponse] = []
    while not found or found[-1].next_page_token:
        token = found[-1].next_page_token if found else ""
        found.append(await stub.ListHistory(pb.ListHistoryRequest(page_token=token, **fields)))
    return found


def minutes(found: list[pb.ListHistoryResponse]) -> list[int]:
    return [(ts // 10**9 - START) // MINUTE for page in found for ts in page.bars.times_nanos]


async def failure(call: Awaitable[Any]) -> tuple[str, str, dict[str, str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code().name, info(error).reason, violations(error), error.details() or ""


async def test_a_range_comes_in_pages_is_fetched_once_and_keeps_its_holes(open_stub: Open, venue: FakeCoinbase) -> None:
    stub = await open_stub()
    found = await pages(stub, history=asked(100, 3900))
    assert minutes(found) == [minute for minute in range(100, 3900) if minute not in HOLES]
    assert [(page.covered_time.seconds - START) // MINUTE for page in found] == [1500, 3000, 3900]
    assert [page.bar_count for page in found] == [len(page.bars.times_nanos) for page in found]
    assert sum(page.fetched_count for page in found) == 4000 - len(HOLES)
    assert {page.provider for page in found} == {"coinbase"}
    first = records_of(found[0].bars)[0].tolist()
    assert first[1:] == (10_000_000_000, 10_125_000_000, 9_950_000_000, 10_001_000_000, 100.5)
    requests = len(venue.requests)
    again = await pages(stub, history=asked(0, 4000), page_size=6000)
    assert minutes(again) == [minute for minute in range(4000) if minute not in HOLES]
    assert [page.fetched_count for page in again] == [0]
    assert len(venue.requests) == requests


async def test_bars_may_be_left_out_of_the_answer(open_stub: Open) -> None:
    stub = await open_stub()
    [page] = await pages(stub, history=asked(0, 1000), omit_bars=True)
    assert (page.HasField("bars"), page.bar_count) == (False, 999)


async def test_the_feed_names_the_provider_and_the_sample_asks_nobody(open_stub: Open, venue: FakeCoinbase) -> None:
    stub = await open_stub()
    [symbol] = (await stub.ListSymbols(pb.ListSymbolsRequest())).symbols
    assert symbol.history_provider == "sample"
    range_ = asked(symbol="AAPL", provider="", interval="1d", start_time=Timestamp(seconds=1_704_153_600))
    range_.end_time.seconds = 1_704_412_800
    [page] = await pages(stub, history=range_)
    assert page.provider == "sample"
    assert [ts // 10**9 for ts in page.bars.times_nanos] == [1_704_153_600, 1_704_240_000, 1_704_326_400]
    assert venue.requests == []
    listed = (await stub.ListHistoryProviders(pb.ListHistoryProvidersRequest())).providers
    assert [(one.provider, list(one.symbols)) for one in listed] == [("coinbase", []), ("sample", ["AAPL"])]
    assert list(listed[0].intervals) == ["1m", "5m", "15m", "30m", "1h", "4h", "6h", "1d"]
    page = await stub.ListHistoryProviders(pb.ListHistoryProvidersRequest(page_size=1))
    rest = await stub.ListHistoryProviders(pb.ListHistoryProvidersRequest(page_token=page.next_page_token))
    assert [one.provider for one in (*page.providers, *rest.providers)] == ["coinbase", "sample"]


WRONG = (
    ({"provider": "nowhere"}, "history.provider", "there are coinbase, sample"),
    ({"provider": ""}, "history.provider", "name one of"),
    ({"interval": "7m"}, "history.interval", "1m, 5m, 15m"),
    ({"end_time": at(0)}, "history.end_time", "not after"),
    ({"start_time": Timestamp(seconds=4_000_000_000), "end_time": None}, "history.end_time", "future"),
    ({"end_time": at(limits.MAX_RANGE_BARS + 1)}, "history.end_time", str(limits.MAX_RANGE_BARS)),
)


async def test_a_range_that_cannot_be_is_refused_by_field(open_stub: Open, venue: FakeCoinbase) -> None:
    stub = await open_stub()
    for changes, field, sentence in WRONG:
        code, reason, found, _ = await failure(stub.ListHistory(pb.ListHistoryRequest(history=asked(**changes))))
        assert (code, reason, list(found)) == ("INVALID_ARGUMENT", "FIELD_INVALID", [field])
        assert sentence in found[field]
    assert venue.requests == []


async def test_a_page_token_belongs_to_its_range(open_stub: Open) -> None:
    stub = await open_stub()
    token = (await stub.ListHistory(pb.ListHistoryRequest(history=asked(), page_size=10))).next_page_token
    assert token
    other = pb.ListHistoryRequest(history=asked(interval="5m"), page_token=token)
    assert (await failure(stub.ListHistory(other)))[:2] == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_what_a_venue_says_reaches_the_client(open_stub: Open, venue: FakeCoinbase) -> None:
    stub = await open_stub(history_seconds=1.5)
    request = pb.ListHistoryRequest(history=asked())
    venue.answers += [404]
    assert (await failure(stub.ListHistory(request)))[:2] == ("NOT_FOUND", "SYMBOL_NOT_FOUND")
    venue.answers += [403]
    assert (await failure(stub.ListHistory(request)))[:2] == ("FAILED_PRECONDITION", "HISTORY_REFUSED")
    venue.answers += [503] * 20
    code, reason, _, text = await failure(stub.ListHistory(request))
    assert (code, reason) == ("UNAVAILABLE", "HISTORY_UNAVAILABLE")
    assert "what came is kept" in text
    assert len(venue.answers) >= 16, "the channel does not call again by itself"
    venue.answers.clear()
    assert (await stub.ListHistory(request)).bar_count == CHUNK - 1


def files(folder: Path, of: str = "*") -> list[Path]:
    return list(folder.glob(f"history/{of}/*/*/*.parquet"))


async def test_a_damaged_file_is_fetched_again_and_the_cache_is_bounded(
    open_stub: Open, venue: FakeCoinbase, tmp_path: Path
) -> None:
    stub = await open_stub()
    await pages(stub, history=asked(0, 1500))
    [file] = files(tmp_path, "coinbase")
    file.write_bytes(b"PAR1 no more")
    assert minutes(await pages(stub, history=asked(0, 10))) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    imported = tmp_path / "history" / "own" / "MINE" / "1m" / "0_60000000000.parquet"
    imported.parent.mkdir(parents=True)
    imported.write_bytes(file.read_bytes())
    small = await open_stub(history_bytes=file.stat().st_size)
    await pages(small, history=asked(1500, 3000))
    kept = [path.name for path in files(tmp_path)]
    assert len(kept) == 2
    assert file.name not in kept, "what was fetched longest ago"
    assert imported.name in kept, "nobody could fetch it again"


async def test_longer_bars_are_made_of_the_providers_own(open_stub: Open, venue: FakeCoinbase) -> None:
    stub = await open_stub()
    venue.candles[SYMBOL] = [
        [START + at * 900, 90 + at, 200 + at, 100 + at, 101 + at, 1] for at in range(20) if at != 7
    ]
    quarters = asked(interval="15m", end_time=at(20 * 15))
    half = asked(30, interval="30m", end_time=at(20 * 15))
    [whole] = await pages(stub, history=quarters)
    [halves] = await pages(stub, history=half)
    made = records_of(halves.bars)
    assert minutes([halves]) == list(range(30, 300, 30))
    own = {(bar["ts"] // 10**9 - START) // 900: bar for bar in records_of(whole.bars)}
    for bar in made:
        first = int((bar["ts"] // 10**9 - START) // 900)
        parts = [own[one] for one in (first, first + 1) if one in own]
        assert (bar["open"], bar["close"]) == (parts[0]["open"], parts[-1]["close"])
        assert (bar["high"], bar["low"]) == (max(p["high"] for p in parts), min(p["low"] for p in parts))
        assert bar["volume"] == sum(p["volume"] for p in parts)


async def settled(stub: Any, symbol: str, sequence: int) -> None:
    async with asyncio.timeout(20):
        while (await stub.GetWindow(pb.GetWindowRequest(symbol=symbol, limit=1))).last_sequence < sequence:
            pass


def trade(minute: float, price: int = 100) -> Records:
    return made(((START + round(minute * MINUTE)) * 10**9, price * 10**8))


async def bars_of(stub: Any, **fields: Any) -> list[pb.Bar]:
    found, token = [], ""
    while True:
        request = pb.ListBarsRequest(symbol=SYMBOL, interval="1m", page_token=token, **fields)
        page = await stub.ListBars(request)
        assert len(page.bars) <= (fields.get("page_size") or 500)
        found += page.bars
        token = page.next_page_token
        if not token:
            return found


def places(bars: list[pb.Bar]) -> list[int]:
    return [(bar.start_time.seconds - START) // MINUTE for bar in bars]


async def test_bars_before_the_window_are_those_of_the_past(open_stub: Open, venue: FakeCoinbase) -> None:
    feed = ManualFeed(SYMBOL, live=False)
    feed.symbols = tuple(replace(symbol, provider="coinbase") for symbol in feed.symbols)
    stub = await open_stub(feed)
    for minute in (2000, 2001.5, 2002, 2003.25):
        feed.push(SYMBOL, trade(minute))
    await settled(stub, SYMBOL, 4)
    plain = await bars_of(stub)
    assert places(plain) == [2000, 2001, 2002, 2003]
    assert venue.requests == [], "without a time nothing of the past is asked for"
    for size in (0, 7, 5000):
        found = await bars_of(stub, after_time=at(1400), page_size=size)
        assert places(found) == [minute for minute in range(1401, 2004) if minute not in HOLES]
        assert [bar.past for bar in found] == [minute < 2000 for minute in places(found)]
        assert {bar.source for bar in found} == {"coinbase"}
        assert [bar for bar in found if not bar.past] == plain
        assert found[0].volume == 1401.5
    cut = await bars_of(stub, after_time=at(1990), before_time=at(2002))
    assert places(cut) == list(range(1991, 2002))
    assert places(await bars_of(stub, after_time=at(100), before_time=at(103))) == [101, 102]
    far = pb.ListBarsRequest(symbol=SYMBOL, interval="1m", after_time=Timestamp(seconds=1))
    code, reason, found, _ = await failure(stub.ListBars(far))
    assert (code, reason, list(found)) == ("INVALID_ARGUMENT", "FIELD_INVALID", ["after_time"])
    venue.answers += [403]
    refused = pb.ListBarsRequest(symbol=SYMBOL, interval="5m", after_time=at(0))
    assert (await failure(stub.ListBars(refused)))[:2] == ("FAILED_PRECONDITION", "HISTORY_REFUSED")
    seconds = await stub.ListBars(pb.ListBarsRequest(symbol=SYMBOL, interval="1s", after_time=at(0)))
    assert len(seconds.bars) == 4, "of which the provider has none"


async def test_bars_tell_gaps_that_were_not_filled_and_whose_trades_they_are(open_stub: Open) -> None:
    feed = ManualFeed(SYMBOL, tells=True, live=False)
    stub = await open_stub(feed)

    def turn(state: FeedState, minute: float, **more: Any) -> None:
        feed.say(SYMBOL, FeedChange(state, (START + round(minute * MINUTE)) * 10**9, **more))

    feed.push(SYMBOL, trade(0))
    feed.push(SYMBOL, trade(1.5))
    turn(FeedState.GAP, 1.6)
    feed.push(SYMBOL, trade(2.5))
    turn(FeedState.LIVE, 2.6, filled=True)
    feed.push(SYMBOL, trade(3.5))
    turn(FeedState.GAP, 4.1)
    turn(FeedState.LIVE, 5.5, source="other")
    feed.push(SYMBOL, trade(6.5))
    feed.push(SYMBOL, trade(7.5))
    turn(FeedState.GAP, 8.5)
    feed.push(SYMBOL, trade(8.6))
    await settled(stub, SYMBOL, 7)
    again = await open_stub(ManualFeed(SYMBOL, tells=True, live=False))  # which reads it off the log
    for reader in (stub, again):
        async with asyncio.timeout(20):
            while not (found := await bars_of(reader))[-1].gapped:
                pass
        told = {place: (bar.gapped, bar.source) for place, bar in zip(places(found), found, strict=True)}
        assert told == {
            0: (False, "manual"),
            1: (False, "manual"),
            2: (False, "manual"),
            3: (True, "manual"),
            6: (False, "other"),
            7: (True, "other"),
            8: (True, "other"),
        }
