"""Does the event bus carry 100,000 records, and 500,000 ticks, a second over a real Kafka, written and read at once?

Broker, writer and reader share this machine, a process each. A row is one run: the writer hands over what is due every
five milliseconds, the reader takes what comes; latency is from there to there, after a warm-up. In the same run
aiokafka with nothing around it: the same batches by `send_batch`, read by `getmany`. Ticks are 64 a record, as the
services pack them, and the reader unpacks them. Last, how much goes through when the writer does not wait for its turn.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from algotrade.engine.records import TICK
from algotrade.platform.bus import Message, partition_of
from algotrade.platform.bus_kafka import KafkaBus
from algotrade.platform.kafka import Cluster
from algotrade.platform.kafka_topics import ensure_topics
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import keep_what_is_loaded
from algotrade.platform.ticks import from_batch, to_batch
from algotrade.platform.topics import HOUR, Topic
from algotrade.stack.kafka import kafka
from algotrade.stack.process import running
from algotrade.v1.events_pb2 import MarketDataUpdate

SECONDS, WARM_SECONDS, TURN_SECONDS = 6.0, 1.5, 0.005
PARTITIONS, TICKS, RECORD_BYTES = 8, 64, 91
KEYS = [next(f"S{n}" for n in range(1000) if partition_of(f"S{n}", PARTITIONS) == p) for p in range(PARTITIONS)]
END = "end"
P99_MS = 50.0


@dataclass(frozen=True)
class Run:
    """What one run is of: by what, ticks or plain records, and how many records a second (0: as fast as it goes)."""

    way: str
    ticks: bool
    rate: int
    topic: Topic
    servers: str

    def payload(self, sent_ns: int) -> bytes:
        """A record that says when it was sent."""
        if not self.ticks:
            return sent_ns.to_bytes(8, "little").ljust(RECORD_BYTES, b"x")
        ticks = np.zeros(TICKS, TICK)
        ticks["seq"], ticks["ts"] = np.arange(1, TICKS + 1), sent_ns + np.arange(TICKS)
        ticks["price"], ticks["size"] = 50_000 * 10**8 + np.arange(TICKS), 0.5
        return MarketDataUpdate(symbol="S", epoch=sent_ns, ticks=to_batch(ticks)).SerializeToString()

    def sent_ns(self, payload: bytes) -> int:
        """When it was sent; ticks are unpacked as a service does."""
        if not self.ticks:
            return int.from_bytes(payload[:8], "little")
        update = MarketDataUpdate.FromString(payload)
        assert len(from_batch(update.ticks)) == TICKS
        return update.epoch


async def turns(run: Run) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield the key and the payloads of each turn, then an end for each partition."""
    begin, sent, turn = time.perf_counter(), 0, 0
    while (now := time.perf_counter() - begin) < SECONDS:
        most = 256 if run.ticks else 4096  # fit into a batch
        due = min(int(now * run.rate) - sent, most) if run.rate else most // 4
        if due > 0:
            payload = run.payload(time.time_ns())
            yield KEYS[turn % PARTITIONS], [payload] * due
            sent, turn = sent + due, turn + 1
        await asyncio.sleep(TURN_SECONDS if run.rate else 0)
    for key in KEYS:
        yield key, [END.encode()]


def bus_of(run: Run) -> KafkaBus:
    return KafkaBus(Cluster(run.servers), Metrics(), None)  # type: ignore[arg-type]  (nothing waits for a commit here)


async def write_bus(run: Run) -> None:
    bus = bus_of(run)
    async for key, payloads in turns(run):
        await bus.publish(run.topic, [Message(key, payload, {}) for payload in payloads])
    await bus.close()


async def write_raw(run: Run) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=run.servers, acks="all", enable_idempotence=True, compression_type="zstd",
        max_batch_size=1024 * 1024,
    )  # fmt: skip
    await producer.start()
    async for key, payloads in turns(run):
        batch = producer.create_batch()
        for payload in payloads:
            assert batch.append(key=key.encode(), value=payload, timestamp=None, headers=[])
        await (await producer.send_batch(batch, run.topic.name, partition=KEYS.index(key)))
    await producer.stop()


async def read_bus(run: Run, ready: Event) -> AsyncIterator[Sequence[bytes]]:
    bus = bus_of(run)
    ends = await bus.ends(run.topic)
    ready.set()
    try:
        async with aclosing(bus.subscribe(run.topic, ends)) as batches:
            async for records in batches:
                yield [record.payload for record in records]
    finally:
        await bus.close()


