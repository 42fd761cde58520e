"""Several workers: each session is stepped by one of them, whoever comes, goes, dies or freezes meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from forward_test.test_recovery import (
    EAGER,
    PATIENCE,
    BrittleLedger,
    assert_as_expected,
    new_worker,
    walk,
    working,
)
from market_data.feeds import ManualFeed
from sqlalchemy import text

from algotrade.engine.records import Records
from algotrade.forward_test.build import build
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.session import shard_of
from algotrade.forward_test.shards import SHARDS
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2

TICKS = 500


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"worker_lease_seconds": 1.0, "realtime_seconds": 0.05})


async def holders(platform: Platform) -> dict[int, str | None]:
    async with platform.database.connect() as connection:
        found = await connection.execute(text("SELECT shard, worker FROM shards ORDER BY shard"))
        return {row.shard: row.worker for row in found}


async def shared_out(platform: Platform, *names: str) -> dict[int, str | None]:
    """Return who holds what once every shard is held, by these evenly."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await holders(platform)
            counts = [list(found.values()).count(name) for name in names]
            if sum(counts) == len(SHARDS) and max(counts) - min(counts) <= 1:
                return found
            await asyncio.sleep(0.02)


async def one_a_shard(ada: Any) -> list[pb.Session]:
    """Return a started session of each shard."""
    made: dict[int, pb.Session] = {}
    strategy_id = await ada.strategy(EAGER)
    while made.keys() < set(SHARDS):
        request = pb.CreateSessionRequest(
            strategy_id=strategy_id, symbol="AAA", settings=types_pb2.RunSettings(interval="tick")
        )
        session = (await ada.sessions.CreateSession(request)).session
        made.setdefault(shard_of(session.session_id), session)
    return [await ada.start(session) for session in made.values()]


class Market:
    """Ticks of a walk, pushed a few at a time."""

    def __init__(self, platform: Platform, feed: ManualFeed, ticks: Records) -> None:
        self.ticks = ticks
        self._platform = platform
        self.done = 0
        self._feed = feed

    def push(self, count: int) -> None:
        self._feed.push("AAA", self.ticks[self.done : self.done + count])
        self.done += count

    async def reached(self) -> None:
        """Return when every session has seen what was pushed."""
        furthest = text("SELECT min(last_tick_sequence) FROM forward_test_sessions WHERE started_at IS NOT NULL")
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self._platform.database.connect() as connection:
                    if await connection.scalar(furthest) >= self.done:
                        return
                await asyncio.sleep(0.02)


async def test_workers_come_and_go_while_sessions_run(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    ada, market = await trader(), Market(platform, feed, walk(21, TICKS))
    sessions = await one_a_shard(ada)
    market.push(20)
    await market.reached()
    assert set((await holders(platform)).values()) == {"worker"}
    second = new_worker(platform, PostgresLedger(platform.database), name="second")
    async with working(second) as task:
        market.push(20)
        await shared_out(platform, "worker", "second")
        market.push(20)
        await market.reached()
        third = new_worker(platform, PostgresLedger(platform.database), name="third")
        async with working(third):
            await shared_out(platform, "worker", "second", "third")
            market.push(20)
            await market.reached()
        market.push(20)  # the third was killed
        await shared_out(platform, "worker", "second")
        await market.reached()
        second.stop()
        async with asyncio.timeout(PATIENCE):
            await task
        assert not second.shards
    market.push(20)
    assert set((await shared_out(platform, "worker")).values()) == {"worker"}
    await market.reached()
    for session in sessions:
        await assert_as_expected(ada, session, market.ticks[: market.done])


async def test_killed_again_and_again_two_workers_lose_and_repeat_nothing(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    """Each time the one that dies breaks at a commit, before it or after it."""
    ada, market = await trader(), Market(platform, feed, walk(22, TICKS))
    sessions = await one_a_shard(ada)
    for turn in range(3):
        brittle = BrittleLedger(platform.database, turn % 2 + 1, after=turn % 2 == 1)
        second = new_worker(platform, brittle, name=f"turn {turn}")
        async with working(second):
            await shared_out(platform, "worker", f"turn {turn}")
            market.push(15)
            async with asyncio.timeout(PATIENCE):
                while not brittle.broken.is_set():
                    market.push(1)
                    await asyncio.sleep(0.1)
        market.push(10)
        await market.reached()
    for session in sessions:
        await assert_as_expected(ada, session, market.ticks[: market.done])


async def test_one_that_was_frozen_writes_nothing_when_it_wakes_and_works_again(
    trader: Any, feed: ManualFeed, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen in the middle of a commit, and silent: its shards are taken. Awake it is fenced, and joins again."""
    ada, market = await trader(), Market(platform, feed, walk(23, TICKS))
    sessions = await one_a_shard(ada)
    frozen = BrittleLedger(platform.database, 1, after=False)
    second = new_worker(platform, frozen, name="second")
    awake = asyncio.Event()
    awake.set()
    look = second._roster.look

    async def silent(strike_seconds: float | None) -> Any:
        await awake.wait()
        return await look(strike_seconds)

    monkeypatch.setattr(second._roster, "look", silent)
    async with working(second):
        await shared_out(platform, "worker", "second")
        market.push(30)
        async with asyncio.timeout(PATIENCE):
            await frozen.broken.wait()
        awake.clear()
        assert set((await shared_out(platform, "worker")).values()) == {"worker"}
        market.push(30)
        await market.reached()
        frozen.mended.set()
        awake.set()
        await shared_out(platform, "worker", "second")
        market.push(30)
        await market.reached()
    for session in sessions:
        await assert_as_expected(ada, session, market.ticks[: market.done])


async def test_who_watches_here_hears_of_what_is_stepped_elsewhere(
    trader: Any, serve: Any, upstream: Any, open_channel_to: Any, feed: ManualFeed, platform: Platform
) -> None:
    """Events, marks and the end of sessions come through either server, and no heartbeat was waited for."""
    other = replace(platform, settings=platform.settings.model_copy(update={"worker_name": "second"}))
    second = await serve(partial(build, upstream=open_channel_to(upstream)), on=other)
    await shared_out(platform, "worker", "second")
    ada = await trader()
    eve = await trader(on=second, user_id=ada.user_id)
    sessions, market = await one_a_shard(ada), Market(platform, feed, walk(24, TICKS))
    market.push(10)
    await market.reached()

    marks = Counter[tuple[bool, str]]()

    async def followed(through: Any, session: pb.Session) -> int:
        """Follow to the end; return the last event's number."""
        async for message in through.stream(session, 0):
            assert message.WhichOneof("payload") != "heartbeat"
            marks[through is ada, session.session_id] += message.WhichOneof("payload") == "mark"
        return int(message.sequence)

    following = [asyncio.create_task(followed(through, one)) for through in (ada, eve) for one in sessions]
    async with asyncio.timeout(2 * PATIENCE):
        while market.done < 60 or len(+marks) < len(following):
            market.push(1)
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in following)
        await market.reached()
        last = [
            (await through.stop(one, pb.STOP_MODE_KEEP)).last_sequence for through in (eve, ada) for one in sessions
        ]
        assert await asyncio.gather(*following) == last
        assert min(last) >= 60
