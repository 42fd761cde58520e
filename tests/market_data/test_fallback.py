"""Redis is emptied, killed, frozen and full in the middle: windows go on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from conftest import RunningRedis
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from algotrade.engine.records import TICK, Records
from algotrade.market_data.fallback import FallbackWindows
from algotrade.market_data.redis_windows import RedisWindows
from algotrade.market_data.tick_log import LoggedTicks
from algotrade.market_data.window import Head, fill
from algotrade.platform import limits
from algotrade.platform.bus import Bus, Message
from algotrade.platform.metrics import Metrics
from algotrade.platform.redis import AWAY, RedisClient, open_redis
from algotrade.platform.settings import Settings
from algotrade.platform.ticks import to_batch
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1.events_pb2 import MarketDataUpdate

A, B = "BTC-USD", "ETH-USD"
CAPACITY = 100


def ticks(first: int, last: int) -> Records:
    made = np.zeros(last - first + 1, TICK)
    made["seq"] = np.arange(first, last + 1)
    made["ts"] = made["seq"] * 1000
    made["price"] = made["seq"] * 7
    return made


class Market:
    """A writer: ticks go into the log and then into the windows, as ingest has it."""

    def __init__(self, client: RedisClient, bus: Bus) -> None:
        self.metrics = Metrics()
        self.client, self.bus = client, bus
        self.stored = RedisWindows(client, [A, B], CAPACITY, poll_seconds=0.05)
        self.windows = FallbackWindows(self.stored, bus, self.metrics, retry_seconds=0.05)

    async def log(self, symbol: str, first: int, last: int) -> None:
        update = MarketDataUpdate(symbol=symbol, epoch=1, ticks=to_batch(ticks(first, last)))
        await self.bus.publish(MARKET_DATA_UPDATES, [Message(symbol, update.SerializeToString())])

    async def write(self, first: int, last: int, symbols: tuple[str, ...] = (A, B)) -> None:
        for symbol in symbols:
            await self.log(symbol, first, last)
        await self.windows.append_all({symbol: LoggedTicks(1, ticks(first, last)) for symbol in symbols})

    async def back(self) -> None:
        """Return when the windows are in Redis again."""
        async with asyncio.timeout(20):
            while self.windows.in_memory:  # noqa: ASYNC110  (nobody is told when)
                await asyncio.sleep(0.01)

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture(autouse=True)
def _short_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little beside Redis, so that it is Redis that is read."""
    monkeypatch.setattr(limits, "MAX_TICKS_A_TAIL", 10)


@pytest.fixture
async def market(running_redis: RunningRedis, redis: RedisClient, bus: Bus) -> AsyncIterator[Market]:
    settings = Settings(redis_url=SecretStr(running_redis.url), redis_timeout_seconds=1)
    async with open_redis(settings, Metrics()) as client:
        assert client is not None
        market = Market(client, bus)
        async with market.windows.recovering():
            yield market


async def expect(market: Market, first: int, last: int, symbol: str = A) -> None:
    windows = market.windows
    assert (await windows.newest(symbol, 999)).tobytes() == ticks(first, last).tobytes()
    assert await windows.head(symbol) == Head(last, first, 1, last * 1000, last * 7)
    for back in (5, 10, 11, 60):
        found = await windows.after(symbol, last - back, 99)
        assert found is not None
        assert found["seq"].tolist() == list(range(last - back + 1, last + 1))
    at_the_end = await windows.after(symbol, last, 99)
    assert at_the_end is not None
    assert len(at_the_end) == 0
    assert await windows.after(symbol, first - 2, 9) is None


