"""How does the whole platform do under load? Users come, draw, backtest, trade on paper and watch, through Envoy.

The platform runs in a process of its own, everything else here. Each user registers, logs in, reads the templates,
saves a strategy, backtests it and watches the run, starts sessions, holds a stream open on each and one on a symbol's
ticks, and asks as a screen does until time is up; then stops its sessions. Ticks are of the made-up market: they come
in bursts and leave gaps. Latency is what a caller sees, Envoy and the caller's own processor included; the health
check, the cheapest answer there is, stands beside it as the least that a call costs under that load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mesh import Running, Usage, running
from strategies import strategy

from algotrade.platform.channel import open_channel
from algotrade.v1 import backtest_service_pb2 as backtest_pb
from algotrade.v1 import forward_test_service_pb2 as forward_pb
from algotrade.v1 import identity_service_pb2 as identity_pb
from algotrade.v1 import market_data_service_pb2 as market_pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1 import types_pb2
from algotrade.v1.backtest_service_pb2_grpc import BacktestServiceStub
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.identity_service_pb2_grpc import IdentityServiceStub
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

PASSWORD = "a long pass phrase"
THINKING = (0.2, 1.0)  # seconds between a user's calls
MOST_SETTLING = 30.0  # seconds after the last has come; then it is measured in any case
HEALTH = "health check: the least"


@dataclass
class Seen:
    """What callers saw."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    ticks: int = 0
    events: int = 0
    marks: int = 0
    sessions: int = 0
    streams: int = 0

    async def call(self, method: Any, request: Any, name: str = "") -> Any:
        """Make a call; note how long it took, or with what it failed. None where it failed."""
        name = name or type(request).__name__.removesuffix("Request")
        start = time.perf_counter()
        try:
            response = await method(request)
        except grpc.aio.AioRpcError as error:
            self.errors[name, error.code().name] += 1
            return None
        self.seconds[name].append(time.perf_counter() - start)
        return response

    async def stream(self, method: Any, request: Any, take: Callable[[Any], object]) -> None:
        """Take a stream until the task ends; note how long the first message took."""
        name = type(request).__name__.removesuffix("Request")
        start, first = time.perf_counter(), True
        self.streams += 1
        try:
            async for message in method(request):
                if first:
                    self.seconds[f"{name}, first message"].append(time.perf_counter() - start)
                    first = False
                take(message)
        except grpc.aio.AioRpcError as error:
            self.errors[name, error.code().name] += 1
        finally:
            self.streams -= 1


