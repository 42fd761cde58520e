"""History: only what is missing is fetched, holes stay holes, a crash or a damaged file costs a fetch and no more."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_data.feeds import ManualClock
from market_data.venues.fake_coinbase import FakeCoinbase

from algotrade.engine.records import BAR, Records
from algotrade.market_data.history.cache import CandleCache, DamagedError, Series
from algotrade.market_data.history.fetch import Downloader
from algotrade.market_data.history.report import report
from algotrade.market_data.venues.coinbase_rest import ExchangeCandles
from algotrade.market_data.venues.rest import Rest
from algotrade.market_data.venues.venue import VenueError, VenueRefused
from algotrade.platform import limits

SECOND, MINUTE = 1_000_000_000, 60
PRODUCT = "BTC-USD"
CHUNK = limits.BARS_A_CHUNK
START = 1_700_000_000 // (CHUNK * MINUTE) * CHUNK * MINUTE  # where a chunk of minutes begins
HOLES = {5, 6, 299, 300, 301, 700}


def rows(count: int, holes: set[int] = HOLES) -> list[list[float]]:
    """Return minutes as the venue writes them: time, low, high, open, close, volume."""
    return [
        [START + at * MINUTE, 99.5, 101.25, 100 + at % 2, 100.01, 0.5 + at] for at in range(count) if at not in holes
    ]


@pytest.fixture
async def venue() -> AsyncIterator[FakeCoinbase]:
    async with FakeCoinbase() as venue:
        venue.candles[PRODUCT] = rows(4000)
        yield venue


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock((START + 4000 * MINUTE) * SECOND)


@pytest.fixture
async def source(venue: FakeCoinbase) -> AsyncIterator[ExchangeCandles]:
    source = ExchangeCandles(Rest(venue.rest_url, a_second=10_000))
    yield source
    await source.close()


@pytest.fixture
def cache(tmp_path: Path) -> CandleCache:
    return CandleCache(tmp_path / "history")


@pytest.fixture
def downloader(source: ExchangeCandles, cache: CandleCache, clock: ManualClock) -> Downloader:
    return Downloader(source, cache, clock)


def at(minute: int) -> int:
    return (START + minute * MINUTE) * SECOND


def minutes(bars: Records) -> list[int]:
    return ((bars["ts"] // SECOND - START) // MINUTE).tolist()


async def test_a_range_is_fetched_once_exactly_and_its_holes_stay_holes(
    downloader: Downloader, cache: CandleCache, venue: FakeCoinbase
) -> None:
    series = downloader.series(PRODUCT, "1m")
    told: list[tuple[int, int]] = []
    outcome = await downloader.fetch(series, at(100), at(2000), lambda done, total: told.append((done, total)))
    assert told[0] == (0, 2)
    assert told[-1] == (2, 2)
    assert outcome.requests == len(venue.requests) == 2 * CHUNK // 300
    assert outcome.bars == 2 * CHUNK - len(HOLES)
    bars = cache.read(series, at(0), at(2000))
    assert minutes(bars) == [minute for minute in range(2000) if minute not in HOLES]
    assert bars[1].tolist() == (at(1), 10_100_000_000, 10_125_000_000, 9_950_000_000, 10_001_000_000, 1.5)
    again = await downloader.fetch(series, at(0), at(3000))
    assert (again.requests, again.whole) == (0, 2)
    await downloader.fetch(series, at(2999), at(3001))
    assert len(venue.requests) == outcome.requests + (4000 - 3000) // 300 + 1, "only the chunk that was not there"


async def test_the_newest_chunk_grows_by_what_is_new(
    downloader: Downloader, cache: CandleCache, venue: FakeCoinbase, clock: ManualClock
) -> None:
    series = downloader.series(PRODUCT, "1m")
    await downloader.fetch(series, at(3000), at(9999))
    assert minutes(cache.read(series, at(3000), at(9999)))[-1] == 3998, "the bar that has not settled is not kept"
    venue.requests.clear()
    venue.candles[PRODUCT] = rows(4100)
    clock.turn(100 * 60)
    outcome = await downloader.fetch(series, at(3000), at(9999))
    assert (outcome.requests, outcome.bars, outcome.revised) == (1, 100, 0)
    assert minutes(cache.read(series, at(3000), at(9999))) == list(range(3000, 4099))
    assert len(cache.chunks(series)) == 1


async def test_what_the_venue_tells_differently_is_fetched_anew(
    downloader: Downloader, cache: CandleCache, venue: FakeCoinbase, clock: ManualClock
) -> None:
    series = downloader.series(PRODUCT, "1m")
    await downloader.fetch(series, at(3000), at(9999))
    venue.candles[PRODUCT] = [[*row[:5], row[5] + 1] for row in rows(4100)]
    clock.turn(100 * 60)
    outcome = await downloader.fetch(series, at(3000), at(9999))
    assert outcome.revised == 1
    bars = cache.read(series, at(3000), at(9999))
    assert bars["volume"].tolist() == [row[5] for row in venue.candles[PRODUCT] if 3000 <= row[5] - 1.5 < 4099]


async def test_a_crash_while_writing_leaves_the_old_or_the_new(
    downloader: Downloader, cache: CandleCache, venue: FakeCoinbase, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = downloader.series(PRODUCT, "1m")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        await downloader.fetch(series, at(0), at(1500))
    assert cache.chunks(series) == []
    assert len(cache.leftovers()) == 1
    monkeypatch.undo()
    await downloader.fetch(series, at(0), at(1500))
    whole = cache.chunks(series)[0]
    older = whole.path.with_name(f"{whole.start_ns}_{whole.end_ns - 60 * SECOND}.parquet")
    older.write_bytes(whole.path.read_bytes())  # a crash between the new file and the end of the old one
    assert cache.chunks(series) == [whole]


@pytest.mark.parametrize("damage", ["cut", "garbage", "swapped", "empty"])
async def test_a_damaged_file_is_noticed_and_fetched_again(
    downloader: Downloader, cache: CandleCache, clock: ManualClock, damage: str
) -> None:
    series = downloader.series(PRODUCT, "1m")
    await downloader.fetch(series, at(3000), at(3500))
    [chunk] = cache.chunks(series)
    data = chunk.path.read_bytes()
    if damage == "swapped":
        pl.read_parquet(chunk.path).reverse().write_parquet(chunk.path)
    else:
        chunk.path.write_bytes(
            {"cut": data[: len(data) // 2], "garbage": b"PAR1" + os.urandom(99), "empty": b""}[damage]
        )
    with pytest.raises(DamagedError):
        cache.read(series, at(3000), at(3500))
    clock.turn(120)
    outcome = await downloader.fetch(series, at(3000), at(9999))
    assert outcome.damaged == 1
    assert minutes(cache.read(series, at(3000), at(3500))) == list(range(3000, 3500))


async def test_a_venue_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    downloader: Downloader, venue: FakeCoinbase
) -> None:
    series = downloader.series(PRODUCT, "1m")
    venue.answers += [429, 503]
    await downloader.fetch(series, at(0), at(10))
    assert len(venue.requests) == CHUNK // 300 + 2
    venue.answers += [404]
    with pytest.raises(VenueRefused, match="404"):
        await downloader.fetch(series, at(1500), at(1510))


async def test_rows_that_cannot_be_are_left_out_and_counted(source: ExchangeCandles, venue: FakeCoinbase) -> None:
    good = rows(4, set())
    venue.candles[PRODUCT] = [
        good[0],
        [good[1][0], 0, 101, 100, 100, 1],
        [good[2][0], 102, 101, 100, 100, 1],
        [good[3][0], 99, 101, 100, 100, -1],
        [good[3][0] + 1, 99, 101, 100, 100, 1],
    ]
    found = await source.candles(PRODUCT, MINUTE * SECOND, at(0), at(10))
    assert minutes(found.bars) == [0]
    assert dict(found.left_out) == {"bad_price": 2, "bad_size": 1, "off_grid": 1}
    venue.candles[PRODUCT] = [[good[0][0]]]
    with pytest.raises(VenueError):
        await source.candles(PRODUCT, MINUTE * SECOND, at(0), at(10))


def test_names_that_lead_elsewhere_are_refused(cache: CandleCache) -> None:
    with pytest.raises(ValueError, match="name"):
        cache.chunks(Series("coinbase", "../../etc", "1m", MINUTE * SECOND))


@given(st.lists(st.integers(0, 60), max_size=60), st.sets(st.integers(0, 60), max_size=5))
def test_the_report_counts_what_is_odd(slots: list[int], off: set[int]) -> None:
    times = np.array([slot * 10 for slot in slots] + [slot * 10 + 3 for slot in off], np.int64)
    found = report(times, np.zeros(len(times)), 10)
    covered = {time // 10 for time in times.tolist()}
    span = set(range(min(covered, default=0), max(covered, default=-1) + 1))
    assert found.missing == len(span - covered)
    assert found.duplicates == len(slots) - len(set(slots))
    assert found.off_grid_total == len(off)
    assert found.order_breaks == sum(later < earlier for earlier, later in pairwise(times))
    assert sum(hole.bars for hole in found.holes) == found.missing or found.holes_total > len(found.holes)


def test_nothing_is_reported_of_nothing() -> None:
    assert report(np.zeros(0, np.int64), np.zeros(0), 10).bars == 0
    assert BAR.names is not None
