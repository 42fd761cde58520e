"""The service over Redis: clients notice nothing of what happens to it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import psutil
import pytest
from conftest import RunningRedis
from market_data.feeds import SECOND, ManualFeed, ramp
from market_data.test_servicer import settled, take
from pydantic import SecretStr

from algotrade.market_data.build import build
from algotrade.platform import health
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.redis import RedisClient, open_redis
from algotrade.platform.settings import Settings
from algotrade.v1 import health_service_pb2 as health_pb
from algotrade.v1.health_service_pb2_grpc import HealthServiceStub
from algotrade.v1.market_data_service_pb2 import ConfigureWindowRequest, GetWindowRequest, StreamTicksRequest
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

START = 1_700_000_000 * SECOND
WINDOW = 200
LOSSES = ("flushed", "killed", "frozen")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"window_ticks": WINDOW, "heartbeat_seconds": 0.2, "redis_retry_seconds": 0.05})


@pytest.fixture
async def client(running_redis: RunningRedis, redis: RedisClient) -> AsyncIterator[RedisClient]:
    settings = Settings(redis_url=SecretStr(running_redis.url), redis_timeout_seconds=1)
    async with open_redis(settings, Metrics()) as client:
        assert client is not None
        yield client


async def lose(how: str, running: RunningRedis, client: RedisClient) -> None:
    if how == "flushed":
        await client.flushall()
    elif how == "killed":
        await running.server.kill()
    else:
        os.kill(running.server.pid, signal.SIGSTOP)


async def mend(how: str, running: RunningRedis) -> None:
    if how == "frozen":
        with suppress(psutil.NoSuchProcess):
            os.kill(running.server.pid, signal.SIGCONT)
    elif how == "killed":
        await running.server.start()


@pytest.mark.parametrize("how", LOSSES)
async def test_streams_and_windows_go_on_through_it(
    serve: Any,
    connect: Any,
    platform: Platform,
    running_redis: RunningRedis,
    client: RedisClient,
    user: str,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.3)
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.5)
    feed = ManualFeed("AAA", "BBB", live=False)
    server = await serve(partial(build, feeds=[feed]), on=replace(platform, redis=client))
    channel = connect(server, user)
    stub, seen = MarketDataServiceStub(channel), HealthServiceStub(channel)
    streams = [
        asyncio.create_task(take(stub.StreamTicks(StreamTicksRequest(symbol="AAA", after_sequence=0)), 900))
        for _ in range(5)
    ]
    feed.push("AAA", ramp(START, 300))
    await settled(stub, "AAA", 300)
    assert await client.xlen("market:{AAA}") > 0
    await lose(how, running_redis, client)
    try:
        feed.push("AAA", ramp(START + 300 * SECOND, 300))
        await settled(stub, "AAA", 600)
        window = await stub.GetWindow(GetWindowRequest(symbol="AAA", limit=1000))
        assert [tick.sequence for tick in window.ticks] == list(range(401, 601))
        assert (await stub.ConfigureWindow(ConfigureWindowRequest(symbol="AAA", ticks=250))).ticks == 250
        if how != "flushed":
            await reached(seen, health_pb.HEALTH_STATUS_DEGRADED)
    finally:
        await mend(how, running_redis)
    await reached(seen, health_pb.HEALTH_STATUS_HEALTHY)
    async with asyncio.timeout(20):
        while not await client.xlen("market:{AAA}"):  # noqa: ASYNC110  (Redis tells nobody)
            await asyncio.sleep(0.02)
    feed.push("AAA", ramp(START + 600 * SECOND, 300))
    await settled(stub, "AAA", 900)
    window = await stub.GetWindow(GetWindowRequest(symbol="AAA", limit=1000))
    assert [tick.sequence for tick in window.ticks] == list(range(651, 901))
    assert await asyncio.gather(*streams) == [list(range(1, 901))] * 5, "each tick once, in order"


async def reached(stub: Any, status: int) -> None:
    """Return when the whole is as healthy as that."""
    async with asyncio.timeout(20):
        while (await stub.GetDetailedHealth(health_pb.GetDetailedHealthRequest())).status != status:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
