"""MarketDataService through its door: a real server, a real channel, real tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from market_data.feeds import SECOND, ManualFeed, made, ramp
from sqlalchemy import text

from algotrade.market_data.build import build
from algotrade.market_data.feed import FeedChange, FeedState
from algotrade.platform.errors import info
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.platform.ticks import from_batch
from algotrade.v1 import types_pb2
from algotrade.v1.market_data_service_pb2 import (
    GetWindowRequest,
    ListSymbolsRequest,
    StreamTicksRequest,
    StreamTicksResponse,
)
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

START = 1_700_000_000 * SECOND
WINDOW = 50
Open = Callable[..., Awaitable[Any]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"window_ticks": WINDOW, "heartbeat_seconds": 0.05})


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("AAA", "BBB", live=False)


@pytest.fixture
async def open_stub(serve: Any, connect: Any, platform: Platform, feed: ManualFeed, user: str) -> Open:
    """Return a function that serves the feed, under changed settings if asked, and gives a stub for the user."""

    async def open_with(**changes: object) -> Any:
        on = replace(platform, settings=platform.settings.model_copy(update=changes))
        server = await serve(partial(build, feeds=[feed]), on=on)
        return MarketDataServiceStub(connect(server, user))

    return open_with


async def settled(stub: Any, symbol: str, sequence: int) -> None:
    """Return when a symbol has come so far."""
    async with asyncio.timeout(20):
        while (await stub.GetWindow(GetWindowRequest(symbol=symbol, limit=1))).last_sequence < sequence:
            pass


async def take(call: AsyncIterator[StreamTicksResponse], last: int) -> list[int]:
    """Return the sequences of a stream's ticks up to one, checking each message's own cursor."""
    found: list[int] = []
    async with asyncio.timeout(20):
        async for message in call:
            if message.HasField("ticks"):
                found.extend(from_batch(message.ticks)["seq"].tolist())
                assert message.sequence == found[-1]
                if found[-1] >= last:
                    return found
    raise AssertionError("the stream ended")


async def failure(awaitable: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_symbols_are_listed_by_name_page_by_page(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub()
    feed.push("BBB", made((START, 123_45000000)))
    await settled(stub, "BBB", 1)
    first = await stub.ListSymbols(ListSymbolsRequest(page_size=1))
    assert [symbol.symbol for symbol in first.symbols] == ["AAA"]
    second = await stub.ListSymbols(ListSymbolsRequest(page_size=1, page_token=first.next_page_token))
    [bbb] = second.symbols
    assert second.next_page_token == ""
    assert (bbb.symbol, bbb.provider, bbb.last_price, bbb.last_sequence) == ("BBB", "manual", "123.45", 1)
    assert bbb.last_event_time.ToNanoseconds() == START
    assert bbb.feed_state == types_pb2.FEED_STATE_LIVE
    assert first.symbols[0].feed_state == types_pb2.FEED_STATE_STALE
    assert not first.symbols[0].HasField("last_event_time")


@pytest.mark.parametrize("page_token", ["x", "WyJPdGhlciIsIkFBQSJd", "bm9uc2Vuc2U", "é", "W10"])
async def test_a_page_token_of_another_call_is_refused(open_stub: Open, page_token: str) -> None:
    stub = await open_stub()
    error = await failure(stub.ListSymbols(ListSymbolsRequest(page_token=page_token)))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_the_window_gives_the_newest_ticks_exactly(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub()
    feed.push("AAA", made((START, 1, 0.5), (START + 1, 123_45678901, 2.0), (START + 1, 7_00000000, 0.0)))
    await settled(stub, "AAA", 3)
    reply = await stub.GetWindow(GetWindowRequest(symbol="AAA", limit=2))
    assert [(tick.sequence, tick.price, tick.size) for tick in reply.ticks] == [(2, "123.45678901", 2.0), (3, "7", 0.0)]
    assert reply.ticks[0].event_time.ToNanoseconds() == START + 1
    assert (reply.last_sequence, reply.epoch, reply.feed_state) == (3, 1, types_pb2.FEED_STATE_LIVE)
    empty = await stub.GetWindow(GetWindowRequest(symbol="BBB"))
    assert (len(empty.ticks), empty.last_sequence) == (0, 0)


@pytest.mark.parametrize(
    ("symbol", "code", "reason"),
    [
        ("XRP-USD", grpc.StatusCode.NOT_FOUND, "SYMBOL_NOT_FOUND"),
        ("aaa", grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        ("", grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        ("A" * 40, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    ],
)
async def test_an_unknown_symbol_is_named(open_stub: Open, symbol: str, code: grpc.StatusCode, reason: str) -> None:
    stub = await open_stub()
    for error in (
        await failure(stub.GetWindow(GetWindowRequest(symbol=symbol))),
        await failure(stub.StreamTicks(StreamTicksRequest(symbol=symbol)).read()),
    ):
        assert (error.code(), info(error).reason) == (code, reason)
    if code is grpc.StatusCode.NOT_FOUND:
        assert info(error).metadata == {"symbol": symbol}


async def test_a_stream_gives_history_and_then_what_comes(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub()
    feed.push("AAA", ramp(START, 20))
    await settled(stub, "AAA", 20)
    call = stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=15))
    assert await take(call, 20) == [16, 17, 18, 19, 20]
    feed.push("AAA", ramp(START + SECOND, 5))
    assert await take(call, 25) == [21, 22, 23, 24, 25]


async def test_a_stream_tells_each_change_of_the_feeds_state_once(serve: Any, connect: Any, user: str) -> None:
    feed = ManualFeed("AAA", tells=True)
    stub: Any = MarketDataServiceStub(connect(await serve(partial(build, feeds=[feed])), user))
    feed.push("AAA", ramp(START, 1))
    await settled(stub, "AAA", 1)
    call = stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=0))
    assert (await call.read()).HasField("ticks")
    for state in (FeedState.GAP, FeedState.STALE, FeedState.LIVE):
        feed.say("AAA", FeedChange(state, START, "so it is"))
        async with asyncio.timeout(20):
            message = await call.read()
            while not message.HasField("feed_state"):
                message = await call.read()
        assert (message.feed_state, message.sequence) == (state, 1)


async def test_a_stream_without_a_cursor_gives_only_what_comes(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub()
    feed.push("AAA", ramp(START, 20))
    await settled(stub, "AAA", 20)
    call = stub.StreamTicks(StreamTicksRequest(symbol="AAA"))
    assert (await call.read()).HasField("heartbeat")
    feed.push("AAA", ramp(START + SECOND, 1))
    assert await take(call, 21) == [21]


async def test_silence_is_broken_by_heartbeats_with_the_cursor(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub()
    feed.push("AAA", ramp(START, 3))
    call = stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=0))
    await take(call, 3)
    for _ in range(2):
        beat = await call.read()
        assert beat.WhichOneof("payload") == "heartbeat"
        assert (beat.sequence, beat.epoch) == (3, 1)
        assert beat.heartbeat.time.ToNanoseconds() > START


async def test_a_cut_stream_resumes_anywhere_from_log_and_window(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub()
    total = 2000
    rng = np.random.default_rng(5)
    for part in np.array_split(ramp(START, total), 40):
        feed.push("AAA", part)
    for cut in [0, 1, 255, 256, 257, total - WINDOW - 1, total - WINDOW, total - 1, *rng.integers(1, total, 20)]:
        call = stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=int(cut)))
        if cut == 0:
            assert await take(call, total) == list(range(1, total + 1))
        assert await take(stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=int(cut))), total) == list(
            range(int(cut) + 1, total + 1)
        )
        call.cancel()


async def test_a_stream_outlives_the_service_by_its_cursor(open_stub: Open, feed: ManualFeed) -> None:
    first = await open_stub()
    feed.push("AAA", ramp(START, 100))
    await settled(first, "AAA", 100)
    second = await open_stub()  # takes the lease, as after a restart
    call = second.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=10))
    assert await take(call, 100) == list(range(11, 101))


async def test_a_cursor_ahead_of_the_feed_is_refused(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub()
    feed.push("AAA", ramp(START, 3))
    await settled(stub, "AAA", 3)
    error = await failure(stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=4)).read())
    assert (error.code(), info(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD")
    assert info(error).metadata == {"last_sequence": "3"}


@pytest.mark.parametrize("kept", [1, 0], ids=["some of the log", "nothing but the window"])
async def test_a_cursor_older_than_the_log_is_refused(
    open_stub: Open, feed: ManualFeed, platform: Platform, kept: int
) -> None:
    stub = await open_stub()
    for number in range(4):
        feed.push("AAA", ramp(START + number * SECOND, 100))
        await settled(stub, "AAA", (number + 1) * 100)
    async with platform.database.begin() as connection:
        await connection.execute(
            text("""UPDATE bus_partitions SET earliest_offset = next_offset - :kept
                    WHERE topic = 'market-data-updates' AND next_offset > 0"""),
            {"kept": kept},
        )
        await connection.execute(
            text("""DELETE FROM bus_log USING bus_partitions AS p WHERE bus_log.topic = p.topic
                    AND bus_log.partition = p.partition AND "offset" < p.earliest_offset""")
        )
    fresh = await open_stub() if kept else stub
    oldest = 301 if kept else 351
    error = await failure(fresh.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=10)).read())
    assert (error.code(), info(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")
    assert info(error).metadata == {"first_sequence": str(oldest)}
    call = fresh.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=0))
    assert await take(call, 400) == list(range(oldest, 401)), "0 starts at the oldest that is kept"


async def test_a_reader_that_stalls_is_ended_and_may_come_back(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub(stream_lag_ticks=1000, stream_lag_seconds=0.0)
    feed.push("AAA", ramp(START, 1))
    call = stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=0))
    await take(call, 1)
    assert (await call.read()).HasField("heartbeat"), "it has been at the head"
    total = 60_001
    feed.push("AAA", ramp(START + SECOND, total - 1))
    await settled(stub, "AAA", total)
    cursors = [1]

    async def read_to_the_end() -> None:
        async with asyncio.timeout(20):
            async for message in call:
                cursors.append(message.sequence)

    error = await failure(read_to_the_end())
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CONSUMER_TOO_SLOW")
    cursor = cursors[-1]
    assert cursor < total
    resumed = stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=cursor))
    assert await take(resumed, total) == list(range(cursor + 1, total + 1))


async def test_nobody_reads_without_a_token(serve: Any, connect: Any, feed: ManualFeed) -> None:
    server = await serve(partial(build, feeds=[feed]))
    stub = MarketDataServiceStub(connect(server))
    for error in (
        await failure(stub.ListSymbols(ListSymbolsRequest())),
        await failure(stub.GetWindow(GetWindowRequest(symbol="AAA"))),
        await failure(stub.StreamTicks(StreamTicksRequest(symbol="AAA")).read()),
    ):
        assert (error.code(), info(error).reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