class User:
    """Somebody with a channel of their own."""

    def __init__(self, number: int, gateway: str, seen: Seen, given: argparse.Namespace) -> None:
        self._number, self._gateway, self._seen, self._given = number, gateway, seen, given
        self._random = random.Random(number)
        self._symbol = f"SYM-{number % given.symbols}"
        self.settled = asyncio.Event()  # its sessions run, or it came to nothing

    async def run(self, begin: float, over: asyncio.Event) -> None:
        """Come at a time (``time.perf_counter()``), stay until all is over."""
        await asyncio.sleep(begin - time.perf_counter())
        try:
            await self._come(over)
        finally:
            self.settled.set()

    async def _come(self, over: asyncio.Event) -> None:
        token: list[str] = []
        async with open_channel(self._gateway, lambda: token[0] if token else None) as channel:
            identity, seen = IdentityServiceStub(channel), self._seen
            email = f"user{self._number}@example.com"
            registering = identity_pb.RegisterRequest(email=email, password=PASSWORD, display_name="user")
            if await seen.call(identity.Register, registering) is None:
                return
            logged_in = await seen.call(identity.Login, identity_pb.LoginRequest(email=email, password=PASSWORD))
            if logged_in is None:
                return
            token.append(logged_in.token.token)
            await self._trade(channel, over)

    async def _trade(self, channel: grpc.aio.Channel, over: asyncio.Event) -> None:
        seen, strategies, sessions = self._seen, StrategyServiceStub(channel), ForwardTestServiceStub(channel)
        await seen.call(strategies.ListTemplates, strategy_pb.ListTemplatesRequest())
        graph = json.dumps(strategy(self._number))
        await seen.call(strategies.ValidateStrategy, strategy_pb.ValidateStrategyRequest(graph=graph))
        saved = await seen.call(strategies.CreateStrategy, strategy_pb.CreateStrategyRequest(graph=graph))
        if saved is None:
            return
        await self._backtest(BacktestServiceStub(channel), saved.strategy.strategy_id)
        started = await self._start(sessions, saved.strategy.strategy_id)
        market = MarketDataServiceStub(channel)
        ticks = market_pb.StreamTicksRequest(symbol=self._symbol)
        streams = [asyncio.create_task(seen.stream(market.StreamTicks, ticks, self._ticks))]
        for session_id in started:
            watched = forward_pb.StreamSessionRequest(session_id=session_id)
            streams.append(asyncio.create_task(seen.stream(sessions.StreamSession, watched, self._session)))
        self.settled.set()
        while started and not over.is_set():
            await self._look(channel, self._random.choice(started))
            await asyncio.sleep(self._random.uniform(*THINKING))
        for one in streams:
            one.cancel()
        await asyncio.wait(streams)
        for session_id in started:
            request = forward_pb.StopSessionRequest(session_id=session_id, mode=forward_pb.STOP_MODE_KEEP)
            await seen.call(sessions.StopSession, request)

    async def _backtest(self, backtests: BacktestServiceStub, strategy_id: str) -> None:
        seen = self._seen
        saved = backtest_pb.StrategyVersion(strategy_id=strategy_id)
        begun = await seen.call(
            backtests.StartBacktest, backtest_pb.StartBacktestRequest(saved=saved, sample="AAPL", name="load")
        )
        if begun is None:
            return
        run = begun.backtest.backtest_id

        async def watched(request: backtest_pb.WatchBacktestRequest) -> bool:
            async for _ in backtests.WatchBacktest(request):
                pass
            return True

        await seen.call(watched, backtest_pb.WatchBacktestRequest(backtest_id=run), "WatchBacktest, to the end")
        await seen.call(backtests.GetBacktest, backtest_pb.GetBacktestRequest(backtest_id=run))
        await seen.call(backtests.ListBacktestTrades, backtest_pb.ListBacktestTradesRequest(backtest_id=run))

    async def _start(self, sessions: ForwardTestServiceStub, strategy_id: str) -> list[str]:
        started = []
        for index in range(self._given.sessions):
            settings = types_pb2.RunSettings(interval="1s", initial_cash=str(10_000 + index))
            request = forward_pb.CreateSessionRequest(strategy_id=strategy_id, symbol=self._symbol, settings=settings)
            created = await self._seen.call(sessions.CreateSession, request)
            if created is None:
                continue
            session_id = created.session.session_id
            if await self._seen.call(sessions.StartSession, forward_pb.StartSessionRequest(session_id=session_id)):
                started.append(session_id)
        self._seen.sessions += len(started)
        return started

    async def _look(self, channel: grpc.aio.Channel, session_id: str) -> None:
        """Ask one of the things that a screen asks."""
        market, sessions = MarketDataServiceStub(channel), ForwardTestServiceStub(channel)
        asked: list[tuple[Any, Any]] = [
            (market.GetWindow, market_pb.GetWindowRequest(symbol=self._symbol, limit=100)),
            (market.ListBars, market_pb.ListBarsRequest(symbol=self._symbol, interval="1s")),
            (sessions.GetSession, forward_pb.GetSessionRequest(session_id=session_id)),
            (sessions.ListSessions, forward_pb.ListSessionsRequest()),
            (sessions.ListTrades, forward_pb.ListTradesRequest(session_id=session_id)),
        ]
        await self._seen.call(*self._random.choice(asked))

    def _ticks(self, message: market_pb.StreamTicksResponse) -> None:
        self._seen.ticks += len(message.ticks.times_nanos)

    def _session(self, message: forward_pb.StreamSessionResponse) -> None:
        self._seen.events += message.HasField("event")
        self._seen.marks += message.HasField("mark")


async def probe(gateway: str, seen: Seen) -> None:
    """Ask for the health, again and again."""
    async with open_channel(gateway) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            await seen.call(stub.Check, health_pb2.HealthCheckRequest(), HEALTH)
            await asyncio.sleep(0.2)


