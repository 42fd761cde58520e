"""What every adapter of the cache must do. An adapter joins by a line in `cache`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from algotrade.platform import limits
from algotrade.platform.cache import Cache, MemoryCache
from algotrade.platform.cache_redis import RedisCache
from algotrade.platform.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(params=["memory", "redis", "cluster"])
def cache(request: pytest.FixtureRequest, metrics: Metrics) -> Cache:
    if request.param == "memory":
        return MemoryCache(metrics)
    return RedisCache(request.getfixturevalue(request.param), metrics, retry_seconds=0.05)


async def following(listener: AsyncGenerator[bytes | None, None]) -> bytes | None:
    async with asyncio.timeout(20):
        return await anext(listener)


async def test_what_was_put_is_found_until_it_is_removed(cache: Cache, metrics: Metrics) -> None:
    assert await cache.get("kind:a") is None
    await cache.put("kind:a", b"\x00\xff", 60)
    await cache.put("kind:b", b"", 60)
    assert await cache.get("kind:a") == b"\x00\xff"
    assert await cache.get("kind:b") == b""
    await cache.put("kind:a", b"2", 60)
    assert await cache.get("kind:a") == b"2"
    await cache.remove("kind:a")
    await cache.remove("kind:a")
    assert await cache.get("kind:a") is None
    counted = metrics.registry.get_sample_value
    assert counted("algotrade_cache_reads_total", {"kind": "kind", "result": "hit"}) == 3
    assert counted("algotrade_cache_reads_total", {"kind": "kind", "result": "miss"}) == 2


async def test_many_ask_at_once(cache: Cache) -> None:
    await cache.put("kind:a", b"1", 60)
    assert set(await asyncio.gather(*(cache.get("kind:a") for _ in range(300)))) == {b"1"}


async def test_a_value_ends_with_its_time(cache: Cache) -> None:
    await cache.put("kind:short", b"1", 1)
    await cache.put("kind:long", b"2", 60)
    async with asyncio.timeout(20):
        while await cache.get("kind:short") is not None:
            pass
    assert await cache.get("kind:long") == b"2"


async def test_a_value_that_is_too_large_is_not_kept(cache: Cache) -> None:
    await cache.put("kind:large", bytes(limits.MAX_CACHED_VALUE_BYTES), 60)
    assert len(await cache.get("kind:large") or b"") == limits.MAX_CACHED_VALUE_BYTES
    await cache.put("kind:larger", bytes(limits.MAX_CACHED_VALUE_BYTES + 1), 60)
    assert await cache.get("kind:larger") is None


async def test_everyone_who_listens_hears_in_order(cache: Cache) -> None:
    async with aclosing(cache.listen("news")) as one, aclosing(cache.listen("news")) as two:
        assert await following(one) is None, "what came before was missed"
        assert await following(two) is None
        for number in range(50):
            await cache.publish("other", b"not this")
            await cache.publish("news", b"%d" % number)
        for listener in (one, two):
            assert [await following(listener) for _ in range(50)] == [b"%d" % number for number in range(50)]


async def test_silence_ends_nothing(cache: Cache) -> None:
    async with aclosing(cache.listen("news")) as listener:
        assert await following(listener) is None
        waiting = asyncio.create_task(following(listener))
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done()
        await cache.publish("news", b"at last")
        assert await waiting == b"at last"