Loss = Callable[[Market], Awaitable[object]]
LOSSES: dict[str, Loss] = {
    "emptied": lambda market: market.client.flushall(),
    "the stream removed": lambda market: market.client.delete(f"market:{{{A}}}"),
    "entries removed": lambda market: market.client.xtrim(f"market:{{{A}}}", maxlen=0),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("noticed", ["by a write", "by newest", "by after"])
async def test_what_redis_has_lost_is_put_back_from_the_log(market: Market, loss: str, noticed: str) -> None:
    for first in range(1, 200, 20):
        await market.write(first, first + 19)
    await LOSSES[loss](market)
    end = 200
    if noticed == "by a write":
        await market.write(201, 203)
        end = 203
    elif noticed == "by newest":
        assert len(await market.windows.newest(A, 10)) == 10
    else:
        found = await market.windows.after(A, 150, 10)
        assert found is not None
        assert found["seq"].tolist() == list(range(151, 161))
    await expect(market, end - CAPACITY + 1, end)
    assert (await market.stored.newest(A, 999)).tobytes() == ticks(end - CAPACITY + 1, end).tobytes()
    await expect(market, end - CAPACITY + 1, end, B)
    assert market.counted("algotrade_window_rebuilds_total") == (1 if loss != "emptied" else 2)
    assert not market.windows.in_memory


async def test_one_loss_after_the_other_is_put_back_each_time(market: Market) -> None:
    await market.write(1, 150)
    for _ in range(5):
        await market.client.flushall()
        await expect(market, 51, 150)
    assert market.counted("algotrade_window_rebuilds_total") == 5


async def test_who_reads_while_a_write_puts_back_what_was_lost_waits_for_it(market: Market) -> None:
    await market.write(1, 150)
    for first in range(151, 400, 10):
        await market.client.flushall()
        writing = asyncio.create_task(market.write(first, first + 9, (A,)))
        while not writing.done():
            found = await market.windows.newest(A, 100)
            assert found["seq"][-1] in (first - 1, first + 9)
            assert len(found) in (90, 100), "the ten that are new may have pushed out ten, and not be known yet"
            assert (np.diff(found["seq"]) == 1).all()
        await writing


async def test_a_log_that_is_away_at_that_moment_is_waited_for(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    await market.write(1, 150)
    await market.client.flushall()
    read, refusals = market.bus.read, iter(range(3))

    async def refusing(*arguments: Any) -> Any:
        if next(refusals, None) is not None:
            raise OperationalError("", {}, ConnectionRefusedError())
        return await read(*arguments)

    monkeypatch.setattr(market.bus, "read", refusing)
    await market.write(151, 160)
    assert next(refusals, None) is None
    await expect(market, 61, 160)


async def test_many_readers_at_once_after_a_loss_are_all_answered(market: Market) -> None:
    await market.write(1, 150)
    await market.client.flushall()
    found = await asyncio.gather(*(market.windows.newest(A, 50) for _ in range(40)))
    assert {each.tobytes() for each in found} == {ticks(101, 150).tobytes()}
    assert market.counted("algotrade_window_rebuilds_total") == 1


async def test_killed_and_started_again(market: Market, running_redis: RunningRedis) -> None:
    await market.write(1, 150)
    waiting = asyncio.create_task(market.windows.wait(A, 150, 20))
    await running_redis.server.kill()
    try:
        await expect(market, 51, 150)
        assert market.windows.in_memory
        await market.write(151, 170)
        assert await waiting
        await expect(market, 71, 170)
        await market.windows.grow(A, 120, ticks(1, 70))
        await expect(market, 51, 170)
        assert market.counted("algotrade_redis_errors_total", use="windows") >= 1
    finally:
        await running_redis.server.start()
    await market.back()
    assert (await market.stored.newest(A, 999)).tobytes() == ticks(51, 170).tobytes()
    assert (await market.stored.newest(B, 999)).tobytes() == ticks(71, 170).tobytes()
    await market.write(171, 180)
    await expect(market, 61, 180)
    assert await market.stored.capacity(A) == 120


async def test_frozen_it_holds_nobody_up_for_long(market: Market, running_redis: RunningRedis) -> None:
    await market.write(1, 150)
    os.kill(running_redis.server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(expect(market, 51, 150), expect(market, 51, 150, B))
        await market.write(151, 152)
        await expect(market, 53, 152)
    finally:
        os.kill(running_redis.server.pid, signal.SIGCONT)
    await market.back()
    await expect(market, 53, 152)


async def test_full_it_is_done_without(market: Market) -> None:
    await market.write(1, 150)
    await market.client.config_set("maxmemory", 1)
    try:
        await market.write(151, 160)
        assert market.windows.in_memory
        await expect(market, 61, 160)
    finally:
        await market.client.config_set("maxmemory", 0)
    await market.back()
    await expect(market, 61, 160)


async def test_what_another_log_left_in_redis_is_replaced_at_the_start(market: Market) -> None:
    for symbol in (A, B):
        await market.stored.append(symbol, 9, ticks(1000, 5000))
        await market.log(symbol, 1, 30)
        await fill(market.windows, market.bus, symbol)
    await market.write(31, 40)
    assert (await market.windows.newest(A, 999)).tobytes() == ticks(1, 40).tobytes()


async def test_no_reader_is_ahead_of_the_head(market: Market) -> None:
    """A write reaches Redis a moment before the writer says so; who read it then would be ahead of the feed."""
    await market.write(1, 150)
    await market.stored.append(A, 1, ticks(151, 153))
    assert (await market.windows.head(A)).sequence == 150
    assert (await market.windows.newest(A, 4))["seq"].tolist() == [150]
    found = await market.windows.after(A, 60, 99)
    assert found is not None
    assert found["seq"].tolist() == list(range(61, 151))
    assert await market.windows.after(A, 51, 9) is None
    assert await market.windows.after(A, 151, 9) is None
    await market.write(151, 153, (A,))
    assert market.counted("algotrade_window_rebuilds_total") == 0
    await expect(market, 54, 153)


async def test_a_feed_of_which_nothing_is_kept_anywhere_still_stands_where_it_stood(market: Market) -> None:
    await market.windows.append(A, 4, ticks(1, 50))  # the log has forgotten it
    await market.client.flushall()
    assert len(await market.windows.newest(A, 9)) == 0
    assert await market.windows.head(A) == Head(50, 51, 4, 50_000, 350)
    assert await market.windows.after(A, 20, 9) is None
    found = await market.windows.after(A, 45, 9)
    assert found is not None
    assert found["seq"].tolist() == [46, 47, 48, 49, 50], "the last few are here"
    found = await market.windows.after(A, 50, 9)
    assert found is not None
    assert len(found) == 0
    await market.write(51, 52, (A,))
    assert (await market.windows.newest(A, 9))["seq"].tolist() == [51, 52]


async def test_an_unknown_symbol_is_an_error(market: Market) -> None:
    with pytest.raises(KeyError):
        await market.windows.head("NONE")
    with pytest.raises(KeyError):
        await market.windows.append("NONE", 1, ticks(1, 1))


async def test_the_windows_in_redis_alone_say_that_it_is_away(market: Market, running_redis: RunningRedis) -> None:
    await running_redis.server.kill()
    try:
        with pytest.raises(AWAY):
            await market.stored.newest(A, 1)
    finally:
        await running_redis.server.start()
