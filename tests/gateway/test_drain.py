"""Stopping: health first, then clients are sent away, then the streams end; no call that was taken is lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import httpx
import pytest

from algotrade.platform.errors import info
from algotrade.platform.gateway import Gateway
from algotrade.platform.settings import Settings
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import market_data_service_pb2_grpc as market_grpc

from .conftest import Mesh, running
from .test_gateway import bearer, sign


@pytest.fixture
async def draining(session_mesh: Mesh, gateway_settings: Settings, tmp_path: Any, database: Any) -> AsyncIterator[Mesh]:
    """A mesh of its own, whose clients have two seconds to go elsewhere."""
    settings = gateway_settings.model_copy(update={"gateway_drain_seconds": 2, "data_dir": tmp_path})
    async with running(settings, replace(session_mesh.platform, settings=settings)) as mesh:
        yield mesh


async def test_health_fails_first_and_connections_are_told_to_go_while_streams_go_on(draining):
    headers = dict(bearer(sign(draining)))
    async with (
        httpx.AsyncClient(base_url=draining.url) as http,
        grpc.aio.insecure_channel(draining.gateway.address) as channel,
    ):
        stub: Any = market_grpc.MarketDataServiceStub(channel)
        stream = stub.StreamTicks(market.StreamTicksRequest(symbol="BTC-USD"), metadata=bearer(sign(draining)))
        assert (await stream.read()).sequence == 1
        assert (await http.get("/healthz")).status_code == 200
        going = asyncio.create_task(draining.gateway.drain())
        async with asyncio.timeout(20):
            while (await http.get("/healthz")).status_code == 200:
                pass
        assert not going.done(), "health fails before the port closes"
        answers = [await http.get("/v1/symbols", headers=headers)]
        while not going.done() and "connection" not in answers[-1].headers:
            answers.append(await http.get("/v1/symbols", headers=headers))
        assert {answer.status_code for answer in answers} == {200}
        assert answers[-1].headers["connection"] == "close"
        await going
        with pytest.raises(httpx.ConnectError):
            await http.get("/v1/symbols", headers=headers)
        draining.upstream.go_on.set()
        assert (await stream.read()).sequence == 2
        assert await stream.read() == grpc.aio.EOF


@dataclass
class Loop:
    """A client that calls again and again."""

    answers: int = 0
    retries: int = 0
    failures: list[str] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def grpc(self, address: str, headers: Any) -> None:
        """Call over one channel; what gRPC itself knows was never taken it sends again, and this client nothing."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = market_grpc.MarketDataServiceStub(channel)
            while True:
                try:
                    await stub.ListSymbols(
                        market.ListSymbolsRequest(), metadata=headers, wait_for_ready=True, timeout=60
                    )
                    self._count()
                except grpc.aio.AioRpcError as error:
                    self.failures.append(f"{error.code().name}: {error.details()}")

    async def rest(self, address: str, headers: Any) -> None:
        """Read over HTTP/1.1; a read that got no answer is sent again."""
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as http:
            while True:
                try:
                    answer = await http.get("/v1/symbols", headers=headers)
                except httpx.TransportError:
                    self.retries += 1
                    await asyncio.sleep(0.01)
                    continue
                if answer.status_code == 200:
                    self._count()
                else:
                    self.failures.append(answer.text)

    def _count(self) -> None:
        self.answers += 1
        self.answered.set()


async def until(loops: list[Loop], more: int) -> None:
    """Wait until each has so many answers more."""
    async with asyncio.timeout(60):
        for loop in loops:
            wanted = loop.answers + more
            while loop.answers < wanted:
                loop.answered.clear()
                await loop.answered.wait()


async def test_a_restart_loses_no_call_and_a_stream_is_told_to_come_back(
    session_mesh, gateway_settings, tmp_path, database
):
    """Gateway and services stop in the order of `algotrade up` and start again under the same addresses."""
    settings = gateway_settings.model_copy(update={"data_dir": tmp_path})
    platform = replace(session_mesh.platform, settings=settings)
    loops = [Loop() for _ in range(4)]
    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        mesh = await first.enter_async_context(running(settings, platform))
        first.push_async_callback(mesh.gateway.stop)
        address, headers = mesh.gateway.address, bearer(sign(mesh))
        calling = [
            asyncio.create_task((loop.grpc if index % 2 else loop.rest)(address, headers))
            for index, loop in enumerate(loops)
        ]
        await until(loops, 20)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub: Any = market_grpc.MarketDataServiceStub(channel)
        stream = stub.StreamTicks(market.StreamTicksRequest(symbol="BTC-USD"), metadata=headers)
        assert (await stream.read()).sequence == 1

        await mesh.gateway.drain()
        await mesh.server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert (caught.value.code(), info(caught.value).reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        await first.aclose()

        again = settings.model_copy(update={"gateway_address": address})
        await stack.enter_async_context(running(again, replace(platform, settings=again)))
        await until(loops, 20)
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)
    assert [loop.failures for loop in loops] == [[]] * 4
    assert sum(loop.retries for loop in loops) > 0, "the port was closed for a while"


def lines(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.access_log_path.read_text().splitlines()]


async def test_the_access_log_has_a_line_a_request_and_no_secret(draining):
    user, secret = str(uuid.uuid4()), "c2VjcmV0"
    token = sign(draining, sub=user)
    async with httpx.AsyncClient(base_url=draining.url) as http:
        given = {"authorization": f"Bearer {token}", "x-correlation-id": "logged", "user-agent": secret}
        assert (await http.get(f"/v1/symbols?page_size=3&page_token={secret}", headers=given)).status_code == 200
        web = {**given, "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        await http.post("/algotrade.v1.IdentityService/GetMe", content=b"\0\0\0\0\0", headers=web)
        await http.get("/v1/nothing", headers={"x-correlation-id": "lost"})
        async with asyncio.timeout(30):
            while len(lines(draining.gateway)) < 3:  # they are written once a second
                await http.get(f"http://{draining.gateway.admin_address}/ready")
    rpc, rest, lost = sorted(lines(draining.gateway), key=lambda line: line["rpc"])
    assert (rest["method"], rest["path"], rest["rpc"]) == (
        "GET",
        "/v1/symbols",
        "/algotrade.v1.MarketDataService/ListSymbols",
    )
    assert (rest["http_status"], rest["user_id"], rest["correlation_id"]) == (200, user, "logged")
    assert rest["duration_ms"] >= 0
    assert rest["bytes_sent"] > 0
    assert rest["upstream"].startswith("127.0.0.1:")
    assert (rpc["path"], rpc["grpc_status"]) == ("/algotrade.v1.IdentityService/GetMe", "NotFound")
    assert (lost["http_status"], lost["correlation_id"], lost["details"]) == (
        401,
        "lost",
        "jwt_authn_access_denied{Jwt_is_missing}",
    )
    text = draining.gateway.access_log_path.read_text()
    assert token not in text
    assert secret not in text