def logged(metrics_url: str) -> float:
    """Ticks that the feeds have logged."""
    with urllib.request.urlopen(metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("algotrade_market_ticks_total{"))


async def measure(platform: Running, given: argparse.Namespace, seen: Seen) -> list[tuple[str, str]]:
    """Let everybody in, one after another; look at the time between the last coming and the first going."""
    start, over = time.perf_counter(), asyncio.Event()
    users = [User(number, platform.gateway, seen, given) for number in range(given.users)]
    coming = [
        asyncio.create_task(user.run(start + given.ramp * number / given.users, over))
        for number, user in enumerate(users)
    ]
    probing = asyncio.create_task(probe(platform.gateway, seen))
    with suppress(TimeoutError):
        async with asyncio.timeout(given.ramp + MOST_SETTLING):
            for user in users:
                await user.settled.wait()
    settled = sum(user.settled.is_set() for user in users)
    before = (platform.usage(), await asyncio.to_thread(logged, platform.metrics), seen.ticks, seen.events, seen.marks)
    own, begun = Usage.now(platform.data_dir), time.perf_counter()
    await asyncio.sleep(given.seconds)
    seconds, streams = time.perf_counter() - begun, seen.streams
    after = (platform.usage(), await asyncio.to_thread(logged, platform.metrics), seen.ticks, seen.events, seen.marks)
    clients = (Usage.now(platform.data_dir).ours - own.ours) / seconds
    over.set()
    await asyncio.gather(*coming)
    probing.cancel()
    ours, servers = after[0].since(before[0], seconds)
    ticks, delivered, events, marks = ((b - a) / seconds for a, b in zip(before[1:], after[1:], strict=True))
    return [
        ("users", f"{settled} had settled {begun - start:.0f} s after the first came"),
        ("sessions", f"{seen.sessions:,} running, {streams:,} streams open"),
        ("ticks", f"{ticks:,.0f} a second logged, {delivered:,.0f} a second delivered"),
        ("of sessions", f"{events:,.1f} events and {marks:,.0f} marks a second delivered"),
        ("processor", f"platform {ours:.0%} of a core, Envoy and PostgreSQL {servers:.0%}, the users {clients:.0%}"),
        (
            "memory",
            f"platform {after[0].ours_bytes / 2**20:,.0f} MiB, servers {after[0].servers_bytes / 2**20:,.0f} MiB",
        ),
    ]


def say(seen: Seen, facts: list[tuple[str, str]], given: argparse.Namespace) -> None:
    failed: Counter[str] = Counter()
    for (name, _), count in seen.errors.items():
        failed[name] += count
    print(
        f"\n{given.users} users, {given.sessions} sessions each, {given.symbols} symbols, {given.rate:g} ticks a second"
    )
    print(f"  {'':28}   calls  errors    p50 ms    p95 ms    p99 ms")
    for name in sorted({*seen.seconds, *failed}, key=lambda name: (name == HEALTH, name)):
        taken = seen.seconds.get(name, [])
        figures = np.percentile(np.asarray(taken) * 1e3, (50, 95, 99)) if taken else [np.nan] * 3
        print(f"  {name:28}  {len(taken):6,}  {failed[name]:6,}  " + "  ".join(f"{one:8.1f}" for one in figures))
    for name, value in facts:
        print(f"  {name:12}  {value}")
    for (name, code), count in sorted(seen.errors.items()):
        print(f"  {count} x {name}: {code}")
    calls = sum(map(len, seen.seconds.values()))
    print(f"{calls:,} calls, {failed.total():,} errors (0 wanted)")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=25)
    parser.add_argument("--sessions", type=int, default=3, help="of each user")
    parser.add_argument("--symbols", type=int, default=4)
    parser.add_argument("--rate", type=float, default=50.0, help="ticks a second, each symbol")
    parser.add_argument("--ramp", type=float, default=20.0, help="seconds in which users come")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    symbols = [f"SYM-{number}" for number in range(given.symbols)]
    seen = Seen()
    with running(
        market_providers='["synthetic"]',
        synthetic_symbols=json.dumps(symbols),
        synthetic_ticks_per_second=given.rate,
    ) as platform:
        facts = await measure(platform, given, seen)
    say(seen, facts, given)


if __name__ == "__main__":
    asyncio.run(main())
