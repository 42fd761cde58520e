"""How old is a fill when a trader sees it, at 5,000 ticks a second on the real stack?

From the time that the market gave the tick, over Kafka to a worker, over the engine and its commit in PostgreSQL, over
StreamSession and Envoy to a client: each step a process of its own; and of that, from the time that Kafka had the
tick. Where two workers share the sessions, half of the events are stepped by another process than streams them. Beside
it, in the same run, what the bare clients take at the same time: a record through Kafka (aiokafka) and a commit of one
row (asyncpg), one after the other.

With bars of a second the sessions trade now and then, those of one symbol together, when a bar has closed. With
`--interval tick` each decides at every tick, and hundreds of fills a second are stored, told and shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from bisect import bisect_left
from collections import defaultdict
from typing import Any, Final

import asyncpg
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from mesh import percentiles, registered
from sqlalchemy import text
from strategies import strategy
from workers import stack

from algotrade.platform.bus import Bus, Record
from algotrade.platform.channel import open_channel
from algotrade.platform.kafka import Cluster
from algotrade.platform.kafka_topics import ensure_topics
from algotrade.platform.settings import Settings
from algotrade.platform.topics import HOUR, MARKET_DATA_UPDATES, Topic
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1.events_pb2 import MarketDataUpdate
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

GOAL_MS: Final = 50
FILLS: Final = (pb.SESSION_EVENT_KIND_ENTRY, pb.SESSION_EVENT_KIND_EXIT)
BARE: Final = Topic("bench-bare", 1, HOUR)
BARE_SECONDS: Final = 0.05  # between two


class Ages:
    """Seconds, once it is time to count."""

    def __init__(self) -> None:
        self.counting = False
        self.fills: list[float] = []
        self.bare: list[float] = []
        self._came: list[tuple[str, int, int]] = []  # fills: symbol, sequence of the tick, when they came
        self._logged: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)  # last sequence, when Kafka had it

    def fill(self, symbol: str, event: pb.SessionEvent) -> None:
        """Take a fill that has come."""
        now_ns = time.time_ns()
        self.fills.append((now_ns - event.event_time.ToNanoseconds()) / 1e9)
        self._came.append((symbol, event.tick_sequence, now_ns))

    def logged(self, record: Record) -> None:
        """Take a record of ticks."""
        ticks = MarketDataUpdate.FromString(record.payload).ticks
        last = ticks.first_sequence + len(ticks.times_nanos) - 1
        self._logged[record.key].append((last, record.write_time_ns))

    def from_log(self) -> list[float]:
        """Return how old fills were since Kafka had their ticks; its clock has milliseconds."""
        found = []
        for symbol, sequence, came_ns in self._came:
            records = self._logged[symbol]
            place = bisect_left(records, (sequence, 0))
            if place < len(records):
                found.append((came_ns - records[place][1]) / 1e9)
        return found


async def started(channel: Any, given: argparse.Namespace) -> dict[str, str]:
    """Return the symbols of sessions that run."""
    strategies: Any = StrategyServiceStub(channel)
    sessions: Any = ForwardTestServiceStub(channel)
    symbols = {}
    for number in range(given.sessions):
        request = strategy_pb.CreateStrategyRequest(graph=json.dumps(strategy(number)), request_id=str(uuid.uuid4()))
        made = (await strategies.CreateStrategy(request)).strategy
        create = pb.CreateSessionRequest(strategy_id=made.strategy_id, symbol=f"SYM-{number % given.symbols}")
        create.settings.interval = given.interval
        session = (await sessions.CreateSession(create)).session
        await sessions.StartSession(pb.StartSessionRequest(session_id=session.session_id))
        symbols[session.session_id] = create.symbol
    return symbols


async def follow(channel: Any, session_id: str, symbol: str, ages: Ages) -> None:
    stub: Any = ForwardTestServiceStub(channel)
    async for message in stub.StreamSession(pb.StreamSessionRequest(session_id=session_id)):
        if ages.counting and message.HasField("event") and message.event.kind in FILLS:
            ages.fill(symbol, message.event)


async def follow_log(bus: Bus, ages: Ages) -> None:
    async for records in bus.subscribe(MARKET_DATA_UPDATES, await bus.ends(MARKET_DATA_UPDATES)):
        for record in records if ages.counting else ():
            ages.logged(record)


async def bare(settings: Settings, ages: Ages) -> None:
    """Send a record, read it, commit a row: again and again."""
    assert settings.database_dsn is not None
    await ensure_topics(Cluster.of(settings), [BARE])
    connection = await asyncpg.connect(settings.database_dsn.get_secret_value())
    await connection.execute("CREATE TABLE bench_bare (at double precision, what bytea)")
    place = TopicPartition(BARE.name, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_servers, group_id=None)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka_servers, acks="all") as producer, consumer:
        consumer.assign([place])
        await consumer.seek_to_end(place)
        while True:
            start = time.perf_counter()
            await producer.send(BARE.name, bytes(500), partition=0)
            await consumer.getone(place)
            await connection.execute("INSERT INTO bench_bare VALUES ($1, $2)", start, bytes(500))
            if ages.counting:
                ages.bare.append(time.perf_counter() - start)
            await asyncio.sleep(BARE_SECONDS)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=5_000, help="ticks a second, of all symbols")
    parser.add_argument("--symbols", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--interval", default="1s", help="of the sessions' bars")
    parser.add_argument("--rest", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    symbols = json.dumps([f"SYM-{number}" for number in range(given.symbols)])
    feed = {"SYNTHETIC_SYMBOLS": symbols, "SYNTHETIC_TICKS_PER_SECOND": given.rate / given.symbols}
    ages = Ages()
    async with stack(given.workers, **feed) as (running, platform):
        gateway = running.settings.gateway_address
        async with open_channel(gateway) as public:
            token = await registered(public, "bench")
        async with open_channel(gateway, lambda: token) as channel:
            symbols_of = await started(channel, given)
            tasks = [asyncio.create_task(follow(channel, one, symbol, ages)) for one, symbol in symbols_of.items()]
            tasks.append(asyncio.create_task(follow_log(platform.bus, ages)))
            tasks.append(asyncio.create_task(bare(running.settings, ages)))
            await asyncio.sleep(given.rest)
            before, start, ages.counting = await _logged(platform), time.perf_counter(), True
            await asyncio.sleep(given.seconds)
            ages.counting = False
            rate = (await _logged(platform) - before) / (time.perf_counter() - start)
            for task in tasks:
                if task.done():
                    task.result()
                task.cancel()
    p99 = float(np.percentile(ages.fills, 99)) * 1e3
    print(f"\n{rate:,.0f} ticks a second, {given.sessions} sessions, bars of {given.interval}, {given.workers} workers")
    print(f"  {len(ages.fills)} fills in {given.seconds:.0f} s")
    print(f"  {'ms':46}       p50       p99     worst")
    print(f"  {'from the tick to its fill at a client':46}  {percentiles(ages.fills)}")
    print(f"  {'from Kafka to there':46}  {percentiles(ages.from_log())}")
    print(f"  {'a record through Kafka and a commit, bare':46}  {percentiles(ages.bare)}")
    print(f"  goal: p99 under {GOAL_MS} ms: {'reached' if p99 < GOAL_MS else 'not reached'}")


async def _logged(platform: Any) -> int:
    async with platform.database.connect() as connection:
        return int(await connection.scalar(text("SELECT sum(last_sequence) FROM symbol_leases")) or 0)


if __name__ == "__main__":
    asyncio.run(main())
