"""How fast does a venue's feed go? Trades a second parsed, made whole and logged; how old a trade is at a client.

A venue of our own speaks Coinbase's Advanced Trade from a process of its own. First what the adapter costs alone,
frames at hand, with the same JSON merely decoded beside it. Then the same frames over a socket, into the log of a real
PostgreSQL, as fast as they are taken. Last a steady rate, a frame a trade as it is made, and a client of StreamTicks:
how old each trade was when the client had it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from mesh import opened, registered
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from algotrade.identity.__main__ import build as build_identity
from algotrade.market_data.build import build as build_market_data
from algotrade.market_data.feed import Resume
from algotrade.market_data.venues.coinbase import AdvancedDialect
from algotrade.market_data.venues.said import Up
from algotrade.market_data.venues.tape import Tape, TapeRules
from algotrade.platform.channel import open_channel
from algotrade.platform.process import serving, stop_signal
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

SYMBOL = "BTC-USD"
TURNS = 100  # of a steady venue, a second


def frame(number: int, first: int, count: int) -> str:
    """Return an update of consecutive trades, newest first, made now."""
    now = datetime.fromtimestamp(time.time_ns() // 1000 / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    trades = ",".join(
        f'{{"product_id":"{SYMBOL}","trade_id":"{one}","price":"{65_000 + one % 100}.25","size":"0.00218600",'
        f'"time":"{now}","side":"{"BUY" if one % 2 else "SELL"}"}}'
        for one in range(first + count - 1, first - 1, -1)
    )
    head = f'{{"channel":"market_trades","timestamp":"{now}","sequence_num":{number}'
    return f'{head},"events":[{{"type":"update","trades":[{trades}]}}]}}'


# ---------------------------------------------------------------------- the venue's process


async def venue(rate: float, batch: int) -> None:
    """Serve until told to stop: at a rate, or (0) as fast as frames are taken; print where."""

    async def talk(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await connection.recv()
            if rate:
                await _steadily(connection, rate)
            for number in itertools.count():
                await connection.send(frame(number, 1 + number * batch, batch))

    async with serve(talk, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await stop_signal().wait()


async def _steadily(connection: ServerConnection, rate: float) -> None:
    start, made = time.perf_counter(), 0
    for turn in itertools.count(1):
        await asyncio.sleep(max(0.0, turn / TURNS - (time.perf_counter() - start)))
        for number in range(made, int(rate * turn / TURNS)):
            await connection.send(frame(number, 1 + number, 1))
            made += 1


@contextmanager
def speaking(rate: float, batch: int) -> Iterator[str]:
    """Start the venue's process; yield its URL."""
    command = [sys.executable, __file__, "--venue", str(rate), str(batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"ws://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


# ---------------------------------------------------------------------- the questions


def alone(trades: int, batch: int) -> None:
    """What the adapter costs, frames at hand."""
    frames = [frame(number, 1 + number * batch, batch) for number in range(trades // batch)]

    def whole() -> None:
        dialect, tape = AdvancedDialect(), Tape(Resume(epoch=1), TapeRules(), 0, "coinbase")
        tape.hear(Up(), 0)
        for text in frames:
            for said in dialect.read(text):
                tape.hear(said, 0)  # type: ignore[arg-type]
        assert tape.counts["trades"] == len(frames) * batch

    decoded, took = _processor(lambda: [orjson.loads(text) for text in frames]), _processor(whole)
    count = len(frames) * batch
    print(f"{batch} trade{'s' * (batch > 1)} a frame")
    print(f"  {'read and made whole':24}  {count / took:,.0f} trades a second, {took / count * 1e6:.1f} µs each")
    print(f"  {'JSON decoded, no more':24}  {count / decoded:,.0f} trades a second")


def _processor(act: Callable[[], object]) -> float:
    """Seconds of a processor, the best of some runs: others may want the same one."""
    seconds = []
    for _ in range(4):
        start = time.process_time()
        act()
        seconds.append(time.process_time() - start)
    return min(seconds)


def settings_for(url: str) -> dict[str, Any]:
    return {
        "market_providers": ("coinbase",),
        "coinbase_symbols": (SYMBOL,),
        "coinbase_api": "advanced",
        "coinbase_ws_url": url,
        "coinbase_rest_url": "http://127.0.0.1:9",
        "venue_stale_seconds": 3600.0,
    }


async def logged(batch: int, seconds: float) -> None:
    """Trades a second into the log."""
    with speaking(0, batch) as url:
        async with opened(**settings_for(url)) as platform, build_market_data(platform):

            def count() -> float:
                value = platform.metrics.registry.get_sample_value("algotrade_market_ticks_total", {"symbol": SYMBOL})
                return value or 0.0

            await asyncio.sleep(2)
            before, start, used = count(), time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds)
            trades, took, used = count() - before, time.perf_counter() - start, time.process_time() - used
    rate = f"{trades / took:,.0f} trades a second (goal: 50,000)"
    print(f"  {'over a socket, logged':24}  {rate}, on {used / took:.2f} of a core")


async def aged(rate: float, seconds: float) -> None:
    """How old trades are at a client of StreamTicks."""
    with speaking(rate, 1) as url:
        async with (
            opened(**settings_for(url)) as platform,
            serving(platform, [build_identity, build_market_data]) as server,
        ):
            address = f"127.0.0.1:{server.port}"
            async with open_channel(address) as public:
                token = await registered(public, "feed")
            async with open_channel(address, lambda: token) as channel:
                ages = await _ages(MarketDataServiceStub(channel), seconds)
    p50, p99 = np.percentile(ages, (50, 99))
    print(f"one trade a frame, {rate:,.0f} a second, to a client of StreamTicks in the services' process")
    print(f"  {'age of a trade':24}  median {p50:.1f} ms, p99 {p99:.1f} ms, of {len(ages):,} (goal: p99 under 10 ms)")


async def _ages(stub: Any, seconds: float) -> list[float]:
    ages: list[float] = []
    begun = time.perf_counter()
    async for message in stub.StreamTicks(pb.StreamTicksRequest(symbol=SYMBOL)):
        now_ns = time.time_ns()
        if time.perf_counter() - begun > 2:  # warm by now
            ages += [(now_ns - ts) / 1e6 for ts in message.ticks.times_nanos]
        if time.perf_counter() - begun > seconds + 2:
            return ages
    raise SystemExit("the stream ended")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venue", nargs=2, metavar=("RATE", "BATCH"), help=argparse.SUPPRESS)
    parser.add_argument("--trades", type=int, default=100_000, help="read with frames at hand")
    parser.add_argument("--batch", type=int, default=50, help="trades a frame")
    parser.add_argument("--rate", type=float, default=2_000, help="trades a second, a frame each")
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    if given.venue:
        await venue(float(given.venue[0]), int(given.venue[1]))
        return
    alone(given.trades, 1)
    alone(given.trades, given.batch)
    await logged(given.batch, given.seconds)
    await aged(given.rate, given.seconds)


if __name__ == "__main__":
    asyncio.run(main())