async def read_raw(run: Run, ready: Event) -> AsyncIterator[Sequence[bytes]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=run.servers)
    await consumer.start()
    consumer.assign([TopicPartition(run.topic.name, p) for p in range(PARTITIONS)])
    await consumer.seek_to_end()
    ready.set()
    try:
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                yield [record.value for record in records]
    finally:
        await consumer.stop()


async def read(run: Run, ready: Event) -> tuple[int, float, list[float]]:
    """Return how many records came after the warm-up, in how many seconds, and their latencies in ms."""
    reader = read_bus if run.way == "bus" else read_raw
    latencies: list[float] = []
    count, ended, begin = 0, 0, 0.0
    async with aclosing(reader(run, ready)) as batches:
        async for payloads in batches:
            now_ns = time.time_ns()
            begin = begin or time.perf_counter()
            warm = time.perf_counter() - begin > WARM_SECONDS
            for payload in payloads:
                if payload == END.encode():
                    ended += 1
                    continue
                sent_ns = run.sent_ns(payload)
                if warm:
                    count += 1
                    latencies.append((now_ns - sent_ns) / 1e6)
            if ended == PARTITIONS:
                return count, time.perf_counter() - begin - WARM_SECONDS, latencies
    raise AssertionError("the log has no end")


def writing(run: Run, told: Queue[float]) -> None:
    keep_what_is_loaded()  # as every process of the mesh does
    asyncio.run((write_bus if run.way == "bus" else write_raw)(run))
    told.put(time.process_time())


def reading(run: Run, ready: Event, told: Queue[Any]) -> None:
    keep_what_is_loaded()
    count, seconds, latencies = asyncio.run(read(run, ready))
    told.put((count / seconds, float(np.percentile(latencies, 50)), float(np.percentile(latencies, 99))))
    told.put(time.process_time())


def measured(run: Run, broker: psutil.Process) -> tuple[float, float, float, list[float]]:
    """Return records a second, p50 and p99 in ms, and the cores of writer, reader and broker."""
    spawned = multiprocessing.get_context("spawn")
    ready, came, wrote = spawned.Event(), spawned.Queue(), spawned.Queue()
    processes = [
        spawned.Process(target=reading, args=(run, ready, came), daemon=True),
        spawned.Process(target=writing, args=(run, wrote), daemon=True),
    ]
    processes[0].start()
    assert ready.wait(60)
    before = broker.cpu_times()
    processes[1].start()
    rate, middle, worst = came.get(timeout=60)
    after = broker.cpu_times()
    spent = [wrote.get(timeout=60), came.get(timeout=60), after.user + after.system - before.user - before.system]
    for process in processes:
        process.join(30)
    return rate, middle, worst, [seconds / SECONDS for seconds in spent]


async def main() -> None:
    runs = [("records", False, 100_000), ("ticks", True, 500_000 // TICKS), ("records, flat out", False, 0)]
    failed = False
    head = f"{'':34}  {'a second':>12}  {'p50 ms':>7}  {'p99 ms':>7}  {'writer':>6}  {'reader':>6}  {'broker':>6}"
    print("Written and read at once over Kafka; cores of writer, reader and broker\n" + head)
    with tempfile.TemporaryDirectory(prefix="at-bench-") as folder:
        server, address = await asyncio.to_thread(kafka, Path(folder) / "kafka")
        async with running(server):
            broker = psutil.Process(server.pid)
            for title, ticks, rate in runs:
                for way in ("aiokafka", "bus"):
                    topic = Topic(f"bench-{uuid.uuid4().hex[:8]}", PARTITIONS, HOUR)
                    await ensure_topics(Cluster(address), [topic])
                    run = Run(way, ticks, rate, topic, address)
                    got, middle, worst, cores = await asyncio.to_thread(measured, run, broker)
                    wanted = f" ({rate * (TICKS if ticks else 1):,} wanted)" if rate else ""
                    each = got * (TICKS if ticks else 1)
                    used = "  ".join(f"{one:6.2f}" for one in cores)
                    print(f"{way + ': ' + title + wanted:34}  {each:12,.0f}  {middle:7.1f}  {worst:7.1f}  {used}")
                    failed |= way == "bus" and rate > 0 and (got < 0.97 * rate or worst > P99_MS)
    print("The bus does not keep up here." if failed else "The bus keeps up.")


if __name__ == "__main__":
    asyncio.run(main())
