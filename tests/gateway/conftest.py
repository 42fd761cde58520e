"""A real Envoy before real servers, once a session; and a caller that speaks each of the three protocols."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from joserfc.jwk import ECKey

from algotrade.identity.__main__ import build
from algotrade.platform.bus_postgres import PostgresBus
from algotrade.platform.clock import SystemClock
from algotrade.platform.errors import info
from algotrade.platform.gateway import Gateway, Upstreams
from algotrade.platform.health import Health
from algotrade.platform.http import http_server
from algotrade.platform.metrics import Metrics
from algotrade.platform.pages import File
from algotrade.platform.process import Platform
from algotrade.platform.server import GrpcServer, Mount
from algotrade.platform.settings import Settings
from algotrade.platform.tokens import public_keys
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import market_data_service_pb2_grpc as market_grpc
from algotrade.v1 import types_pb2

GRPC_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class Upstream(market_grpc.MarketDataServiceServicer):
    """Stands behind the gateway where a test wants to see what arrives there, or to decide what comes back."""

    def __init__(self) -> None:
        self.metadata: dict[str, list[str]] = {}
        self.go_on = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def ListSymbols(self, request: Any, context: Any) -> market.ListSymbolsResponse:
        self._keep(context)
        return market.ListSymbolsResponse(symbols=[market.Symbol(symbol="BTC-USD")])

    async def GetWindow(self, request: Any, context: Any) -> market.GetWindowResponse:
        self._keep(context)
        return market.GetWindowResponse(ticks=[types_pb2.Tick(sequence=2**53 + 1, price="0.00000001")])

    async def StreamTicks(self, request: Any, context: Any) -> AsyncIterator[market.StreamTicksResponse]:
        self._keep(context)
        try:
            for sequence in (1, 2):
                yield market.StreamTicksResponse(
                    sequence=sequence, ticks=types_pb2.TickBatch(first_sequence=sequence, prices_e8=[5])
                )
                await self.go_on.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    def _keep(self, context: Any) -> None:
        self.metadata = {}
        for key, value in context.invocation_metadata():
            self.metadata.setdefault(key, []).append(value)


PAGES = ("/", "/assets/index.js")


@dataclass
class Mesh:
    """What runs: the gateway, the platform behind it, and the server a test looks into."""

    gateway: Gateway
    platform: Platform
    upstream: Upstream
    server: GrpcServer

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}"


@pytest.fixture(scope="session")
def gateway_settings(session_settings: Settings, data_dir: Path) -> Settings:
    return session_settings.model_copy(
        update={
            "data_dir": data_dir,
            "gateway_address": "127.0.0.1:0",
            "envoy_admin_address": "127.0.0.1:0",
            "rate_limits": False,  # test_rates.py has them
        }
    )


@asynccontextmanager
async def running(settings: Settings, platform: Platform) -> AsyncIterator[Mesh]:
    upstream = Upstream()
    async with AsyncExitStack() as stack:
        mount = Mount(
            market.DESCRIPTOR.services_by_name["MarketDataService"],
            partial(market_grpc.add_MarketDataServiceServicer_to_server, upstream),
        )
        await stack.enter_async_context(platform.revocations.kept_fresh())
        identity = await stack.enter_async_context(build(platform))
        mounts = [identity, mount]
        mounts.append(Health(mounts, platform.clock, platform.metrics).mount)
        server = GrpcServer(settings, platform.metrics, platform.verifier, mounts)
        await server.start()
        stack.push_async_callback(server.stop)
        http_port = await stack.enter_async_context(
            http_server(
                settings.http_address,
                platform.metrics.registry,
                public_keys(platform.key),
                {path: File(path.encode(), (), "") for path in PAGES},
            )
        )
        upstreams = Upstreams.of(settings, grpc_port=server.port, http_port=http_port)
        gateway = await stack.enter_async_context(Gateway(settings, upstreams))
        yield Mesh(gateway, platform, upstream, server)


@pytest.fixture(scope="session")
async def session_mesh(migrated: Any, gateway_settings: Settings, signing_key: ECKey) -> AsyncIterator[Mesh]:
    metrics = Metrics()
    bus = PostgresBus(migrated, metrics, gateway_settings.bus_poll_seconds)
    # A directory of its own: a gateway that begins in one ends what another has left there.
    settings = gateway_settings.model_copy(update={"data_dir": gateway_settings.data_dir / "mesh"})
    platform = Platform(settings, SystemClock(), metrics, migrated, bus, signing_key)
    async with running(settings, platform) as mesh:
        yield mesh


@pytest.fixture
def mesh(session_mesh: Mesh, database: Any) -> Mesh:
    """Return the mesh over empty tables, its upstream as new."""
    session_mesh.upstream.__init__()  # type: ignore[misc]
    return session_mesh


@pytest.fixture
async def http(mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mesh.url, timeout=20) as client:
        yield client


@pytest.fixture
async def channel(mesh: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mesh.gateway.address) as channel:
        yield channel


@dataclass
class Answer:
    """What came back, whatever the protocol."""

    code: str = "OK"
    message: str = ""
    reason: str = ""
    reply: Message | None = None
    headers: dict[str, str] = field(default_factory=dict)
    retry_seconds: float = 0  # as RetryInfo has it


def frame(message: Message, flags: int = 0) -> bytes:
    body = message.SerializeToString()
    return struct.pack(">BI", flags, len(body)) + body


def unframe(data: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while data:
        flags, size = struct.unpack(">BI", data[:5])
        frames.append((flags, data[5 : 5 + size]))
        data = data[5 + size :]
    return frames


@dataclass
class Method:
    """One method, in every way one can call it."""

    path: str
    rest: tuple[str, str]  # HTTP method and path
    request: Message
    reply: type[Message]


Headers = list[tuple[str, str]]


@dataclass
class Caller:
    """Calls a method in one of the three protocols."""

    protocol: str
    channel: grpc.aio.Channel
    http: httpx.AsyncClient

    async def __call__(self, method: Method, headers: Headers | None = None) -> Answer:
        return await getattr(self, f"_{self.protocol}")(method, headers or [])

    async def _grpc(self, method: Method, headers: Headers) -> Answer:
        call = self.channel.unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.reply.FromString,
        )
        running_call = call(method.request, metadata=headers, timeout=20)
        try:
            reply = await running_call
        except grpc.aio.AioRpcError as error:
            given = [*(await running_call.initial_metadata()), *(await running_call.trailing_metadata())]
            headers = {key: str(value) for key, value in given}
            status = rpc_status.from_call(error) or status_pb2.Status()
            return Answer(
                error.code().name, error.details() or "", info(error).reason, None, headers, _retry_seconds(status)
            )
        initial = {key: str(value) for key, value in await running_call.initial_metadata()}
        return Answer(reply=reply, headers=initial)

    async def _web(self, method: Method, headers: Headers) -> Answer:
        kind = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        response = await self.http.post(method.path, content=frame(method.request), headers=[*kind.items(), *headers])
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("application/grpc-web")
        trailers = dict(response.headers)
        reply = None
        for flags, body in unframe(response.content):
            if flags & 0x80:
                trailers |= dict(line.split(":", 1) for line in body.decode().splitlines() if line)
            else:
                reply = method.reply.FromString(body)
        code = GRPC_NAMES[int(trailers["grpc-status"])]
        details = trailers.get("grpc-status-details-bin", "").strip()
        status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
        return Answer(code, trailers.get("grpc-message", ""), _reason(status), reply, trailers, _retry_seconds(status))

    async def _rest(self, method: Method, headers: Headers) -> Answer:
        verb, path = method.rest
        body = json_format.MessageToDict(method.request, preserving_proto_field_name=True) if verb == "POST" else None
        response = await self.http.request(verb, path, json=body, headers=headers)
        assert response.headers["content-type"] == "application/json", response.text
        found = response.json()
        if response.is_success:
            return Answer(reply=json_format.ParseDict(found, method.reply()), headers=dict(response.headers))
        assert set(found) == {"code", "message", "details"}
        reason = next((one["reason"] for one in found["details"] if "reason" in one), "")
        told = {":status": str(response.status_code), **response.headers}
        delays = [float(one["retry_delay"].removesuffix("s")) for one in found["details"] if "retry_delay" in one]
        return Answer(GRPC_NAMES[found["code"]], found["message"], reason, None, told, sum(delays))


def _retry_seconds(status: status_pb2.Status) -> float:
    found = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Is(found.DESCRIPTOR):
            detail.Unpack(found)
    return found.retry_delay.seconds


def _reason(status: status_pb2.Status) -> str:
    found = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Is(found.DESCRIPTOR):
            detail.Unpack(found)
    return found.reason


@pytest.fixture(params=["grpc", "web", "rest"])
def call(request: pytest.FixtureRequest, channel: grpc.aio.Channel, http: httpx.AsyncClient) -> Caller:
    """Return ``await call(method, headers)``, once a protocol."""
    return Caller(request.param, channel, http)
