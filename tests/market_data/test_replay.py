"""Replaying files: every tick, in order, at the asked speed, and on from where the log stands."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from market_data.feeds import SECOND, ManualClock, made

from algotrade.engine.records import CLOSES_BAR, Records, bar_ticks
from algotrade.market_data.aggregate import SymbolAggregate
from algotrade.market_data.feed import FeedTicks, Resume
from algotrade.market_data.replay import BATCH, ReplayFeed, read_ticks
from algotrade.platform.bars_file import BarFileError, read_bars
from algotrade.platform.samples import aapl_daily


@pytest.fixture(scope="module")
def aapl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aapl_daily(tmp_path_factory.mktemp("samples"))


async def everything(feed: ReplayFeed, resume: Resume | None = None) -> list[Records]:
    return [fed.ticks async for fed in feed.run(feed.symbols[0].name, resume or Resume())]


def test_the_sample_is_the_packages_daily_bars(aapl: Path) -> None:
    bars = read_bars(aapl).bars
    assert len(bars) == 1509
    assert (bars["ts"][0], bars["open"][0], bars["close"][-1]) == (1546387200 * SECOND, 38_72000000, 252_20000000)
    assert aapl_daily(aapl.parent) == aapl, "written once"


def test_bars_and_trades_are_told_apart(aapl: Path, tmp_path: Path) -> None:
    ticks, bars = read_ticks(aapl)
    assert bars
    assert ticks.tobytes() == bar_ticks(read_bars(aapl).bars).tobytes()
    trades_path = tmp_path / "trades.csv"
    trades_path.write_text("timestamp,price,size\n1700000000,10.5,2\n1700000001,10.25,1\n")
    trades, bars = read_ticks(trades_path)
    assert not bars
    assert trades["price"].tolist() == [10_50000000, 10_25000000]


def test_a_bad_row_or_a_strange_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("timestamp,open,high,low,close,volume\n1700000000,1,2,1,1,1\n1700000060,1,x,1,1,1\n")
    with pytest.raises(BarFileError) as caught:
        read_ticks(bad)
    assert (caught.value.code, [row.line for row in caught.value.bad_rows]) == ("bad_rows", [3])
    strange = tmp_path / "strange.csv"
    strange.write_text("when,what\n1,2\n")
    with pytest.raises(BarFileError, match="open"):
        read_ticks(strange)


async def test_a_replay_gives_every_tick_in_batches_of_whole_bars(aapl: Path) -> None:
    ticks, _ = read_ticks(aapl)
    batches = await everything(ReplayFeed("AAPL", ticks, ManualClock(), bars=True))
    assert np.concatenate(batches).tobytes() == ticks.tobytes()
    assert len(batches) > len(ticks) // (BATCH + 4)
    assert all(batch["flags"][-1] & CLOSES_BAR for batch in batches)


@pytest.mark.parametrize("seen", [0, 1, 700, 1508, 1509])
async def test_a_replay_goes_on_behind_the_last_logged_bar(aapl: Path, seen: int) -> None:
    ticks, _ = read_ticks(aapl)
    resume = Resume(epoch=2, sequence=seen * 4, event_ns=int(ticks["ts"][seen * 4 - 1]) if seen else 0)
    batches = await everything(ReplayFeed("AAPL", ticks, ManualClock(), bars=True), resume)
    assert sum(map(len, batches)) == len(ticks) - seen * 4
    if batches:
        assert np.concatenate(batches).tobytes() == ticks[seen * 4 :].tobytes()


async def test_trades_of_one_moment_are_never_parted() -> None:
    moments = np.repeat(np.arange(600), np.arange(600) % 7 + 1)
    ticks = made(*((int(moment) * SECOND, 5) for moment in moments))
    batches = await everything(ReplayFeed("T", ticks, ManualClock(), bars=False))
    assert np.concatenate(batches).tobytes() == ticks.tobytes()
    assert len(batches) > 1
    for left, right in pairwise(batches):
        assert left["ts"][-1] < right["ts"][0]


async def test_a_speed_scales_time() -> None:
    clock = ManualClock()
    ticks = made(*((moment * 60 * SECOND, 5) for moment in (0, 1, 2, 10)))
    feed = ReplayFeed("T", ticks, clock, bars=False, speed=60.0)
    found: list[int] = []

    async def consume() -> None:
        async for fed in feed.run("T", Resume()):
            found.extend((fed.ticks["ts"] // (60 * SECOND)).tolist())

    consuming = asyncio.create_task(consume())

    async def settle() -> list[int]:
        for _ in range(10):
            await asyncio.sleep(0)
        return found

    assert await settle() == [0]
    clock.turn(0.9)
    assert await settle() == [0]
    clock.turn(0.2)
    assert await settle() == [0, 1]
    clock.turn(1.0)
    assert await settle() == [0, 1, 2]
    clock.turn(8.0)
    await consuming
    assert found == [0, 1, 2, 10]


@pytest.mark.parametrize("seen", [0, 8, 4 * 1509 - 4, 4 * 1509, 4 * 1509 + 12, 13_600])
async def test_a_repeated_replay_begins_again_later(aapl: Path, seen: int) -> None:
    ticks, _ = read_ticks(aapl)
    wanted = 10 * len(ticks) // 4
    feed = ReplayFeed("AAPL", ticks, ManualClock(), bars=True, repeat=True)

    async def first(count: int, resume: Resume) -> Records:
        found: list[Records] = []
        async with aclosing(feed.run("AAPL", resume)) as run:
            async for fed in run:
                found.append(fed.ticks)
                if sum(map(len, found)) >= count:
                    break
        return np.concatenate(found)[:count]

    whole = await first(wanted, Resume(epoch=1))
    assert np.all(np.diff(whole["ts"]) >= 0)
    assert whole["price"].tobytes() == np.resize(ticks["price"], wanted).tobytes()
    moved = int(whole["ts"][len(ticks)]) - int(ticks["ts"][0])
    assert moved % (7 * 24 * 3600 * SECOND) == 0, "a Monday stays a Monday"
    assert 0 < int(whole["ts"][len(ticks)]) - int(ticks["ts"][-1]) < 8 * 24 * 3600 * SECOND
    rest = await first(wanted - seen, Resume(2, seen, int(whole["ts"][seen - 1]) if seen else 0))
    assert rest.tobytes() == whole[seen:].tobytes()


async def test_nothing_comes_before_the_gate_opens() -> None:
    gate = asyncio.Event()
    feed = ReplayFeed("T", made((1, 5)), ManualClock(), bars=False, gate=gate.wait)
    reading = asyncio.create_task(everything(feed))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not reading.done()
    gate.set()
    assert len(await reading) == 1


@pytest.mark.data
async def test_a_day_of_real_trades_is_replayed_whole() -> None:
    path = Path(__file__).parents[3] / "shared" / "data" / "btcusdt_trades_binance_20240808.csv.gz"
    if not path.exists():
        pytest.skip("needs the market data beside the checkout (../shared/data)")
    ticks, bars = read_ticks(path)
    assert not bars
    batches = await everything(ReplayFeed("BTCUSDT", ticks, ManualClock(), bars=False))
    assert np.concatenate(batches).tobytes() == ticks.tobytes()
    aggregate = SymbolAggregate(Resume(epoch=1))
    taken = [aggregate.take(FeedTicks(batch)) for batch in batches]
    assert sum(part.left_out.total() for part in taken) == 0
    assert np.concatenate([part.ticks for part in taken])["price"].tobytes() == ticks["price"].tobytes()
