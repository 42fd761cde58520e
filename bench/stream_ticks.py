"""How fast do ticks stream? 100,000 a second to one client in batches; a symbol's ticks to 200 clients; a venue's too.

Services and their PostgreSQL run in a process of their own, the clients in this one; each case has services of its own.
The feed makes ticks at a steady rate, a batch a hundredth of a second, each with the time it is made. For each case:
what the feed logged without a client, what it logged with them, what each client got, and how old the newest tick of a
message was when a client had it. Beside the one client the ceiling: a bare grpc.aio stream between the same two
processes, the same messages made beforehand, no layer of ours, as fast as it goes.

Last the same 200 clients of a venue of our own (`feed.py`), and beside them some that stop reading: whether the source
or the others notice, how many of those were ended (buffers of both ends hold some 100 KB before a server notices), and
whether they go on by their cursors without a hole.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import numpy as np
from feed import SYMBOL as TRADED
from feed import settings_for, speaking
from mesh import opened, registered

from algotrade.engine.records import TICK, Records
from algotrade.identity.__main__ import build as build_identity
from algotrade.market_data.build import build as build_market_data
from algotrade.market_data.feed import FeedSymbol, FeedTicks, Resume
from algotrade.platform import limits
from algotrade.platform.channel import open_channel
from algotrade.platform.process import serving, stop_signal
from algotrade.platform.ticks import to_batch
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

SYMBOL, TURNS = "SYM", 100  # of the feed, a second
BARE = "/bench.Bare/Flood"


class SteadyFeed:
    """Makes ticks at a rate; what it could not hand on in time it makes up for."""

    symbols = (FeedSymbol(SYMBOL, "bench"),)

    def __init__(self, rate: float) -> None:
        self._rate = rate

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedTicks, None]:
        start, made = time.time_ns(), 0
        for turn in itertools.count(1):
            await asyncio.sleep(max(0.0, turn / TURNS - (time.time_ns() - start) / 1e9))
            due = int(self._rate * turn / TURNS)
            yield FeedTicks(_ticks(time.time_ns(), made, due - made))
            made = due


def _ticks(now_ns: int, first: int, count: int) -> Records:
    ticks = np.zeros(count, TICK)
    ticks["ts"], ticks["size"] = now_ns, 1.0
    ticks["price"] = (10_000 + np.arange(first, first + count) % 100) * 1_000_000
    return ticks


# ---------------------------------------------------------------------- the services' process


async def serve(source: str) -> None:
    """Serve until told to stop, ticks at a rate or those of a venue by its URL; print where."""
    venue = source.startswith("ws")
    given = {**settings_for(source), "stream_lag_ticks": 500, "stream_lag_seconds": 1.0} if venue else {}
    feeds = None if venue else [SteadyFeed(float(source))]
    async with opened(streams_per_user=limits.MAX_STREAMS_PER_USER, **given) as platform:
        builders = [build_identity, partial(build_market_data, feeds=feeds)]
        async with serving(platform, builders) as server, bare() as bare_port:
            print(server.port, bare_port, flush=True)
            await stop_signal().wait()


class bare:  # noqa: N801  (a context)
    """A server of one stream: the same message, as often as it is taken."""

    async def __aenter__(self) -> int:
        ticks = _ticks(time.time_ns(), 0, limits.MAX_TICKS_A_MESSAGE)
        message = pb.StreamTicksResponse(sequence=1, epoch=1, ticks=to_batch(ticks)).SerializeToString()

        async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
            while True:
                yield message

        handler = grpc.unary_stream_rpc_method_handler(flood)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Bare", {"Flood": handler})])
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    async def __aexit__(self, *_error: object) -> None:
        await self._server.stop(0)


@contextmanager
def served(source: str) -> Iterator[tuple[str, str]]:
    """Start the services' process; yield the addresses of the services and of the bare stream."""
    command = [sys.executable, __file__, "--serve", source]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ports = process.stdout.readline().split()
        try:
            if len(ports) != 2:
                raise SystemExit("the services do not start")
            yield f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
        finally:
            process.terminate()


# ---------------------------------------------------------------------- the clients


@dataclass
class Got:
    """What the clients of a case got."""

    symbol: str
    ticks: list[int]
    ages: list[float] = field(default_factory=list)  # seconds
    ended: list[str] = field(default_factory=list)


async def client(stub: MarketDataServiceStub, got: Got, number: int) -> None:
    """Take ticks from now on, until the task ends; see that none is missing."""
    cursor = None
    try:
        async for message in stub.StreamTicks(pb.StreamTicksRequest(symbol=got.symbol)):
            if count := len(message.ticks.times_nanos):
                first = message.ticks.first_sequence
                assert cursor is None or first == cursor + 1, f"ticks {cursor + 1} to {first} are missing"
                cursor = message.sequence
                got.ticks[number] += count
                got.ages.append((time.time_ns() - message.ticks.times_nanos[-1]) / 1e9)
    except grpc.aio.AioRpcError as error:
        got.ended.append(f"{error.code().name}: {error.details()}")


async def logged(stub: MarketDataServiceStub, symbol: str) -> int:
    return int((await stub.GetWindow(pb.GetWindowRequest(symbol=symbol, limit=1))).last_sequence)


async def rate_logged(stub: MarketDataServiceStub, symbol: str, seconds: float) -> float:
    """Ticks a second that the feed logs."""
    start, before = time.perf_counter(), await logged(stub, symbol)
    await asyncio.sleep(seconds)
    after = await logged(stub, symbol)
    return (after - before) / (time.perf_counter() - start)


