"""ListBars and StreamBars: the bars of all the ticks, as far as the window reaches, and each once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from market_data.feeds import SECOND, ManualClock, ManualFeed, made

from algotrade.engine import fixed
from algotrade.engine.bars import build_bars
from algotrade.engine.records import BAR, TICK, Records, bar_ticks
from algotrade.market_data.bars import BarSource
from algotrade.market_data.build import build
from algotrade.market_data.follow import Follower, Heartbeat
from algotrade.market_data.window import MemoryWindows
from algotrade.platform.bus import Bus
from algotrade.platform.errors import info, violations
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

START = 1_700_000_000 * SECOND - 1_700_000_000 * SECOND % (3600 * SECOND)
WINDOW = 200
Open = Callable[..., Awaitable[Any]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"window_ticks": WINDOW, "heartbeat_seconds": 0.05})


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("AAA", live=False)


@pytest.fixture
async def open_stub(serve: Any, connect: Any, platform: Platform, user: str) -> Open:
    async def open_with(feed: ManualFeed, **changes: object) -> Any:
        on = replace(platform, settings=platform.settings.model_copy(update=changes))
        return MarketDataServiceStub(connect(await serve(partial(build, feeds=[feed]), on=on), user))

    return open_with


def trades(seed: int, count: int) -> Records:
    """Make ticks at random times from START on, often several in one instant."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(count, TICK)
    waits = rng.choice([0, 0, SECOND // 10, SECOND // 2, SECOND, 3 * SECOND], count)
    ticks["ts"] = START + np.cumsum(waits) - waits[0]
    ticks["price"] = rng.integers(1, 10**12, count)
    ticks["size"] = rng.random(count)
    return ticks


def rows(bars: Any) -> list[tuple[int, int, int, int, int, float]]:
    prices = [[fixed.parse(text) for text in (bar.open, bar.high, bar.low, bar.close)] for bar in bars]
    return [
        (bar.start_time.ToNanoseconds(), *price, bar.volume)  # type: ignore[misc]
        for bar, price in zip(bars, prices, strict=True)
    ]


def time(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // SECOND, nanos=ns % SECOND)


async def settled(stub: Any, sequence: int) -> None:
    async with asyncio.timeout(20):
        while (await stub.GetWindow(pb.GetWindowRequest(symbol="AAA", limit=1))).last_sequence < sequence:
            pass


async def listed(stub: Any, page_size: int = 0, **fields: Any) -> list[pb.Bar]:
    found: list[pb.Bar] = []
    token = ""
    while True:
        request = pb.ListBarsRequest(symbol="AAA", page_size=page_size, page_token=token, **fields)
        page = await stub.ListBars(request)
        found.extend(page.bars)
        token = page.next_page_token
        if not token:
            return found
        assert len(page.bars) == page_size or not page_size


async def take(call: Any, count: int) -> list[pb.Bar]:
    """Read so many bars off a stream, checking each message's own cursor."""
    found: list[pb.Bar] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            message = await call.read()
            found.extend(message.bars.bars)
            if message.HasField("bars"):
                assert message.cursor == found[-1].start_time
    assert len(found) == count
    return found


async def failure(awaitable: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_bars_are_those_of_the_ticks_page_by_page(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub(feed, window_ticks=2000)
    ticks = trades(1, 1500)
    ticks["price"][0] = 123_45000000
    feed.push("AAA", ticks)
    await settled(stub, 1500)
    for interval, width in (("1s", SECOND), ("15s", 15 * SECOND), ("1m", 60 * SECOND)):
        expected = build_bars(ticks, width).tolist()
        assert len(expected) > 5
        for page_size in (0, 7, len(expected) + 1):
            found = await listed(stub, page_size, interval=interval)
            assert rows(found)[:-1] == expected
            assert [bar.complete for bar in found] == [True] * len(expected) + [False]
        assert found[0].open == "123.45"
        last = ticks[ticks["ts"] >= found[-1].start_time.ToNanoseconds()]
        assert fixed.parse(found[-1].close) == last["price"][-1]
        assert found[-1].volume == pytest.approx(last["size"].sum())
        later = await listed(stub, 4, interval=interval, after_time=time(expected[3][0]))
        assert rows(later)[:-1] == expected[4:]
    assert await listed(stub) == await listed(stub, interval="1m"), "a minute is the default for trades"


@pytest.mark.parametrize("seed", range(5))
async def test_what_has_left_the_window_makes_no_bar_wrong(open_stub: Open, feed: ManualFeed, seed: int) -> None:
    stub = await open_stub(feed)
    ticks = trades(seed, 1000)
    expected = build_bars(ticks, SECOND).tolist()
    sent = 0
    for part in np.array_split(ticks, 20):
        feed.push("AAA", part)
        sent += len(part)
        await settled(stub, sent)
        found = [bar for bar in await listed(stub, interval="1s") if bar.complete]
        first = [row[0] for row in expected].index(found[0].start_time.ToNanoseconds())
        assert rows(found) == expected[first : first + len(found)]
        held = ticks[max(0, sent - WINDOW) : sent]
        assert len(found) >= len(np.unique(held["ts"] // SECOND)) - 2, "only the bars at the ends are left out"


async def test_bars_of_a_feed_of_bars_are_its_own(open_stub: Open) -> None:
    feed = ManualFeed("AAA", live=False, bars=True)
    stub = await open_stub(feed, window_ticks=42)  # its oldest tick is in the middle of a bar
    bars = np.zeros(30, BAR)
    bars["ts"] = START + np.arange(30) * 86_400 * SECOND
    rng = np.random.default_rng(3)
    bars["low"] = rng.integers(1, 100, 30) * fixed.SCALE
    bars["open"], bars["close"] = bars["low"] + 5, bars["low"] + 3
    bars["high"], bars["volume"] = bars["low"] + 9, rng.integers(0, 1000, 30)
    feed.push("AAA", bar_ticks(bars))
    await settled(stub, 120)
    found = await listed(stub)
    assert rows(found) == bars.tolist()[-10:]
    assert all(bar.complete for bar in found)
    assert await listed(stub, interval="native") == found
    stream = stub.StreamBars(pb.StreamBarsRequest(symbol="AAA", after_time=time(int(bars["ts"][-11]))))
    assert rows(await take(stream, 10)) == bars.tolist()[-10:], "the last bar that is not known is a good cursor"
    error = await failure(
        stub.StreamBars(pb.StreamBarsRequest(symbol="AAA", after_time=time(int(bars["ts"][-12])))).read()
    )
    assert info(error).reason == "CURSOR_EXPIRED"


async def test_a_stream_gives_the_listed_bars_then_each_as_it_closes(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub(feed, window_ticks=5000)
    ticks = trades(2, 3000)
    expected = build_bars(ticks, SECOND).tolist()
    early = build_bars(ticks[:1000], SECOND).tolist()
    feed.push("AAA", ticks[:1000])
    await settled(stub, 1000)
    request = partial(pb.StreamBarsRequest, symbol="AAA", interval="1s")
    calls = {-1: stub.StreamBars(request())}
    assert (await calls[-1].read()).HasField("heartbeat")
    for cut in (0, 1, 100, len(early) - 1):
        calls[cut] = stub.StreamBars(request(after_time=time(early[cut - 1][0] if cut else 0)))
        assert rows(await take(calls[cut], len(early) - cut)) == early[cut:]
    for part in np.array_split(ticks[1000:], 50):
        feed.push("AAA", part)
    for cut, call in calls.items():
        assert rows(await take(call, len(expected) - len(early))) == expected[len(early) :], cut
    assert rows([bar for bar in await listed(stub, 500, interval="1s") if bar.complete]) == expected


async def test_a_cursor_outside_the_window_is_refused(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub(feed)
    ticks = trades(4, 1000)
    feed.push("AAA", ticks)
    await settled(stub, 1000)
    [first, *_] = await listed(stub, interval="1s")
    request = partial(pb.StreamBarsRequest, symbol="AAA", interval="1s")
    error = await failure(stub.StreamBars(request(after_time=time(int(ticks["ts"][0])))).read())
    assert (error.code(), info(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")
    known = Timestamp()
    known.FromJsonString(info(error).metadata["first_time"])
    assert known.ToNanoseconds() <= first.start_time.ToNanoseconds()
    before = time(known.ToNanoseconds() - SECOND)
    complete = [bar for bar in await listed(stub, interval="1s") if bar.complete]
    assert await take(stub.StreamBars(request(after_time=before)), len(complete)) == complete
    oldest = await take(stub.StreamBars(request(after_time=time(0))), len(complete))
    assert oldest == complete, "0 starts at the oldest that is kept"
    error = await failure(stub.StreamBars(request(after_time=time(int(ticks["ts"][-1]) + 1))).read())
    assert (error.code(), info(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD")
    assert await listed(stub, interval="1s", after_time=Timestamp(seconds=253402300799)) == []


@pytest.mark.parametrize(
    ("fields", "code", "reason", "field"),
    [
        ({"symbol": "XXX"}, grpc.StatusCode.NOT_FOUND, "SYMBOL_NOT_FOUND", None),
        ({"symbol": "aaa"}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "symbol"),
        ({"interval": "2m"}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "interval"),
        ({"interval": "tick"}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "interval"),
        ({"interval": "native"}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "interval"),
    ],
)
async def test_a_bad_field_is_named(
    open_stub: Open, feed: ManualFeed, fields: dict[str, str], code: grpc.StatusCode, reason: str, field: str | None
) -> None:
    stub = await open_stub(feed)
    fields = {"symbol": "AAA"} | fields
    for error in (
        await failure(stub.ListBars(pb.ListBarsRequest(**fields))),
        await failure(stub.StreamBars(pb.StreamBarsRequest(**fields)).read()),
    ):
        assert (error.code(), info(error).reason) == (code, reason)
        assert set(violations(error)) == ({field} if field else set())


async def test_a_page_token_of_another_interval_is_refused(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub(feed)
    feed.push("AAA", trades(1, 150))
    await settled(stub, 150)
    token = (await stub.ListBars(pb.ListBarsRequest(symbol="AAA", interval="1s", page_size=1))).next_page_token
    assert token
    for page_token in (token, "nonsense"):
        error = await failure(stub.ListBars(pb.ListBarsRequest(symbol="AAA", interval="5s", page_token=page_token)))
        assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_a_reader_that_stalls_is_ended_and_may_come_back(open_stub: Open, feed: ManualFeed) -> None:
    stub = await open_stub(feed, stream_lag_ticks=1000, stream_lag_seconds=0.0, window_ticks=100_000)
    feed.push("AAA", made((START, 1)))
    call = stub.StreamBars(pb.StreamBarsRequest(symbol="AAA", interval="1s", after_time=time(0)))
    assert (await call.read()).HasField("heartbeat"), "it has been at the head"
    total = 30_001
    ticks = made(*((START + number * SECOND, number + 1) for number in range(total)))
    feed.push("AAA", ticks[1:])
    await settled(stub, total)
    found: list[pb.Bar] = []

    async def read_to_the_end() -> None:
        async with asyncio.timeout(30):
            async for message in call:
                found.extend(message.bars.bars)

    error = await failure(read_to_the_end())
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CONSUMER_TOO_SLOW")
    cursor = found[-1].start_time if found else time(0)
    resumed = stub.StreamBars(pb.StreamBarsRequest(symbol="AAA", interval="1s", after_time=cursor))
    found.extend(await take(resumed, total - 1 - len(found)))
    assert rows(found) == build_bars(ticks, SECOND).tolist()


@pytest.mark.parametrize("seed", range(5))
async def test_going_on_gives_what_building_anew_gives(bus: Bus, seed: int) -> None:
    clock, rng = ManualClock(START), np.random.default_rng(seed)
    windows, ticks = MemoryWindows(["AAA"], 30), trades(seed, 2000)
    ticks["seq"] = np.arange(1, 2001)
    follower = Follower(windows, bus, clock, metrics=Metrics(), heartbeat_seconds=60, lag_ticks=1000, lag_seconds=10)
    remembering = BarSource(windows, follower, clock, heartbeat_seconds=15)
    for part in np.split(ticks, np.sort(rng.integers(0, 2000, 150))):
        await windows.append("AAA", 1, part)
        if len(part) and part["seq"][0] > 1000 and await windows.capacity("AAA") == 30:
            await windows.grow("AAA", 100, ticks[: part["seq"][0]])
        for width in (SECOND, 15 * SECOND):
            anew = await BarSource(windows, follower, clock, heartbeat_seconds=15).kept("AAA", width)
            found = await remembering.kept("AAA", width)
            assert found.closed.tobytes() == anew.closed.tobytes()
            assert found.builder.open.tobytes() == anew.builder.open.tobytes()
            assert (found.missed_ns, found.last_ns, found.sequence) == (anew.missed_ns, anew.last_ns, anew.sequence)
            found.builder.take(ticks[-1:])  # what a caller does with it is its own business


async def test_a_window_of_one_instant_gives_no_bar_and_keeps_its_place(bus: Bus) -> None:
    clock, windows = ManualClock(START), MemoryWindows(["AAA"], 5)
    follower = Follower(windows, bus, clock, metrics=Metrics(), heartbeat_seconds=60, lag_ticks=1000, lag_seconds=10)
    ticks = made(*((START, 5),) * 9)
    ticks["seq"] = np.arange(1, 10)
    await windows.append("AAA", 1, ticks)
    kept = await BarSource(windows, follower, clock, heartbeat_seconds=15).kept("AAA", SECOND)
    assert (len(kept.closed), len(kept.builder.open)) == (0, 0)
    assert (kept.missed_ns, kept.last_ns, kept.sequence) == (START, START, 9)


async def test_ticks_that_close_no_bar_do_not_silence_the_heartbeat(bus: Bus) -> None:
    clock, windows = ManualClock(START), MemoryWindows(["AAA"], 100)
    follower = Follower(windows, bus, clock, metrics=Metrics(), heartbeat_seconds=60, lag_ticks=1000, lag_seconds=10)
    stream = BarSource(windows, follower, clock, heartbeat_seconds=15).follow("AAA", 86_400 * SECOND, None)
    reading = asyncio.ensure_future(anext(stream))
    ticks = made(*((START + number, 5) for number in range(1, 5)))
    ticks["seq"] = np.arange(1, 5)
    await windows.append("AAA", 1, ticks[:1])
    while await windows.wait("AAA", 1, 0.02):
        pass
    assert not reading.done()
    clock.turn(16)
    await windows.append("AAA", 1, ticks[1:])
    async with asyncio.timeout(20):
        beat = await reading
    assert isinstance(beat, Heartbeat)
    assert beat.time_ns == START + 16 * SECOND
    await stream.aclose()


async def test_nobody_reads_without_a_token(serve: Any, connect: Any, feed: ManualFeed) -> None:
    stub = MarketDataServiceStub(connect(await serve(partial(build, feeds=[feed]))))
    for error in (
        await failure(stub.ListBars(pb.ListBarsRequest(symbol="AAA"))),
        await failure(stub.StreamBars(pb.StreamBarsRequest(symbol="AAA")).read()),
        await failure(stub.Subscribe(pb.SubscribeRequest(symbol="AAA"))),
        await failure(stub.ConfigureWindow(pb.ConfigureWindowRequest(symbol="AAA", ticks=5))),
    ):
        assert info(error).reason == "TOKEN_MISSING"
