"""How long from a decision to a committed trade, at 500 ticks a second? The real worker over a real PostgreSQL.

One symbol of the made-up market and 10 sessions of 10 different strategies that decide at every tick, so that some
trade many times a second. For every trade opened or closed, two spans: from when the worker has been given the tick
that fills it, the one after that which decided, to when the transaction with the trade has committed; and from the time
that this tick was made, with all that lies between the feed and the worker. Beside them the least that a commit costs:
a row into a table of its own, in turn with the rest, on the same server.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from mesh import fill, opened, percentiles
from sqlalchemy import text
from strategies import strategy

from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import EventKind
from algotrade.engine.settings import RunSettings
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.follow import Worker
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.postgres_outbox import PostgresOutbox
from algotrade.forward_test.postgres_roster import PostgresRoster
from algotrade.forward_test.relay import Relay
from algotrade.forward_test.session import Commit
from algotrade.forward_test.shards import SHARDS
from algotrade.market_data.build import build as build_market_data
from algotrade.market_data.synthetic import SyntheticFeed
from algotrade.platform.bus import Bus, Record
from algotrade.platform.process import Platform
from algotrade.platform.topics import Topic

SYMBOL = "SYM"
LIMIT_MS = 10.0  # p99
FILLS = (EventKind.ENTRY, EventKind.EXIT)


@dataclass
class Spans:
    """Seconds, one entry a trade; and of each commit that was only a row."""

    counting: bool = False
    given: float = 0.0  # when the worker was last given ticks
    from_given: list[float] = field(default_factory=list)
    from_tick: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    commits: int = 0


class TimedBus:
    """Notes when the worker is given records."""

    def __init__(self, bus: Bus, spans: Spans) -> None:
        self._bus, self._spans = bus, spans
        self.bounds, self.ends, self.subscribe = bus.bounds, bus.ends, bus.subscribe

    async def read(self, topic: Topic, partition: int, offset: int, limit: int) -> list[Record]:
        records = list(await self._bus.read(topic, partition, offset, limit))
        self._spans.given = time.perf_counter()
        return records


class TimedLedger(PostgresLedger):
    """Notes how old trades are when they are committed."""

    def __init__(self, platform: Platform, spans: Spans) -> None:
        super().__init__(platform.database)
        self._spans = spans

    async def commit(self, epochs: Mapping[int, int], commit: Commit) -> None:
        await super().commit(epochs, commit)
        if not self._spans.counting:
            return
        now, now_ns = time.perf_counter(), time.time_ns()
        fills = [one for progress in commit.progress for one in progress.events if one.kind in FILLS]
        self._spans.from_given += [now - self._spans.given for _ in fills]
        self._spans.from_tick += [(now_ns - one.event_ns) / 1e9 for one in fills]
        self._spans.commits += bool(fills)


async def least(platform: Platform, spans: Spans) -> None:
    """Commit a row, now and then."""
    async with platform.database.begin() as connection:
        await connection.execute(text("CREATE TABLE bench_rows (at double precision, what bytea)"))
    statement = text("INSERT INTO bench_rows VALUES (:at, :what)")
    while True:
        start = time.perf_counter()
        async with platform.database.begin() as connection:
            await connection.execute(statement, {"at": start, "what": bytes(500)})
        if spans.counting:
            spans.least.append(time.perf_counter() - start)
        await asyncio.sleep(0.1)


async def measure(platform: Platform, given: argparse.Namespace) -> tuple[Spans, float]:
    compiled = [compile_strategy(strategy(number)).artefact for number in range(given.sessions)]
    artefacts = [one for one in compiled if one is not None]
    spans = Spans()
    feed = SyntheticFeed([SYMBOL], 7, platform.clock, given.rate)
    async with build_market_data(platform, feeds=[feed]):
        await fill(platform, artefacts, [SYMBOL], given.sessions, RunSettings(interval="tick"))
        relay = Relay(PostgresOutbox(platform.database), platform.bus, SHARDS, poll_seconds=0.5)
        worker = Worker(
            TimedLedger(platform, spans),
            PostgresRoster(platform.database, "bench"),
            TimedBus(platform.bus, spans),  # type: ignore[arg-type]
            Changes(),
            platform.clock,
            platform.metrics,
            checkpoint_seconds=platform.settings.checkpoint_seconds,
            poll_seconds=platform.settings.bus_poll_seconds,
            stored=relay.wake,
        )
        working = asyncio.create_task(worker.run())
        beside = [asyncio.create_task(relay.run()), asyncio.create_task(least(platform, spans))]
        await asyncio.sleep(given.rest)
        logged, start, spans.counting = await _logged(platform), time.perf_counter(), True
        await asyncio.sleep(given.seconds)
        spans.counting = False
        rate = (await _logged(platform) - logged) / (time.perf_counter() - start)
        worker.stop()
        await working
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return spans, rate


async def _logged(platform: Platform) -> int:
    async with platform.database.connect() as connection:
        return int(await connection.scalar(text("SELECT coalesce(sum(last_sequence), 0) FROM symbol_leases")) or 0)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rate", type=float, default=500.0, help="ticks a second")
    parser.add_argument("--rest", type=int, default=5, help="seconds before it is measured")
    parser.add_argument("--seconds", type=int, default=20)
    given = parser.parse_args()
    async with opened() as platform:
        spans, rate = await measure(platform, given)
    assert spans.from_given, "nothing was traded"
    trades = len(spans.from_given)
    print(f"\n{trades:,} trades of {given.sessions} sessions in {spans.commits:,} commits, {rate:,.0f} ticks a second")
    print(f"  {'':32}    p50 ms    p99 ms  worst ms")
    for name, seconds in (
        ("given to committed trade", spans.from_given),
        ("tick made to committed trade", spans.from_tick),
        ("a commit of one row: the least", spans.least),
    ):
        print(f"  {name:32}  {percentiles(seconds)}")
    p99 = float(np.percentile(spans.from_given, 99)) * 1e3
    print(f"{p99:.2f} ms from the tick at the worker to the committed trade, p99 (under {LIMIT_MS:g} wanted)")


if __name__ == "__main__":
    asyncio.run(main())
