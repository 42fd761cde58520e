"""Fifty readers that take nothing beside fifty that take all: who stalls costs nobody anything, and may come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
import pytest
from market_data.feeds import SECOND, ManualFeed, ramp

from algotrade.market_data.build import build
from algotrade.market_data.follow import Follower
from algotrade.platform.errors import info
from algotrade.platform.settings import Settings
from algotrade.v1.market_data_service_pb2 import GetWindowRequest, StreamTicksRequest
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

START = 1_700_000_000 * SECOND
EACH = 50
TOTAL = 20_000
STEP = 500
ON_ITS_WAY = 6_000  # ticks: what a connection holds for a reader that takes nothing, about 150 KB
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))  # a connection that takes no more
PATIENCE = 120


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # None falls so far behind that it is ended for that: a reader that stalls is ended by what it does not take.
    return settings.model_copy(update={"stream_write_seconds": 2.0, "stream_lag_seconds": 1000.0})


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("AAA", live=False)


async def read(stream: Any, seen: list[int], last: int) -> None:
    """Take ticks up to one."""
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            first = message.ticks.first_sequence
            seen += range(first, first + len(message.ticks.times_nanos))
            if seen and seen[-1] >= last:
                return


async def test_who_stalls_holds_up_nobody_and_comes_back(
    serve: Any, connect: Any, token: Any, open_account: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow, given_up = Follower.follow, []

    async def watched(self: Follower, symbol: str, after: int | None) -> AsyncIterator[Any]:
        try:
            async with aclosing(follow(self, symbol, after)) as items:
                async for item in items:
                    yield item
        finally:
            given_up.append(after)

    monkeypatch.setattr(Follower, "follow", watched)
    server = await serve(partial(build, feeds=[feed]))
    lazy, eager = await open_account(), await open_account()
    narrow = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=NARROW)
    headers = (("authorization", f"Bearer {token(lazy)}"),)
    stub = MarketDataServiceStub(connect(server, eager))

    def open_stream(index: int, after: int = 0) -> Any:
        """Open a stream: even ones will stall."""
        request = StreamTicksRequest(symbol="AAA", after_sequence=after)
        return (
            stub.StreamTicks(request)
            if index % 2
            else MarketDataServiceStub(narrow).StreamTicks(request, metadata=headers)
        )

    feed.push("AAA", ramp(START, 1))
    seen: list[list[int]] = [[] for _ in range(2 * EACH)]
    streams = [open_stream(index) for index in range(2 * EACH)]
    await asyncio.gather(*(read(stream, mine, 1) for stream, mine in zip(streams, seen, strict=True)))
    stalled, healthy = range(0, 2 * EACH, 2), range(1, 2 * EACH, 2)

    reading = [asyncio.create_task(read(streams[index], seen[index], TOTAL)) for index in healthy]
    for first in range(1, TOTAL, STEP):
        feed.push("AAA", ramp(START + first * SECOND, min(STEP, TOTAL - first)))
    await asyncio.gather(*reading)
    assert all(seen[index] == [*range(1, TOTAL + 1)] for index in healthy)

    async with asyncio.timeout(PATIENCE):  # the service gives them up, though they take nothing
        while len(given_up) < EACH:
            await stub.GetWindow(GetWindowRequest(symbol="AAA", limit=1))

    async def end(index: int) -> tuple[grpc.StatusCode, str]:
        """Take, so late, what was on its way, and the end."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(streams[index], seen[index], TOTAL)
        return caught.value.code(), info(caught.value).reason

    ends = await asyncio.gather(*map(end, stalled))
    assert set(ends) == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "CONSUMER_TOO_SLOW")}
    assert max(len(seen[index]) for index in stalled) < ON_ITS_WAY, "what waits for a reader is bounded"

    async def come_back(index: int) -> None:
        await read(open_stream(index, seen[index][-1]), seen[index], TOTAL)

    await asyncio.gather(*map(come_back, stalled))
    assert all(seen[index] == [*range(1, TOTAL + 1)] for index in stalled)
    await narrow.close()
