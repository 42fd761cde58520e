"""A venue for as long as one likes, with every fault again and again: each trade once, in order, in flat memory."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import Callable
from contextlib import aclosing

import psutil
import pytest
from market_data.venues.fake_coinbase import FakeCoinbase

from algotrade.market_data.feed import FeedTicks, Resume
from algotrade.market_data.venues.build import coinbase_feed
from algotrade.platform.clock import SystemClock
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

A = "BTC-USD"
ROUND = 500  # trades between two faults
KEPT = 3 * ROUND
MIB = 1024 * 1024


class Follower:
    """Takes a feed and remembers nothing but where it is."""

    def __init__(self) -> None:
        self.last = 0
        self.wrong = ""
        self._moved = asyncio.Event()

    async def follow(self, venue: FakeCoinbase) -> None:
        settings = Settings(
            coinbase_symbols=(A,),
            coinbase_ws_url=venue.ws_url,
            coinbase_rest_url=venue.rest_url,
            venue_patience_seconds=0.02,
            venue_retry_seconds=0.02,
            venue_backoff_seconds=0.01,
            venue_most_backoff_seconds=0.05,
        )
        feed = coinbase_feed(settings, SystemClock(), Metrics())
        async with aclosing(feed.run(A, Resume(epoch=1))) as items:
            async for item in items:
                if isinstance(item, FeedTicks):
                    self._take([int(number.rpartition(":")[2]) for number in item.trade_ids or ()])

    def _take(self, numbers: list[int]) -> None:
        expected = list(range(self.last + 1, self.last + 1 + len(numbers))) if self.last else numbers
        if numbers != expected and not self.wrong:
            self.wrong = f"{numbers[:5]} … came where {expected[:5]} … was due"
        self.last = numbers[-1]
        self._moved.set()

    async def reaches(self, number: int) -> None:
        async with asyncio.timeout(60):
            while self.last < number and not self.wrong:
                self._moved.clear()
                await self._moved.wait()
        assert not self.wrong


async def fault(venue: FakeCoinbase, chance: random.Random) -> None:
    """Let one thing go wrong."""
    made = [venue.happen(A) for _ in range(4)]
    match chance.choice(["cut", "close", "untold", "again", "disorder", "garbage", "busy"]):
        case "cut":
            await venue.cut()
        case "close":
            await venue.close()
        case "again":
            await venue.tell(A, *made, *made)
        case "disorder":
            await venue.tell(A, *reversed(made))
        case "garbage":
            await venue.send("{")
            await venue.tell(A, *made[1:])
        case "busy":
            venue.answers += [429]


async def soak(going: Callable[[int], bool], seed: int) -> None:
    """Trade while ``going`` (told of the rounds so far), and judge memory from the fifth round on."""
    chance, follower, memory = random.Random(seed), Follower(), []
    async with FakeCoinbase() as venue:
        following = asyncio.create_task(follower.follow(venue))
        try:
            await venue.subscribed()
            rounds = 0
            while going(rounds):
                for _ in range(ROUND):
                    await venue.trade(A)
                await fault(venue, chance)
                await venue.until(lambda: bool(venue.open))
                await follower.reaches(await venue.trade(A))
                del venue.trades[A][:-KEPT], venue.asked[:], venue.requests[:]
                gc.collect()
                memory.append(psutil.Process(os.getpid()).memory_info().rss)
                rounds += 1
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    # In a run of all tests the process is not its own: others' servers live in it.
    assert max(memory[5:]) - memory[5] < 16 * MIB, [round(one / MIB, 1) for one in memory]


async def test_a_venue_with_a_fault_every_few_hundred_trades() -> None:
    await soak(lambda rounds: rounds < 25, seed=20261126)


@pytest.mark.nightly
@pytest.mark.timeout(4200)
async def test_an_hour_of_a_venue_with_faults() -> None:
    until = time.monotonic() + 3600
    await soak(lambda _: time.monotonic() < until, seed=7)
