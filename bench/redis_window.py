"""How long does a window of 100 ticks take to read from Redis, and how many ticks a second go in?

A real redis-server on this machine. One caller makes one call at a time, ten make theirs at once in one event loop; the
window holds a tick an entry (a quiet market) or 64 (a busy one). In turn with them the raw client: one value of as many
bytes, and the stream's entries by XREVRANGE. Then writes: our pipelines against redis-py's bare XADD and against
hiredis on a bare connection, which is the most that Python gets through. Last GetWindow over gRPC, the platform on the
same Redis. "Calm" is the 99th percentile of the calmest tenth of the calls: of the machine when it is left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import hiredis
import numpy as np
from mesh import percentiles, registered, running
from pydantic import SecretStr
from redis.asyncio import Redis
from rich.progress import track
from table import Json

from algotrade.engine.records import TICK, Records
from algotrade.market_data.redis_windows import RedisWindows
from algotrade.market_data.tick_log import LoggedTicks
from algotrade.platform import limits
from algotrade.platform.channel import open_channel
from algotrade.platform.metrics import Metrics
from algotrade.platform.redis import RedisClient, open_redis
from algotrade.platform.settings import Settings
from algotrade.stack.redis import redis_server
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

TICKS, WINDOW, SYMBOLS, CALLERS, FULL = 100, 10_000, 50, 10, limits.MAX_TICKS_AN_ENTRY
LIMIT_MS = 1.0  # p99 of one caller
PASSWORD = "not-a-secret"
Call = Callable[[], Awaitable[object]]


def ticks(first: int, count: int) -> Records:
    made = np.zeros(count, TICK)
    made["seq"] = np.arange(first, first + count)
    made["ts"] = made["seq"] * 1_000_000
    made["price"] = 50_000 * 10**8 + made["seq"]
    made["size"] = 0.5
    return made


async def timed(call: Call) -> float:
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


async def one_caller(ways: dict[str, Call], calls: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in track(range(calls + 50), description="one caller"):
        for name, call in ways.items():
            seconds = await timed(call)
            if turn >= 50:
                samples[name].append(seconds)
    return samples


async def ten_callers(ways: dict[str, Call], calls: int) -> dict[str, list[float]]:
    async def caller(call: Call) -> list[float]:
        return [await timed(call) for _ in range(calls // CALLERS)]

    samples = {}
    for name, call in ways.items():
        await asyncio.gather(*(call() for _ in range(CALLERS)))
        found = await asyncio.gather(*(caller(call) for _ in range(CALLERS)))
        samples[name] = [seconds for one in found for seconds in one]
    return samples


def say(title: str, samples: dict[str, list[float]]) -> None:
    print(f"\n{title}\n  {'':44}    p50 ms    p99 ms  worst ms  calm p99")
    for name, seconds in samples.items():
        print(f"  {name:44}  {percentiles(seconds)}  {calm(seconds):8.2f}")


def calm(seconds: list[float]) -> float:
    """Return the lowest 99th percentile of ten stretches, in milliseconds."""
    return min(float(np.percentile(part, 99)) for part in np.array_split(np.asarray(seconds), 10)) * 1e3


async def reads(client: RedisClient, calls: int) -> None:
    windows = RedisWindows(client, ["QUIET", "BUSY"], WINDOW, poll_seconds=1)
    await windows.append("BUSY", 1, ticks(1, WINDOW))
    for first in range(1, WINDOW + 1, 500):
        await asyncio.gather(*(windows.append("QUIET", 1, ticks(first + at, 1)) for at in range(500)))
    assert await client.xlen("market:{QUIET}") == WINDOW
    assert await client.xlen("market:{BUSY}") == -(-WINDOW // FULL)
    await client.set("blob", ticks(1, TICKS).tobytes())
    ways: dict[str, Call] = {
        "window, a tick an entry": lambda: windows.newest("QUIET", TICKS),
        f"window, {FULL} ticks an entry": lambda: windows.newest("BUSY", TICKS),
        "raw: GET of one value of the same bytes": lambda: client.get("blob"),
        "raw: XREVRANGE COUNT 100, a tick an entry": lambda: client.xrevrange("market:{QUIET}", count=TICKS),
    }
    for name in ("QUIET", "BUSY"):
        assert (await windows.newest(name, TICKS)).tobytes() == ticks(WINDOW - TICKS + 1, TICKS).tobytes()
    samples = await one_caller(ways, calls)
    say(f"the newest {TICKS} ticks of {WINDOW}, one caller", samples)
    say(f"the same, {CALLERS} callers at once in one event loop", await ten_callers(ways, calls))
    worst = max(calm(samples[name]) for name in list(ways)[:2])
    print(f"\n{worst:.2f} ms for one caller, p99 of the calmest tenth (under {LIMIT_MS:g} wanted)")


async def writes(client: RedisClient, url: str, seconds: float) -> None:
    symbols = [f"S{number}" for number in range(SYMBOLS)]
    print(f"\nticks written, {SYMBOLS} symbols a pipeline\n  {'':44}    ticks/s  commands/s")
    for size in (1, FULL):
        windows = RedisWindows(client, [f"{symbol}-{size}" for symbol in symbols], WINDOW, poll_seconds=1)
        turns, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            batch = ticks(1 + turns * size, size)
            await windows.append_all({f"{symbol}-{size}": LoggedTicks(1, batch) for symbol in symbols})
            turns += 1
        rate = turns * SYMBOLS / (time.perf_counter() - start)
        print(f"  {f'ours, {size} an entry':44} {rate * size:10,.0f}  {rate:10,.0f}")
    payload, turns, start = ticks(1, 1).tobytes(), 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        pipeline = client.pipeline(transaction=False)
        for symbol in symbols:
            pipeline.xadd(f"raw:{symbol}", {b"t": payload}, maxlen=WINDOW)
        await pipeline.execute()
        turns += 1
    rate = turns * SYMBOLS / (time.perf_counter() - start)
    print(f"  {'raw: redis-py, XADD MAXLEN of a packed tick':44} {rate:10,.0f}  {rate:10,.0f}")
    rate = await bare(url, symbols, payload, seconds)
    print(f"  {'raw: hiredis on a bare connection':44} {rate:10,.0f}  {rate:10,.0f}")


async def bare(url: str, symbols: list[str], payload: bytes, seconds: float) -> float:
    """XADD as fast as a connection takes it; return how many a second."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    parser, turns, start = hiredis.Reader(), 0, time.perf_counter()
    writer.write(hiredis.pack_command(("AUTH", PASSWORD)))
    await reader.readuntil(b"\r\n")
    while time.perf_counter() - start < seconds:
        for symbol in symbols:
            writer.write(hiredis.pack_command(("XADD", f"bare:{symbol}", "MAXLEN", WINDOW, "*", "t", payload)))
        left = len(symbols)
        while left:
            parser.feed(await reader.read(65_536))
            while parser.gets() is not False:
                left -= 1
        turns += 1
    writer.close()
    return turns * len(symbols) / (time.perf_counter() - start)


