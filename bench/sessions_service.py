"""Do 10,000 sessions in one process keep up with 1,000 ticks a second? The real worker over a real PostgreSQL.

Four symbols, 250 ticks a second each, of the made-up market; 1,000 different strategies, ten sessions each, bars of 5
s, warmed up on ten minutes of history. All that sessions cost is in it: the log of ticks, steps, events, trades,
rows, commits, the outbox and its relay. Lag is how old a tick is when a round of the worker has stepped every session
of its symbol over it and stored what came of that.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from mesh import Usage, fill, opened
from rich.progress import track
from sqlalchemy import text
from strategies import strategy

from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.settings import RunSettings
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.follow import Worker
from algotrade.forward_test.lane import Lane
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.postgres_outbox import PostgresOutbox
from algotrade.forward_test.postgres_roster import PostgresRoster
from algotrade.forward_test.relay import Relay
from algotrade.forward_test.shards import SHARDS
from algotrade.market_data.build import build as build_market_data
from algotrade.market_data.feed import FeedTicks, Resume
from algotrade.market_data.synthetic import MarketModel, SyntheticFeed, SyntheticMarket
from algotrade.platform.process import Platform

LAG_MS = 1_000  # never further behind than this, once it runs


@dataclass
class Lag:
    """How old ticks are when the sessions have taken them and what came of it is stored."""

    made: dict[str, deque[int]]  # {symbol: first ticks of what it fed at once, not taken}
    samples: list[float] = field(default_factory=list)
    rounds: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # every session has warmed up and caught up

    def look(self, lanes: Iterable[Lane]) -> None:
        """Take note of what a round of the worker took."""
        now, seen, warming = time.time_ns(), {}, False
        for lane in lanes:
            warming |= lane.warming
            seen[lane.symbol] = min(lane.last_tick[0], seen.get(lane.symbol, now))
        for symbol, taken in seen.items():
            waiting = self.made[symbol]
            while waiting and waiting[0] <= taken:
                self.samples.append((now - waiting.popleft()) / 1e6)
        self.rounds += 1
        if seen and not warming and all(now - waiting[0] < LAG_MS * 10**6 for waiting in self.made.values() if waiting):
            self.begun.set()

    def end(self) -> None:
        """Take note of what still waits."""
        now = time.time_ns()
        self.samples += [(now - made) / 1e6 for waiting in self.made.values() for made in waiting]


class History:
    """A feed that first says at once what its market did in the past, then goes on as it does, and notes when."""

    def __init__(self, feed: SyntheticFeed, seconds: float, rate: float) -> None:
        self.symbols = feed.symbols
        self.made = {symbol.name: deque[int]() for symbol in feed.symbols}
        self._feed = feed
        self._seconds = seconds
        self._rate = rate

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedTicks, None]:
        start = time.time_ns() - round(self._seconds * 1e9)
        market = SyntheticMarket(MarketModel(100 * 10**8, self._rate), (1, zlib.crc32(symbol.encode())), start)
        while len(ticks := (chunk := market.chunk())[chunk["ts"] < time.time_ns()]):
            resume = Resume(resume.epoch, resume.sequence, int(ticks["ts"][-1]), int(ticks["price"][-1]))
            yield FeedTicks(ticks)
        async for fed in self._feed.run(symbol, resume):
            if isinstance(fed, FeedTicks):
                self.made[symbol].append(int(fed.ticks["ts"][0]))
            yield fed


async def measure(platform: Platform, artefacts: list[Artefact], given: argparse.Namespace) -> None:
    symbols = [f"SYM-{i}" for i in range(given.symbols)]
    feed = History(SyntheticFeed(symbols, 7, platform.clock, given.rate), given.history, given.rate)
    empty = Usage.now(platform.settings.data_dir)
    lag = Lag(feed.made)
    async with build_market_data(platform, feeds=[feed]):
        await history_logged(platform, given)
        await fill(platform, artefacts, symbols, given.sessions, RunSettings(interval=given.interval))
        relay = Relay(PostgresOutbox(platform.database), platform.bus, SHARDS, poll_seconds=0.5)
        worker = Worker(
            PostgresLedger(platform.database),
            PostgresRoster(platform.database, "bench"),
            platform.bus,
            Changes(),
            platform.clock,
            platform.metrics,
            checkpoint_seconds=platform.settings.checkpoint_seconds,
            poll_seconds=platform.settings.bus_poll_seconds,
            stored=relay.wake,
            moved=lag.look,
        )
        start = time.perf_counter()
        working, relaying = asyncio.create_task(worker.run()), asyncio.create_task(relay.run())
        await lag.begun.wait()
        restored = time.perf_counter() - start
        await asyncio.sleep(given.rest)
        lag.samples.clear()
        lag.rounds = 0
        before, ticks = Usage.now(platform.settings.data_dir), await _ticks(platform)
        events = await _count(platform, "session_events")
        start = time.perf_counter()
        for _ in track(range(given.seconds), description="measuring"):
            await asyncio.sleep(1)
        seconds = time.perf_counter() - start
        after = Usage.now(platform.settings.data_dir)
        lag.end()
        ticks, events = await _ticks(platform) - ticks, await _count(platform, "session_events") - events
        stale = await _oldest_row(platform, given.rate)
        worker.stop()
        await working
        relaying.cancel()
        with suppress(asyncio.CancelledError):
            await relaying
    ours, servers = after.since(before, seconds)
    lags = np.array(lag.samples)
    p50, p99 = np.percentile(lags, (50, 99))
    many = f"{given.sessions:,} sessions of {len(artefacts):,} strategies"
    print(f"\n{many}, {given.symbols} symbols, {given.interval} bars")
    each, memory = (after.ours_bytes - empty.ours_bytes) / given.sessions / 1024, after.ours_bytes / 2**20
    for name, value in (
        ("ticks", f"{ticks / seconds:,.0f} a second ({given.rate * given.symbols:g} wanted)"),
        ("sessions x ticks", f"{ticks / seconds * given.sessions / given.symbols:,.0f} a second"),
        ("lag", f"median {p50:.0f} ms, p99 {p99:.0f} ms, worst {lags.max():.0f} ms"),
        ("rounds", f"{lag.rounds / seconds:.0f} a second"),
        ("events", f"{events / seconds:,.1f} a second"),
        ("oldest row", f"{stale:.1f} s of ticks to take anew after a crash"),
        ("processor", f"ours {100 * ours:.0f} % of a core, PostgreSQL {100 * servers:.0f} %"),
        ("memory", f"{each:.1f} KiB a session, {memory:.0f} MiB in all"),
        ("up to date in", f"{restored:.1f} s"),
    ):
        print(f"  {name:16}  {value}")
    kept = "kept up" if lags.max() < LAG_MS else "fell behind"
    print(f"{kept}: at the worst {lags.max():.0f} ms behind (under {LAG_MS} wanted)")


async def history_logged(platform: Platform, given: argparse.Namespace) -> None:
    """Return when what the feeds knew at once is in the log, and time goes on."""
    lease = "SELECT min(last_event_ns), count(*) FROM symbol_leases"
    while True:
        async with platform.database.connect() as connection:
            oldest, count = (await connection.execute(text(lease))).one()
        if count == given.symbols and oldest > time.time_ns() - 10**9:
            return
        await asyncio.sleep(0.2)


async def _ticks(platform: Platform) -> int:
    return await _count(platform, "symbol_leases", "coalesce(sum(last_sequence), 0)")


async def _oldest_row(platform: Platform, rate: float) -> float:
    """Seconds of ticks that the session whose row is the oldest would take anew after a crash, at the mean rate."""
    query = "max(CAST(l.last_sequence - s.last_tick_sequence AS float) * 1000)"
    joined = "forward_test_sessions AS s JOIN symbol_leases AS l USING (symbol)"
    return await _count(platform, joined, query) / 1000 / rate


async def _count(platform: Platform, table: str, what: str = "count(*)") -> int:
    async with platform.database.connect() as connection:
        return int(await connection.scalar(text(f"SELECT {what} FROM {table}")) or 0)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--strategies", type=int, default=1_000)
    parser.add_argument("--symbols", type=int, default=4)
    parser.add_argument("--rate", type=float, default=250.0, help="ticks a second, each symbol")
    parser.add_argument("--interval", default="5s")
    parser.add_argument("--history", type=float, default=600, help="seconds of ticks to warm up on")
    parser.add_argument("--rest", type=int, default=5, help="seconds before it is measured")
    parser.add_argument("--seconds", type=int, default=20)
    given = parser.parse_args()
    found = [compile_strategy(strategy(number)).artefact for number in range(given.strategies)]
    artefacts = [artefact for artefact in found if artefact is not None]
    assert len(artefacts) == given.strategies
    async with opened() as platform:
        await measure(platform, artefacts, given)


if __name__ == "__main__":
    asyncio.run(main())
