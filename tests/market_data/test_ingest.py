"""The writer: what it logs, how it goes on after a restart, and that only one can write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from market_data.feeds import SECOND, ManualClock, ManualFeed, made, ramp
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.engine.records import MARKER, Records
from algotrade.market_data.demand import Demand
from algotrade.market_data.feed import FeedChange, FeedItem, FeedState, FeedTicks, FeedTime, Resume
from algotrade.market_data.ingest import Ingest
from algotrade.market_data.postgres import PostgresLeases
from algotrade.market_data.store import Fenced, LeaseStore
from algotrade.market_data.tick_log import newest_ticks, ticks_after
from algotrade.market_data.window import MemoryWindows
from algotrade.platform import limits
from algotrade.platform.background import end
from algotrade.platform.bus import Bounds, TransactionalBus, partition_of
from algotrade.platform.database import open_engine
from algotrade.platform.process import Platform
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1.events_pb2 import MarketDataUpdate

START = 1_700_000_000 * SECOND
A, B = "AAA", "BBB"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


class Writer:
    """An ingest with its windows, as one process would run it."""

    def __init__(
        self, platform: Platform, feed: ManualFeed, window_ticks: int = 1000, leases: LeaseStore | None = None
    ) -> None:
        self.feed = feed
        self.windows = MemoryWindows([symbol.name for symbol in feed.symbols], window_ticks)
        self.ingest = Ingest(
            [feed],
            database=platform.database,
            bus=platform.bus,
            leases=leases or PostgresLeases(platform.database),
            windows=self.windows,
            demand=Demand([]),
            clock=platform.clock,
            metrics=platform.metrics,
            marker_seconds=1.0,
            marker_grace_seconds=0.5,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        await self.ingest.open()
        task = asyncio.create_task(self.ingest.run())
        try:
            yield task
        finally:
            await end(task)

    async def reached(self, sequence: int, symbol: str = A) -> None:
        assert await self.windows.wait(symbol, sequence - 1, 20), f"never reached {sequence}"

    async def becomes(self, state: FeedState) -> None:
        async with asyncio.timeout(20):
            while self.ingest.state(A) != state:  # noqa: ASYNC110  (a state wakes nobody)
                await asyncio.sleep(0)


class Refused(PostgresLeases):
    """Leases that say when they were not to be had."""

    def __init__(self, database: AsyncEngine) -> None:
        super().__init__(database)
        self.refused = asyncio.Event()
        self.taken: Mapping[str, Resume] = {}

    async def take(self, symbols: Sequence[str]) -> Mapping[str, Resume]:
        try:
            self.taken = await super().take(symbols)
        except DBAPIError:
            self.refused.set()
            raise
        return self.taken


async def logged(bus: TransactionalBus, symbol: str, after: int = 0) -> Records:
    parts = [part.ticks async for part in ticks_after(bus, symbol, after)]
    return np.concatenate(parts) if parts else made()


async def test_ticks_reach_the_log_and_the_window_numbered(platform: Platform) -> None:
    writer = Writer(platform, ManualFeed(A, B))
    async with writer.running():
        writer.feed.push(A, ramp(START, 3))
        writer.feed.push(B, ramp(START, 2))
        writer.feed.push(A, made((START + SECOND, 0), (START + SECOND, 9)))
        await writer.reached(4)
        await writer.reached(2, B)
    ticks = await logged(platform.bus, A)
    assert ticks["seq"].tolist() == [1, 2, 3, 4]
    assert ticks["price"].tolist() == [1_000_000, 2_000_000, 3_000_000, 9]
    assert ticks.tobytes() == (await writer.windows.newest(A, 99)).tobytes()
    assert (await logged(platform.bus, B))["seq"].tolist() == [1, 2]
    counted = platform.metrics.registry.get_sample_value
    assert counted("algotrade_market_ticks_total", {"symbol": A}) == 4
    assert counted("algotrade_market_ticks_left_out_total", {"symbol": A, "reason": "bad_price"}) == 1


async def test_a_record_carries_what_has_queued_up_to_the_bound(platform: Platform) -> None:
    writer = Writer(platform, ManualFeed(A, live=False))
    count = 3 * limits.MAX_TICKS_A_RECORD + 5
    async with writer.running():
        writer.feed.push(A, ramp(START, count))
        await writer.reached(count)
    partition = partition_of(A, MARKET_DATA_UPDATES.partitions)
    assert await platform.bus.bounds(MARKET_DATA_UPDATES, partition) == Bounds(0, 4)
    assert (await logged(platform.bus, A, after=600))["seq"].tolist() == list(range(601, count + 1))
    assert sum(len(part.ticks) for part in await newest_ticks(platform.bus, A, 10)) == 5 + limits.MAX_TICKS_A_RECORD


async def test_a_restart_goes_on_with_the_next_number_and_epoch(platform: Platform) -> None:
    first = Writer(platform, ManualFeed(A))
    async with first.running():
        first.feed.push(A, ramp(START, 5))
        await first.reached(5)
    second = Writer(platform, ManualFeed(A))
    async with second.running():
        assert (await second.windows.newest(A, 99)).tobytes() == (await first.windows.newest(A, 99)).tobytes()
        second.feed.push(A, made((START - 1, 7), (START + SECOND, 8)))
        await second.reached(6)
        resume = second.feed.resumed[A]
    assert (resume.epoch, resume.sequence, resume.price) == (2, 5, 5_000_000)
    parts = [part async for part in ticks_after(platform.bus, A, 0)]
    assert [part.epoch for part in parts] == [1, 2]
    assert np.concatenate([part.ticks for part in parts])["seq"].tolist() == [1, 2, 3, 4, 5, 6]


async def test_a_writer_that_was_passed_over_writes_nothing_more(platform: Platform) -> None:
    old, new = Writer(platform, ManualFeed(A)), Writer(platform, ManualFeed(A))
    async with old.running() as old_task:
        old.feed.push(A, ramp(START, 2))
        await old.reached(2)
        async with new.running():
            old.feed.push(A, ramp(START + SECOND, 3))
            with pytest.raises(Fenced):
                await old_task
            new.feed.push(A, made((START + SECOND, 77)))
            await new.reached(3)
    assert (await logged(platform.bus, A))["price"].tolist() == [1_000_000, 2_000_000, 77]


def losing(writer: Writer, monkeypatch: pytest.MonkeyPatch, when: str) -> list[Exception]:
    """Let the next commit fail, or succeed with nobody knowing; return what is raised, taken away when it is."""
    lost: list[Exception] = [OperationalError("COMMIT", {}, ConnectionResetError())]
    real = writer.ingest._commit

    async def fails_once(*arguments: object) -> object:
        if lost and when == "before the commit":
            raise lost.pop()
        receipt = await real(*arguments)  # type: ignore[arg-type]
        if lost:
            raise lost.pop()
        return receipt

    monkeypatch.setattr(writer.ingest, "_commit", fails_once)
    return lost


async def test_the_next_writer_waits_for_one_that_is_frozen(platform: Platform) -> None:
    """One that hangs in the middle of a write keeps its row; who comes next does not give up over that."""
    first = Writer(platform, ManualFeed(A))
    async with first.running():
        first.feed.push(A, ramp(START, 5))
        await first.reached(5)
    hasty = platform.settings.model_copy(update={"lock_timeout_seconds": 0.05})
    async with open_engine(platform.database.url, hasty) as database:
        leases = Refused(database)
        second = Writer(platform, ManualFeed(A), leases=leases)
        async with platform.database.begin() as frozen:
            await frozen.execute(text("UPDATE symbol_leases SET last_sequence = last_sequence"))
            opening = asyncio.create_task(second.ingest.open())
            async with asyncio.timeout(20):
                await leases.refused.wait()
        await opening
    assert leases.taken[A].epoch == 2
    assert leases.taken[A].sequence == 5


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
async def test_a_lost_connection_loses_and_repeats_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    writer = Writer(platform, ManualFeed(A))
    async with writer.running():
        writer.feed.push(A, ramp(START, 3))
        await writer.reached(3)
        lost = losing(writer, monkeypatch, when)
        writer.feed.push(A, ramp(START + SECOND, 2))
        await writer.reached(5)
        writer.feed.push(A, ramp(START + 2 * SECOND, 1))
        await writer.reached(6)
    assert not lost
    assert (await logged(platform.bus, A))["seq"].tolist() == [1, 2, 3, 4, 5, 6]


async def test_the_writer_outlives_its_database_connections(platform: Platform) -> None:
    writer = Writer(platform, ManualFeed(A))
    async with writer.running():
        for round_number in range(3):
            writer.feed.push(A, ramp(START + round_number * SECOND, 10))
            await writer.reached(round_number * 10 + 10)
            async with platform.database.connect() as connection:
                await connection.execute(
                    text("""SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                            WHERE application_name = 'algotrade' AND pid <> pg_backend_pid()""")
                )
        writer.feed.push(A, ramp(START + 3 * SECOND, 1))
        await writer.reached(31)
    assert (await logged(platform.bus, A))["seq"].tolist() == list(range(1, 32))


async def test_silence_becomes_markers(platform: Platform, clock: ManualClock) -> None:
    writer = Writer(platform, ManualFeed(A))
    async with writer.running():
        await turn(clock, 3.0)
        writer.feed.push(A, made((clock.now_ns() - SECOND // 4, 5)))
        await writer.reached(1)
        for expected in (2, 3):
            await turn(clock, 1.0)
            await writer.reached(expected)
    ticks = await logged(platform.bus, A)
    assert ticks["flags"].tolist() == [0, MARKER, MARKER]
    assert ticks["ts"][1] % SECOND == ticks["ts"][2] % SECOND == 0
    assert (ticks["ts"][1:] // SECOND - START // SECOND).tolist() == [3, 4]
    assert ticks["price"].tolist() == [5, 0, 0]


async def records(bus: TransactionalBus, symbol: str) -> list[MarketDataUpdate]:
    read = await bus.read(MARKET_DATA_UPDATES, partition_of(symbol, MARKET_DATA_UPDATES.partitions), 0, 1000)
    return [MarketDataUpdate.FromString(record.payload) for record in read if record.key == symbol]


def told(updates: list[MarketDataUpdate]) -> list[object]:
    """Return the sequences of the ticks, and between them the states the feed became."""
    said: list[object] = []
    for one in updates:
        if one.HasField("feed_state"):
            assert one.feed_state.after_sequence == len([item for item in said if isinstance(item, int)])
            said.append(FeedState(one.feed_state.state).name)
        else:
            first = one.ticks.first_sequence
            said += range(first, first + len(one.ticks.times_nanos))
    return said


async def test_states_and_times_of_a_feed_that_tells_them_stand_where_they_were_told(
    platform: Platform, clock: ManualClock
) -> None:
    writer = Writer(platform, ManualFeed(A, tells=True))
    async with writer.running():
        for item in (
            FeedChange(FeedState.LIVE, START, "as it is"),
            FeedTime(START + 5),
            FeedTicks(ramp(START, 2), ["71", "72"]),
            FeedTime(START + SECOND),
            FeedChange(FeedState.GAP, START, "lost"),
            FeedTicks(made((START + SECOND, 7)), ["73"]),
            FeedTime(START + 1000 * SECOND),
            FeedChange(FeedState.LIVE, START, "whole"),
            FeedChange(FeedState.STALE, START, "quiet"),
        ):
            writer.feed.say(A, item)
        await turn(clock, 60)
        await writer.reached(5)
        assert writer.ingest.state(A) == FeedState.STALE
    assert told(await records(platform.bus, A)) == [1, 2, 3, "GAP", 4, 5, "LIVE", "STALE"]
    ticks = await logged(platform.bus, A)
    assert ticks["flags"].tolist() == [0, 0, MARKER, 0, MARKER]
    assert int(ticks["ts"][-1]) <= clock.now_ns() + 5 * SECOND, "a venue's clock cannot run away with ours"


async def test_who_reads_from_the_middle_hears_that_a_feed_is_not_as_announced(
    platform: Platform, clock: ManualClock
) -> None:
    writer = Writer(platform, ManualFeed(A, tells=True))

    async def says(item: FeedItem, sequence: int, after: float) -> None:
        clock.turn(after)
        writer.feed.say(A, item)
        await writer.reached(sequence)

    async with writer.running():
        await says(FeedTicks(ramp(START, 1)), 1, 301)
        writer.feed.say(A, FeedChange(FeedState.CLOSED, START, "night"))
        await writer.becomes(FeedState.CLOSED)
        await says(FeedTime(START + SECOND), 2, 299)
        await says(FeedTime(START + 2 * SECOND), 3, 2)
        await says(FeedTime(START + 3 * SECOND), 4, 2)
        writer.feed.say(A, FeedChange(FeedState.LIVE, START, "day", "other"))
        await writer.becomes(FeedState.LIVE)
        await says(FeedTime(START + 4 * SECOND), 5, 301)
        writer.feed.say(A, FeedChange(FeedState.GAP, START, "back", "manual"))
        await writer.becomes(FeedState.GAP)
        writer.feed.say(A, FeedChange(FeedState.LIVE, START, "back", "manual"))
        await writer.becomes(FeedState.LIVE)
        await says(FeedTime(START + 5 * SECOND), 6, 301)
    updates = await records(platform.bus, A)
    assert told(updates) == [1, "CLOSED", 2, 3, "CLOSED", 4, "LIVE", 5, "LIVE", "GAP", "LIVE", 6]
    named = [update.feed_state.source for update in updates if update.HasField("feed_state")]
    assert named == ["", "", "other", "other", "manual", "manual"]


async def test_a_writer_that_takes_over_knows_the_state_and_the_last_trade(platform: Platform) -> None:
    first = Writer(platform, ManualFeed(A, tells=True))
    async with first.running():
        first.feed.say(A, FeedTicks(ramp(START, 2), ["71", "72"]))
        await first.reached(2)
        first.feed.say(A, FeedChange(FeedState.GAP, START, "lost"))
        await first.becomes(FeedState.GAP)
    second = Writer(platform, ManualFeed(A, tells=True))
    async with second.running():
        second.feed.say(A, FeedTicks(made((START + SECOND, 7)), ["73"]))
        await second.reached(3)
        resume = second.feed.resumed[A]
    assert (resume.state, resume.trade_id) == (FeedState.GAP, "72")
    third = Writer(platform, ManualFeed(A))  # of another kind, which tells no states: its ticks are live
    async with third.running():
        third.feed.push(A, made((START + 2 * SECOND, 8)))
        await third.reached(4)
    assert told(await records(platform.bus, A)) == [1, 2, "GAP", 3, "LIVE", 4]


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
async def test_a_state_is_told_once_though_its_commit_is_lost(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    writer = Writer(platform, ManualFeed(A, tells=True))
    async with writer.running():
        writer.feed.push(A, ramp(START, 3))
        await writer.reached(3)
        lost = losing(writer, monkeypatch, when)
        writer.feed.say(A, FeedChange(FeedState.GAP, START, "lost"))
        await writer.becomes(FeedState.GAP)
        writer.feed.push(A, ramp(START + SECOND, 1))
        await writer.reached(4)
    assert not lost
    assert told(await records(platform.bus, A)) == [1, 2, 3, "GAP", 4]


async def test_a_replay_gets_no_markers_and_ends_when_all_is_logged(platform: Platform, clock: ManualClock) -> None:
    writer = Writer(platform, ManualFeed(A, live=False))
    async with writer.running() as task:
        assert writer.ingest.running(A)
        writer.feed.push(A, ramp(0, 300))
        clock.turn(60)
        writer.feed.end()
        async with asyncio.timeout(20):
            await task
        assert not writer.ingest.running(A)
    assert len(await logged(platform.bus, A)) == 300


async def test_a_feed_that_outruns_the_writer_is_held_back(platform: Platform) -> None:
    writer = Writer(platform, ManualFeed(A, live=False), window_ticks=10)
    count = 5 * limits.MAX_QUEUED_TICKS // 2
    async with writer.running() as task:
        for part in np.array_split(ramp(0, count), 50):
            writer.feed.push(A, part)
        writer.feed.end()
        async with asyncio.timeout(60):
            await task
    head = await writer.windows.head(A)
    assert (head.sequence, head.oldest) == (count, count - 9)
    async with platform.database.connect() as connection:
        stored = await connection.scalar(text("SELECT last_sequence FROM symbol_leases WHERE symbol = :s"), {"s": A})
    assert stored == count


async def turn(clock: ManualClock, seconds: float) -> None:
    """Let everyone who is ready run, then turn the clock."""
    for _ in range(20):
        await asyncio.sleep(0)
    clock.turn(seconds)