async def flooded(address: str, seconds: float) -> float:
    """Ticks a second through the bare stream."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream(BARE, response_deserializer=pb.StreamTicksResponse.FromString)(b"")
        ticks, start = 0, time.perf_counter()
        async for message in call:
            ticks += len(message.ticks.times_nanos)
            if time.perf_counter() - start > seconds:
                break
        return ticks / (time.perf_counter() - start)


@dataclass
class Stalled:
    """A reader that takes one message and then no more, until it is told to go on."""

    symbol: str
    ended: str = ""
    cursor: int = 0

    async def stall(self, stub: MarketDataServiceStub) -> None:
        self._messages = aiter(stub.StreamTicks(pb.StreamTicksRequest(symbol=self.symbol)))
        self.cursor = (await anext(self._messages)).sequence

    async def go_on(self, stub: MarketDataServiceStub) -> None:
        """Read what waits; where that ends, come back with the cursor. SystemExit for a hole."""
        until = await logged(stub, self.symbol)
        while self.cursor < until:
            try:
                message = await anext(self._messages)
            except grpc.aio.AioRpcError as error:
                if self.ended:
                    raise
                self.ended = error.code().name
                request = pb.StreamTicksRequest(symbol=self.symbol, after_sequence=self.cursor)
                self._messages = aiter(stub.StreamTicks(request))
                continue
            if len(message.ticks.times_nanos):
                if message.ticks.first_sequence != self.cursor + 1:
                    raise SystemExit(f"a hole behind {self.cursor}")
                self.cursor = message.sequence


async def told(stalled: list[Stalled], stub: MarketDataServiceStub) -> str:
    """Have the stalled go on; say what became of them."""
    await asyncio.gather(*(one.go_on(stub) for one in stalled))
    ended = sum(one.ended == "RESOURCE_EXHAUSTED" for one in stalled)
    return f"{len(stalled)}: {ended} ended with RESOURCE_EXHAUSTED; all went on without a hole"


async def case(
    source: str,
    made: str,
    clients: int,
    seconds: float,
    *,
    symbol: str = SYMBOL,
    stalling: int = 0,
    ceiling: bool = False,
) -> None:
    with served(source) as (address, bare_address):
        async with open_channel(address) as public:
            token = await registered(public, "stream")
        async with open_channel(address, lambda: token) as channel:
            stub, got = MarketDataServiceStub(channel), Got(symbol, [0] * clients)
            await asyncio.sleep(2)
            alone = await rate_logged(stub, symbol, seconds / 2)
            stalled = [Stalled(symbol) for _ in range(stalling)]
            await asyncio.gather(*(one.stall(stub) for one in stalled))
            tasks = [asyncio.create_task(client(stub, got, number)) for number in range(clients)]
            await asyncio.sleep(2)
            got.ticks, got.ages = [0] * clients, []
            start = time.perf_counter()
            beside = await rate_logged(stub, symbol, seconds)
            took, each, ages = time.perf_counter() - start, list(got.ticks), np.array(got.ages) * 1e3
            failed = [task.exception() for task in tasks if task.done() and task.exception()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            stopped = await told(stalled, stub) if stalled else ""
        bare_rate = await flooded(bare_address, seconds / 2) if ceiling else 0.0
    if failed:
        raise SystemExit(f"a client failed: {failed[0]}")
    p50, p99 = np.percentile(ages, (50, 99)) if len(ages) else (np.nan, np.nan)
    print(f"\n{clients} client{'s' * (clients > 1)} of one symbol, {made}")
    for name, value in (
        ("logged, no client", f"{alone:,.0f} ticks a second"),
        ("logged, with clients", f"{beside:,.0f} ticks a second ({beside / max(alone, 1):.0%})"),
        ("delivered", f"{sum(each) / took:,.0f} ticks a second in all, {len(ages) / took:,.0f} messages"),
        ("a client", f"least {min(each) / took:,.0f}, most {max(each) / took:,.0f} ticks a second"),
        ("age of the newest", f"median {p50:.1f} ms, p99 {p99:.1f} ms"),
        ("ended by the server", f"{len(got.ended)} {got.ended[0] if got.ended else ''}"),
        *([("readers that stopped", stopped)] if stopped else []),
        *([("ceiling: bare stream", f"{bare_rate:,.0f} ticks a second")] if ceiling else []),
    ):
        print(f"  {name:22}  {value}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=100_000, help="ticks a second, to one client")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--shared-rate", type=float, default=100, help="ticks a second, to many clients")
    parser.add_argument("--venue-rate", type=float, default=500, help="trades a second of the venue, to many clients")
    parser.add_argument("--stalling", type=int, default=10, help="readers of the venue's trades that stop reading")
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    if given.serve:
        await serve(given.serve)
        return
    rate, shared = given.rate, given.shared_rate
    await case(str(rate), f"{rate:,.0f} ticks a second made", 1, given.seconds, ceiling=True)
    await case(str(shared), f"{shared:,.0f} ticks a second made", given.clients, given.seconds)
    with speaking(given.venue_rate, 1) as url:
        said = f"{given.venue_rate:,.0f} trades a second of a venue, a frame each"
        await case(url, said, given.clients, given.seconds, symbol=TRADED, stalling=given.stalling)


if __name__ == "__main__":
    asyncio.run(main())