async def over_grpc(url: str, calls: int) -> None:
    """GetWindow while the made-up market writes; the same with windows in memory beside it."""
    samples, many = {}, {}
    cases: dict[str, Json] = {"windows in Redis": {"redis_url": url}, "windows in memory": {}}
    for name, changes in cases.items():
        with running(market_providers='["synthetic"]', **changes) as platform:
            async with open_channel(platform.gateway) as public:
                token = await registered(public, "window")
            async with open_channel(platform.grpc, lambda token=token: token) as channel:
                stub = MarketDataServiceStub(channel)
                async for message in stub.StreamTicks(pb.StreamTicksRequest(symbol="BTC-USD", after_sequence=0)):
                    if message.sequence >= TICKS:
                        break
                request = pb.GetWindowRequest(symbol="BTC-USD", limit=TICKS)
                way: dict[str, Call] = {f"GetWindow, {name}": partial(stub.GetWindow, request)}
                samples |= await one_caller(way, calls)
                many |= await ten_callers(way, calls)
    say(f"GetWindow of {TICKS} ticks over gRPC, one caller", samples)
    say(f"the same, {CALLERS} callers at once", many)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each way to write")
    arguments = parser.parse_args()
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    with tempfile.TemporaryDirectory(prefix="at-") as name:
        async with redis_server(Path(name), password=PASSWORD) as url:
            async with open_redis(Settings(redis_url=SecretStr(url), redis_timeout_seconds=5), Metrics()) as client:
                assert isinstance(client, Redis)
                await reads(client, arguments.calls)
                await writes(client, url, arguments.seconds)
                await client.flushall()
            await over_grpc(url, arguments.calls)


if __name__ == "__main__":
    asyncio.run(main())
