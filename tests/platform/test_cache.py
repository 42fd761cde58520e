"""Caches by themselves: the one in memory is bounded, the one in Redis does without Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from conftest import RunningRedis
from pydantic import SecretStr

from algotrade.platform import limits
from algotrade.platform.cache import ENTRY_BYTES, MemoryCache
from algotrade.platform.cache_redis import RedisCache
from algotrade.platform.metrics import Metrics
from algotrade.platform.redis import RedisClient, open_redis
from algotrade.platform.settings import Settings


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def cache(running_redis: RunningRedis, redis: RedisClient, metrics: Metrics) -> AsyncIterator[RedisCache]:
    settings = Settings(redis_url=SecretStr(running_redis.url), redis_timeout_seconds=0.5)
    async with open_redis(settings, metrics) as client:
        assert client is not None
        yield RedisCache(client, metrics, retry_seconds=0.1)


async def test_memory_is_bounded_and_the_longest_unused_leaves(metrics: Metrics) -> None:
    cache = MemoryCache(metrics, most_bytes=3 * (ENTRY_BYTES + 10))
    for name in "abc":
        await cache.put(f"k:{name}", bytes(10), 60)
    await cache.get("k:a")
    await cache.put("k:d", bytes(10), 60)
    assert [name for name in "abcd" if await cache.get(f"k:{name}")] == ["a", "c", "d"]
    assert cache.bytes == 3 * (ENTRY_BYTES + 10)
    await cache.put("k:huge", bytes(5000), 60)
    assert (cache.bytes, await cache.get("k:huge")) == (0, None)


async def test_a_listener_that_lets_too_much_queue_is_told(metrics: Metrics) -> None:
    cache = MemoryCache(metrics)
    async with aclosing(cache.listen("news")) as listener:
        assert await anext(listener) is None
        for number in range(limits.MAX_QUEUED_NEWS + 2):
            await cache.publish("news", b"%d" % number)
        assert [await anext(listener) for _ in range(2)] == [None, b"%d" % (limits.MAX_QUEUED_NEWS + 1)]


async def test_without_redis_nothing_is_there_and_nothing_fails(
    cache: RedisCache, running_redis: RunningRedis, metrics: Metrics
) -> None:
    await cache.put("kind:a", b"1", 60)
    await running_redis.server.kill()
    try:
        for _ in range(3):
            await cache.put("kind:a", b"2", 60)
            assert await cache.get("kind:a") is None
            await cache.remove("kind:a")
            await cache.publish("news", b"lost")
    finally:
        await running_redis.server.start()
    counted = metrics.registry.get_sample_value
    assert counted("algotrade_cache_reads_total", {"kind": "kind", "result": "error"}) == 3
    assert (counted("algotrade_redis_errors_total", {"use": "cache"}) or 0) >= 1
    async with asyncio.timeout(20):
        while await cache.get("kind:a") is None:
            await cache.put("kind:a", b"3", 60)
    assert await cache.get("kind:a") == b"3"


async def test_a_silent_redis_is_not_asked_again_and_again(cache: RedisCache, running_redis: RunningRedis) -> None:
    cache._retry_seconds = 60
    os.kill(running_redis.server.pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        for _ in range(200):
            assert await cache.get("kind:a") is None
        assert time.monotonic() - begin < 60, "200 times its patience would be 100 s"
    finally:
        os.kill(running_redis.server.pid, signal.SIGCONT)


async def test_a_listener_is_told_that_it_may_have_missed_something(
    cache: RedisCache, running_redis: RunningRedis
) -> None:
    async with aclosing(cache.listen("news")) as listener, asyncio.timeout(30):
        assert await anext(listener) is None
        await cache.publish("news", b"1")
        assert await anext(listener) == b"1"
        await running_redis.restart()
        assert await anext(listener) is None
        heard = asyncio.ensure_future(anext(listener))
        while not heard.done():
            await cache.publish("news", b"2")  # until its own pause after the failure is over
            await asyncio.wait({heard}, timeout=0.05)
        assert await heard == b"2"
