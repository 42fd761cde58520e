"""The made-up market: deterministic, plausible, in its clock's time."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from market_data.feeds import SECOND, ManualClock

from algotrade.engine.fixed import SCALE
from algotrade.engine.records import Records
from algotrade.market_data.feed import Resume
from algotrade.market_data.synthetic import CHUNK, MarketModel, SyntheticFeed, SyntheticMarket


def market(seed: int = 1, chunks: int = 400, **changes: float) -> Records:
    made = SyntheticMarket(MarketModel(100 * SCALE, **changes), (seed,), start_ns=0)  # type: ignore[arg-type]
    return np.concatenate([made.chunk() for _ in range(chunks)])


def test_a_seed_names_a_market() -> None:
    assert market(1).tobytes() == market(1).tobytes()
    assert market(1).tobytes() != market(2).tobytes()


def test_ticks_are_good_ticks() -> None:
    ticks = market()
    assert np.all(ticks["price"] > 0)
    assert np.all(ticks["price"] % (SCALE // 100) == 0), "prices lie on a tick of 0.01"
    assert np.all(np.diff(ticks["ts"]) > 0)
    assert np.all(ticks["size"] >= 0)


def test_a_worthless_market_still_has_a_price() -> None:
    made = SyntheticMarket(MarketModel(SCALE // 100, volatility=500.0), (3,), 0)
    ticks = np.concatenate([made.chunk() for _ in range(400)])
    assert np.all(ticks["price"] >= SCALE // 100)


def test_there_are_gaps_bursts_jumps_and_clustered_volatility() -> None:
    ticks = market(chunks=2000, jump_chance=0.002, jump_size=0.02)
    waits = np.diff(ticks["ts"]) / SECOND
    assert np.count_nonzero(waits > 2.0) >= 10, "gaps"
    per_chunk = waits[: len(waits) // CHUNK * CHUNK].reshape(-1, CHUNK).mean(axis=1)
    assert np.count_nonzero(per_chunk < 0.01) >= 30, "bursts, ten times as fast as 20 a second"
    returns = np.abs(np.diff(np.log(ticks["price"])))
    assert np.count_nonzero(returns > 0.01) >= 20, "jumps"
    calm = returns[returns < 0.01]
    volatility = calm[: len(calm) // CHUNK * CHUNK].reshape(-1, CHUNK).mean(axis=1)
    assert np.corrcoef(volatility[:-1], volatility[1:])[0, 1] > 0.3, "a wild chunk follows a wild one"


async def read(feed: SyntheticFeed, clock: ManualClock, step: float, count: int, resume: Resume) -> Records:
    """Read ``count`` ticks while the clock is turned in steps."""

    async def turn() -> None:
        while True:
            clock.turn(step)
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    found: list[Records] = []
    try:
        async for fed in feed.run("BTC-USD", resume):
            assert fed.ticks["ts"][-1] <= clock.now_ns(), "nothing comes before its time"
            found.append(fed.ticks)
            if sum(map(len, found)) >= count:
                break
    finally:
        turning.cancel()
    return np.concatenate(found)[:count]


@pytest.mark.parametrize("step", [0.001, 0.3, 20.0])
async def test_the_pace_of_the_reader_changes_nothing(step: float) -> None:
    slow, fast = ManualClock(), ManualClock()
    reference = await read(SyntheticFeed(["BTC-USD"], 7, slow), slow, 0.05, 150, Resume(epoch=1))
    assert (await read(SyntheticFeed(["BTC-USD"], 7, fast), fast, step, 150, Resume(epoch=1))).tobytes() == (
        reference.tobytes()
    )


async def test_after_a_restart_the_price_goes_on_and_the_path_is_new() -> None:
    clock = ManualClock()
    feed = SyntheticFeed(["BTC-USD"], 7, clock)
    first = await read(feed, clock, 1.0, 100, Resume(epoch=1))
    resume = Resume(epoch=2, sequence=100, event_ns=int(first["ts"][-1]), price=int(first["price"][-1]))
    second = await read(feed, clock, 1.0, 100, resume)
    assert second["ts"][0] > first["ts"][-1]
    assert abs(int(second["price"][0]) / int(first["price"][-1]) - 1) < 0.02
    assert np.diff(second["price"]).tolist() != np.diff(first["price"]).tolist()
