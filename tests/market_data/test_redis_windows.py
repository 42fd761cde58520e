"""Windows in Redis beyond the contract: held to memory, shared between processes, spread over a cluster."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from redis.asyncio import RedisCluster

from algotrade.engine.records import MARKER, TICK, Records
from algotrade.market_data.redis_windows import HEADER, LIFE_SECONDS, RedisWindows
from algotrade.market_data.tick_log import LoggedTicks
from algotrade.market_data.window import MemoryWindows
from algotrade.platform import limits
from algotrade.platform.redis import RedisClient

A = "BTC-USD"


def ticks(first: int, last: int, seed: int = 0) -> Records:
    """Ticks with random prices, an eighth of them markers; those of a sequence are always the same."""
    return market(seed)[first : last + 1].copy()


@lru_cache
def market(seed: int, count: int = 40_000) -> Records:
    random = np.random.default_rng(seed)
    made = np.zeros(count, TICK)
    made["seq"] = np.arange(count)
    made["ts"] = made["seq"] * 1_000_000_007
    made["price"] = random.integers(1, 2**62, count)
    made["size"] = random.random(count)
    made["flags"] = np.where(random.random(count) < 0.125, MARKER, 0)
    made["price"][made["flags"] == MARKER] = 0
    return made


def over(client: RedisClient, capacity: int = 300, symbols: tuple[str, ...] = (A,)) -> RedisWindows:
    return RedisWindows(client, list(symbols), capacity, poll_seconds=0.02)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_done_redis_answers_as_memory_does(redis: RedisClient, seed: int) -> None:
    random = np.random.default_rng(seed)
    capacity = int(random.integers(1, 300))
    both = (over(redis, capacity), MemoryWindows([A], capacity))
    end = 0
    for epoch in range(40):
        kind = random.choice(["append", "repeat", "hole", "grow", "replace"], p=[0.6, 0.2, 0.08, 0.06, 0.06])
        length = int(random.choice([1, 2, 63, 64, 65, 200, 700]))
        first = {"repeat": max(1, end - length // 2), "hole": end + 2 + length}.get(kind, end + 1)
        for windows in both:
            if kind == "grow":
                await windows.grow(A, capacity + length, ticks(max(1, end - 900), max(1, end), seed))
            elif kind == "replace":
                await windows.replace(A, epoch, ticks(first, first + length, seed))
            else:
                await windows.append(A, epoch, ticks(first, first + length, seed))
        if kind != "grow":
            end = max(end, first + length)
        stored, held = both
        assert await stored.head(A) == await held.head(A)
        assert await stored.capacity(A) == await held.capacity(A)
        for count in (1, 64, 100, 1500):
            assert (await stored.newest(A, count)).tobytes() == (await held.newest(A, count)).tobytes()
        for after in (0, end + 1, end, *random.integers(max(0, end - 400), end + 1, 6).tolist()):
            found, wanted = await stored.after(A, after, 100), await held.after(A, after, 100)
            assert (found is None, b"" if found is None else found.tobytes()) == (
                wanted is None,
                b"" if wanted is None else wanted.tobytes(),
            ), f"after {after} of {end}"


async def test_two_processes_share_a_window(redis: RedisClient) -> None:
    writer, reader = over(redis), over(redis)
    await writer.append(A, 3, ticks(1, 10))
    assert (await reader.newest(A, 99)).tobytes() == ticks(1, 10).tobytes()
    assert await reader.wait(A, 9, 20), "nobody told it: it looked"
    assert not await reader.wait(A, 10, 0.01)
    await reader.grow(A, 500, ticks(1, 0))
    await writer.append(A, 3, ticks(11, 480))
    assert len(await writer.newest(A, 1000)) == 480, "the writer keeps what the other made room for"
    assert await over(redis).capacity(A) == 500


async def test_a_stream_is_plain_to_read_and_ends_a_day_after_the_last_tick(redis: RedisClient) -> None:
    await over(redis).append(A, 3, ticks(1, 100))
    assert LIFE_SECONDS - 60 < await redis.ttl("market:{BTC-USD}") <= LIFE_SECONDS
    entries = await redis.xrange("market:{BTC-USD}")
    assert [entry for entry, _ in entries] == [b"64-0", b"100-0"]
    assert b"".join(fields[b"packed"][HEADER.size :] for _, fields in entries) == ticks(1, 100).tobytes()
    assert {HEADER.unpack_from(fields[b"packed"])[::2] for _, fields in entries} == {(3, 300)}


async def test_a_stream_holds_little_more_than_its_window(redis: RedisClient) -> None:
    windows = over(redis, 100)
    for first in range(1, 5000, 7):
        await windows.append(A, 1, ticks(first, first + 6))
    entries = await redis.xrange("market:{BTC-USD}")
    held = sum((len(fields[b"packed"]) - HEADER.size) // TICK.itemsize for _, fields in entries)
    assert 100 <= held < 100 + limits.MAX_TICKS_AN_ENTRY


async def test_windows_are_spread_over_a_cluster(cluster: RedisClient) -> None:
    assert isinstance(cluster, RedisCluster)
    symbols = tuple(f"SYM{number}" for number in range(24))
    windows = over(cluster, 100, symbols)
    for first in range(1, 401, 50):
        await windows.append_all({symbol: LoggedTicks(1, ticks(first, first + 49)) for symbol in symbols})
    assert len({cluster.get_node_from_key(f"market:{{{symbol}}}").name for symbol in symbols}) == 3
    other = over(cluster, 100, symbols)
    for symbol in symbols:
        assert (await other.newest(symbol, 500)).tobytes() == ticks(301, 400).tobytes()[-100 * TICK.itemsize :]
    await windows.grow("SYM5", 150, ticks(200, 320))
    assert (await other.head("SYM5")).oldest == 251
