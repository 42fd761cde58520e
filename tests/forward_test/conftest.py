"""A whole small mesh: strategies and market data on one server, sessions on another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from market_data.feeds import ManualFeed

from algotrade.forward_test.build import build
from algotrade.market_data.build import build as build_market_data
from algotrade.platform.channel import open_channel
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1 import types_pb2
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

PATIENCE = 30


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # A worker of the same name takes everything over at once, and whoever bore it ends.
    changes = {"checkpoint_seconds": 0, "mark_seconds": 0, "database_pool_size": 8, "worker_name": "worker"}
    return settings.model_copy(update=changes)


@dataclass
class Trader:
    """A user with stubs."""

    user_id: str
    strategies: Any
    sessions: Any

    async def strategy(self, graph: Mapping[str, Any]) -> str:
        saved = await self.strategies.CreateStrategy(strategy_pb.CreateStrategyRequest(graph=json.dumps(graph)))
        assert saved.strategy.artefact_hash, saved.diagnostics
        return saved.strategy.strategy_id

    async def create(self, graph: Mapping[str, Any], symbol: str, **fields: Any) -> pb.Session:
        settings = types_pb2.RunSettings(**fields.pop("settings", {}))
        request = pb.CreateSessionRequest(
            strategy_id=await self.strategy(graph), symbol=symbol, settings=settings, **fields
        )
        return (await self.sessions.CreateSession(request)).session

    async def start(self, session: pb.Session) -> pb.Session:
        return await self.start_as(pb.StartSessionRequest(session_id=session.session_id))

    async def start_as(self, request: pb.StartSessionRequest) -> pb.Session:
        return (await self.sessions.StartSession(request)).session

    async def started(self, graph: Mapping[str, Any], symbol: str, **fields: Any) -> pb.Session:
        return await self.start(await self.create(graph, symbol, **fields))

    async def stop(self, session: pb.Session, mode: pb.StopMode.ValueType) -> pb.Session:
        request = pb.StopSessionRequest(session_id=session.session_id, mode=mode)
        return (await self.sessions.StopSession(request)).session

    async def get(self, session: pb.Session) -> pb.Session:
        return (await self.sessions.GetSession(pb.GetSessionRequest(session_id=session.session_id))).session

    async def trades(self, session: pb.Session, size: int = 0) -> list[pb.Trade]:
        found: list[pb.Trade] = []
        token = ""
        while True:
            request = pb.ListTradesRequest(session_id=session.session_id, page_size=size, page_token=token)
            response = await self.sessions.ListTrades(request)
            found += response.trades
            token = response.next_page_token
            if not token:
                return found

    async def reached(self, session: pb.Session, when: Callable[[pb.Session], bool]) -> pb.Session:
        """Return the session once a condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not when(found := await self.get(session)):
                pass
        return found

    async def at_tick(self, session: pb.Session, sequence: int) -> pb.Session:
        return await self.reached(session, lambda found: found.last_tick_sequence >= sequence)

    def stream(self, session: pb.Session, after: int | None = None) -> Any:
        return self.sessions.StreamSession(pb.StreamSessionRequest(session_id=session.session_id, after_sequence=after))

    async def events(self, session: pb.Session, last: int, after: int = 0) -> list[pb.SessionEvent]:
        """Return the stream's events behind a cursor up to one."""
        found: list[pb.SessionEvent] = []
        async with asyncio.timeout(PATIENCE):
            async for message in self.stream(session, after):
                if message.HasField("event"):
                    found.append(message.event)
                    assert message.sequence == message.event.sequence
                if message.sequence >= last:
                    return found
        raise AssertionError("the stream ended")


@pytest.fixture
def feed() -> ManualFeed:
    """Return a feed of trades that the test feeds by hand."""
    return ManualFeed("AAA", "BBB", live=False)


@pytest.fixture
async def upstream(serve: Any, feed: ManualFeed) -> Any:
    return await serve(build_strategy, partial(build_market_data, feeds=[feed]))


@pytest.fixture
async def open_channel_to() -> Any:
    opened = []

    def connect(server: Any) -> Any:
        opened.append(open_channel(f"127.0.0.1:{server.port}"))
        return opened[-1]

    yield connect
    for channel in opened:
        await channel.close()


@pytest.fixture
async def server(serve: Any, upstream: Any, open_channel_to: Any) -> Any:
    return await serve(partial(build, upstream=open_channel_to(upstream)))


@pytest.fixture
def trader(
    connect: Any, open_account: Callable[..., Awaitable[str]], upstream: Any, server: Any, platform: Platform
) -> Any:
    """Return ``await trader()``: a new user with stubs; ``on`` names another session server."""

    async def make(on: Any = server, user_id: str | None = None) -> Trader:
        user_id = user_id or await open_account()
        return Trader(
            user_id,
            StrategyServiceStub(connect(upstream, user_id)),
            ForwardTestServiceStub(connect(on, user_id)),
        )

    return make
