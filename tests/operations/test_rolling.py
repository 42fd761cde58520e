"""Each service and each gateway is restarted in turn, as a roll-out does, while clients call and follow streams.

A service has one process here, so for a moment there is none: what is tried is that a client that asks again is served,
and that its streams go on from their cursors. Gateways are two, and a client goes to the other.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
import pytest
from chaos.followers import InboxFollower, SessionFollower, TickFollower, passes

from algotrade.cli.demo import Demo
from algotrade.platform.background import background
from algotrade.platform.gateway import Gateway
from algotrade.platform.settings import Settings
from algotrade.stack.mesh import SERVICES, Mesh, mesh
from algotrade.stack.process import free_ports
from algotrade.v1 import forward_test_service_pb2 as sessions
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import notification_service_pb2 as notification
from algotrade.v1 import strategy_service_pb2 as strategy
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from algotrade.v1.notification_service_pb2_grpc import NotificationServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

pytestmark = pytest.mark.nightly

PATIENCE = 90
RETRY_SECONDS = 0.1
CALLERS = 4


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-roll-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@dataclass
class Client:
    """Calls through two gateways, the other after each failure; asks again what may be asked again."""

    addresses: list[str]
    demo: Demo
    codes: Counter[str] = field(default_factory=Counter)  # of calls that were asked again
    answered: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._doors = cycle([grpc.aio.insecure_channel(address) for address in self.addresses])
        self._door = next(self._doors)

    def open(self, stub: Any, method: str, request: Any) -> Any:
        """Open a call at the other door than the last."""
        self._door = next(self._doors)
        return getattr(stub(self._door), method)(request, metadata=self.metadata)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.demo.account.token()}"),)

    async def call(self, stub: Any, method: str, request: Any) -> Any:
        begin = time.monotonic()
        while True:
            try:
                answer = await getattr(stub(self._door), method)(request, metadata=self.metadata, timeout=20)
            except grpc.aio.AioRpcError as error:
                self.codes[error.code().name] += 1
                if not passes(error) or time.monotonic() - begin > PATIENCE:
                    self.wrong.append(f"{method}: {error.code().name} {error.details()}")
                    return None
                self._door = next(self._doors)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.answered += 1
            return answer

    async def call_for_ever(self, session_ids: list[str]) -> None:
        """Read and write at every service."""
        graph = (
            (await self.call(StrategyServiceStub, "ListTemplates", strategy.ListTemplatesRequest())).templates[0].graph
        )
        while True:
            for one in session_ids:
                await self.call(ForwardTestServiceStub, "GetSession", sessions.GetSessionRequest(session_id=one))
                await self.call(ForwardTestServiceStub, "ListTrades", sessions.ListTradesRequest(session_id=one))
            await self.call(MarketDataServiceStub, "ListSymbols", market.ListSymbolsRequest())
            await self.call(NotificationServiceStub, "ListNotifications", notification.ListNotificationsRequest())
            saved = strategy.CreateStrategyRequest(graph=graph, request_id=str(uuid.uuid4()))
            first = await self.call(StrategyServiceStub, "CreateStrategy", saved)
            again = await self.call(StrategyServiceStub, "CreateStrategy", saved)
            if first is not None and again is not None and first.strategy.strategy_id != again.strategy.strategy_id:
                self.wrong.append("one request made two strategies")


@asynccontextmanager
async def two_gateways(running: Mesh, folder: Path, port: int) -> AsyncIterator[list[Gateway]]:
    other = {"data_dir": folder / "second", "gateway_address": f"127.0.0.1:{port}"}
    async with Gateway(running.settings.model_copy(update={**other, "envoy_admin_address": "127.0.0.1:0"})) as second:
        yield [running.gateway, second]


async def restarted(gateway: Gateway) -> None:
    """Send clients away, stop, and start again at the same address."""
    await gateway.drain()
    await gateway.stop()
    await gateway.start()


@pytest.mark.timeout(900)
async def test_everything_is_restarted_under_load(folder: Path, settings: Settings) -> None:
    one, other = free_ports(2)
    own = {"gateway_address": f"127.0.0.1:{one}", "envoy_admin_address": "127.0.0.1:0", "data_dir": folder / "data"}
    wanted = settings.model_copy(update=own)
    told = {"ALGOTRADE_MARKET_PROVIDERS": '["synthetic"]', "ALGOTRADE_SYNTHETIC_SYMBOLS": '["BTC-USD"]'}
    async with mesh(folder / "stack", wanted, told) as running, two_gateways(running, folder, other) as gateways:
        demo = Demo(gateways[0].address, folder / "password")
        ids = [one.session.session_id for one in await demo.set_up()]
        client = Client([gateway.address for gateway in gateways], demo)
        followers = [
            *(SessionFollower(f"session {one[:8]}", client.open, session_id=one) for one in ids),
            TickFollower("ticks", client.open, symbol="BTC-USD"),
            InboxFollower("inbox", client.open),
        ]
        async with AsyncExitStack() as stack:
            for follower in followers:
                await stack.enter_async_context(background(follower.run(), follower.name))
            for number in range(CALLERS):
                await stack.enter_async_context(background(client.call_for_ever(ids), f"caller-{number}"))
            for name in (*SERVICES, "gateway one", "gateway two"):
                before = client.answered, [follower.seen for follower in followers]
                if name in running.parts:
                    await running.parts[name].stop()
                    await running.parts[name].start()
                else:
                    await restarted(gateways[name.endswith("two")])
                async with asyncio.timeout(PATIENCE):  # all that was there goes on
                    while client.answered < before[0] + 20 or any(
                        follower.seen <= seen for follower, seen in zip(followers[:-1], before[1], strict=False)
                    ):
                        assert not client.wrong, client.wrong
                        await asyncio.sleep(0.1)
            for follower in followers:  # one that is cancelled takes it for a cut, and comes back
                follower.ended = True
                follower.cut()
        cuts = sum((follower.cuts for follower in followers), Counter())
        print(f"{client.answered} calls answered, asked again {dict(client.codes)}, streams cut {dict(cuts)}")
        assert [one for follower in followers for one in follower.wrong] == client.wrong == []
        assert cuts.total() >= len(followers)
        for one in ids:
            request = sessions.VerifyParityRequest(session_id=one)
            certificate = (await client.call(ForwardTestServiceStub, "VerifyParity", request)).certificate
            assert certificate.verdict == sessions.PARITY_VERDICT_IDENTICAL, certificate
        await demo.close()
