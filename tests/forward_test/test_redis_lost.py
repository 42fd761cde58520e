"""Redis is lost again and again while a session trades: it trades as the same ticks had it without any loss."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import RunningRedis
from forward_test.test_verify import CROSS, TICKS, certify, walk
from market_data.feeds import ManualFeed
from pydantic import SecretStr

from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.redis import RedisClient, open_redis
from algotrade.platform.settings import Settings
from algotrade.v1 import forward_test_service_pb2 as pb

TICKS_A_ROUND = 40


@pytest.fixture
async def client(running_redis: RunningRedis, redis: RedisClient) -> AsyncIterator[RedisClient]:
    settings = Settings(redis_url=SecretStr(running_redis.url), redis_timeout_seconds=0.5)
    async with open_redis(settings, Metrics()) as client:
        assert client is not None
        yield client


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"redis_retry_seconds": 0.05})


@pytest.fixture
def platform(platform: Platform, client: RedisClient) -> Platform:
    return replace(platform, redis=client)


def told(trades: list[pb.Trade]) -> list[tuple[Any, ...]]:
    return [
        (one.entry_price, one.exit_price, one.quantity, one.pnl, one.entry_time.seconds, one.exit_time.seconds)
        for one in trades
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [12, pytest.param(60, marks=pytest.mark.nightly)])
async def test_losing_redis_changes_no_trade(
    trader: Any, feed: ManualFeed, running_redis: RunningRedis, client: RedisClient, rounds: int
) -> None:
    ada = await trader()
    ticks = walk(11, rounds * TICKS_A_ROUND)
    calm = await ada.started(CROSS, "BBB", settings=TICKS)
    feed.push("BBB", ticks.copy())
    await ada.at_tick(calm, len(ticks))
    wanted = told(await ada.trades(calm))
    assert len(wanted) > 2 * rounds

    session = await ada.started(CROSS, "AAA", settings=TICKS)
    for number in range(rounds):
        part = ticks[number * TICKS_A_ROUND : (number + 1) * TICKS_A_ROUND]
        feed.push("AAA", part[:20].copy())
        if number % 3 == 0:
            await client.flushall()
        elif number % 3 == 1:
            await running_redis.server.kill()
        else:
            os.kill(running_redis.server.pid, signal.SIGSTOP)
        feed.push("AAA", part[20:].copy())
        await ada.at_tick(session, (number + 1) * TICKS_A_ROUND)
        if number % 3 == 1:
            await running_redis.server.start()
        elif number % 3 == 2:
            os.kill(running_redis.server.pid, signal.SIGCONT)
    assert told(await ada.trades(session)) == wanted
    assert (await certify(ada, session)).verdict == pb.PARITY_VERDICT_IDENTICAL
