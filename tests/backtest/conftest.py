"""A backtest service with a strategy service behind it, and runs that a test can hold up."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from algotrade.backtest.build import build
from algotrade.backtest.optimise.judge import Judge
from algotrade.backtest.run import run
from algotrade.backtest.store import Claim, Outcome
from algotrade.engine.backtest import Progress
from algotrade.engine.records import Records
from algotrade.platform.channel import open_channel
from algotrade.platform.settings import Settings
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1 import types_pb2
from algotrade.v1.backtest_service_pb2_grpc import BacktestServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

PATIENCE = 30
BARS_PER_CALL = 400  # the sample takes four calls of the engine


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"database_pool_size": 8, "heartbeat_seconds": 0.05})


def columns(bars: Records) -> types_pb2.BarColumns:
    """Write bars as a client would."""
    return types_pb2.BarColumns(
        times_nanos=bars["ts"].tolist(),
        opens_e8=bars["open"].tolist(),
        highs_e8=bars["high"].tolist(),
        lows_e8=bars["low"].tolist(),
        closes_e8=bars["close"].tolist(),
        volumes=bars["volume"].tolist(),
    )


class Gate:
    """Runs that stop after each call of the engine until the gate opens."""

    def __init__(self) -> None:
        self.calls = 0
        self.running = 0
        self.most_running = 0
        self.begun = threading.Semaphore(0)
        self._open = threading.Event()
        self._lock = threading.Lock()

    def open(self) -> None:
        self._open.set()

    def run(self, claim: Claim, progress: Progress) -> Outcome:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.begun.release()

        def gated(done: int, total: int) -> None:
            self.calls += 1
            progress(done, total)
            assert self._open.wait(PATIENCE)

        try:
            return run(claim, gated)
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
def gate(serve: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setattr("algotrade.engine.runtime.BARS_PER_CALL", BARS_PER_CALL)
    gate = Gate()
    yield gate
    gate.open()


@dataclass
class Trader:
    """A user with stubs."""

    user_id: str
    strategies: Any
    backtests: Any

    async def save(self, graph: Mapping[str, Any]) -> pb.StrategyVersion:
        saved = await self.strategies.CreateStrategy(strategy_pb.CreateStrategyRequest(graph=json.dumps(graph)))
        return pb.StrategyVersion(strategy_id=saved.strategy.strategy_id)

    async def start(self, graph: Mapping[str, Any], **fields: Any) -> pb.Backtest:
        response = await self.backtests.StartBacktest(request(graph, **fields))
        assert response.HasField("backtest"), response.diagnostics
        return response.backtest

    async def get(self, backtest: pb.Backtest) -> pb.Backtest:
        return (await self.backtests.GetBacktest(pb.GetBacktestRequest(backtest_id=backtest.backtest_id))).backtest

    def watch(self, backtest: pb.Backtest, after: int | None = None) -> Any:
        return self.backtests.WatchBacktest(
            pb.WatchBacktestRequest(backtest_id=backtest.backtest_id, after_sequence=after)
        )

    async def messages(self, backtest: pb.Backtest, after: int | None = None) -> list[pb.WatchBacktestResponse]:
        async with asyncio.timeout(PATIENCE):
            return [message async for message in self.watch(backtest, after)]

    async def ended(self, backtest: pb.Backtest) -> pb.Backtest:
        return (await self.messages(backtest))[-1].snapshot

    async def done(self, graph: Mapping[str, Any], **fields: Any) -> pb.Backtest:
        ended = await self.ended(await self.start(graph, **fields))
        assert ended.state == pb.BACKTEST_STATE_SUCCEEDED, ended
        return ended

    async def cancel(self, backtest: pb.Backtest) -> pb.Backtest:
        found = await self.backtests.CancelBacktest(pb.CancelBacktestRequest(backtest_id=backtest.backtest_id))
        return found.backtest

    async def rerun(self, backtest: pb.Backtest, **fields: Any) -> pb.Backtest:
        found = await self.backtests.RerunBacktest(pb.RerunBacktestRequest(backtest_id=backtest.backtest_id, **fields))
        return found.backtest

    async def delete(self, backtest: pb.Backtest) -> None:
        await self.backtests.DeleteBacktest(pb.DeleteBacktestRequest(backtest_id=backtest.backtest_id))

    async def trades(self, backtest: pb.Backtest, size: int = 0) -> list[pb.BacktestTrade]:
        found: list[pb.BacktestTrade] = []
        token = ""
        while True:
            response = await self.backtests.ListBacktestTrades(
                pb.ListBacktestTradesRequest(backtest_id=backtest.backtest_id, page_size=size, page_token=token)
            )
            assert not size or len(response.trades) <= size
            found += response.trades
            token = response.next_page_token
            if not token:
                return found


def request(graph: Mapping[str, Any] | None = None, **fields: Any) -> pb.StartBacktestRequest:
    """Ask for a run over the sample, unless other data is named."""
    if "settings" in fields:
        fields["settings"] = types_pb2.RunSettings(**fields["settings"])
    if not fields.keys() & {"bars", "deltas", "data_hash", "history"}:
        fields["sample"] = "AAPL"
    if graph is not None:
        fields["graph"] = json.dumps(graph)
    return pb.StartBacktestRequest(**fields)


@pytest.fixture
async def upstream(serve: Any) -> Any:
    return await serve(build_strategy)


@pytest.fixture
async def backtests_on(serve: Any, upstream: Any) -> Any:
    """Return ``await backtests_on(runs, on=platform)``: one more backtest server."""
    opened = []

    async def make(runs: Any = run, judges: Any = Judge, **fields: Any) -> Any:
        opened.append(open_channel(f"127.0.0.1:{upstream.port}"))
        return await serve(partial(build, upstream=opened[-1], runs=runs, judges=judges), **fields)

    yield make
    for channel in opened:
        await channel.close()


@pytest.fixture
async def server(backtests_on: Any) -> Any:
    return await backtests_on()


@pytest.fixture
def trader_on(connect: Any, open_account: Callable[..., Awaitable[str]], upstream: Any) -> Any:
    """Return ``await trader_on(server)``: a new user with stubs, or one who is known, on another server."""

    async def make(on: Any, user_id: str | None = None) -> Trader:
        user_id = user_id or await open_account()
        return Trader(
            user_id, StrategyServiceStub(connect(upstream, user_id)), BacktestServiceStub(connect(on, user_id))
        )

    return make


@pytest.fixture
async def ada(trader_on: Any, server: Any) -> Trader:
    return await trader_on(server)


@pytest.fixture
async def bob(trader_on: Any, server: Any) -> Trader:
    return await trader_on(server)


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are stored by fives, however quickly they come."""
    monkeypatch.setattr("algotrade.backtest.studies.run.KEPT_TOGETHER", 5)
    monkeypatch.setattr("algotrade.backtest.studies.run.KEPT_SECONDS", 1e9)
    monkeypatch.setattr("algotrade.backtest.studies.run.PAGE", 4)


@pytest.fixture
def gates(serve: Any) -> Iterator[Any]:
    """Return ``gates(passing)``: a gate that opens before the servers stop."""
    from backtest.studying import Gate

    made: list[Gate] = []

    def make(passing: int = 0) -> Gate:
        made.append(Gate(passing))
        return made[-1]

    yield make
    for gate in made:
        gate.open()
