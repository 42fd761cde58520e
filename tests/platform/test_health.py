"""Health as people and probes see it, over a real server whose dependencies come and go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from algotrade.platform import health
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.server import Mount
from algotrade.v1 import health_service_pb2 as pb
from algotrade.v1 import (
    identity_service_pb2,
    identity_service_pb2_grpc,
    strategy_service_pb2,
    strategy_service_pb2_grpc,
)
from algotrade.v1.health_service_pb2_grpc import HealthServiceStub

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
IDENTITY, STRATEGY = "algotrade.v1.IdentityService", "algotrade.v1.StrategyService"


class IdentityServicer(identity_service_pb2_grpc.IdentityServiceServicer):
    """Is only looked at."""


class StrategyServicer(strategy_service_pb2_grpc.StrategyServiceServicer):
    """Is only looked at."""


IdentityServicer.__abstractmethods__ = StrategyServicer.__abstractmethods__ = frozenset()


class Dependency:
    """Something that can be taken away."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False
        self.looks = 0

    async def probe(self) -> None:
        self.looks += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error


@pytest.fixture
def database() -> Dependency:
    return Dependency()


@pytest.fixture
def venue() -> Dependency:
    return Dependency()


@pytest.fixture
def platform(settings, clock, signing_key, database):
    return Platform(settings, clock, Metrics(), None, None, signing_key)


@pytest.fixture
async def server(serve, database, venue, monkeypatch):
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.02)
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.1)

    @asynccontextmanager
    async def identity(platform):
        yield Mount(
            identity_service_pb2.DESCRIPTOR.services_by_name["IdentityService"],
            partial(identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, IdentityServicer()),
            {"database": database.probe},
        )

    @asynccontextmanager
    async def strategy(platform):
        yield Mount(
            strategy_service_pb2.DESCRIPTOR.services_by_name["StrategyService"],
            partial(strategy_service_pb2_grpc.add_StrategyServiceServicer_to_server, StrategyServicer()),
            {"venue": venue.probe},
            spared=frozenset({"venue"}),
        )

    return await serve(identity, strategy)


@pytest.fixture
def stub(server, connect):
    return HealthServiceStub(connect(server))


async def look(stub) -> dict[str, pb.ServiceHealth]:
    return {
        service.service: service for service in (await stub.GetDetailedHealth(pb.GetDetailedHealthRequest())).services
    }


async def test_every_service_is_listed_with_its_dependencies(stub):
    answer = await stub.GetDetailedHealth(pb.GetDetailedHealthRequest())
    assert answer.status == pb.HEALTH_STATUS_HEALTHY
    assert [service.service for service in answer.services] == [IDENTITY, STRATEGY]
    assert [one.name for one in answer.services[0].dependencies] == ["database"]
    assert answer.version
    assert answer.check_time.seconds > 1_700_000_000


@pytest.mark.parametrize(
    ("error", "hangs", "detail"),
    [
        (ConnectionRefusedError("at db:5432 as admin"), False, "ConnectionRefusedError"),
        (None, True, "no answer in 0.1 s"),
    ],
)
async def test_what_is_missing_is_named_without_its_secrets(stub, server, connect, database, error, hangs, detail):
    database.error, database.hangs = error, hangs
    watch = health_pb2_grpc.HealthStub(connect(server)).Watch(health_pb2.HealthCheckRequest(service=IDENTITY))
    async with asyncio.timeout(10):
        while (await watch.read()).status != NOT_SERVING:
            pass
    found = await look(stub)
    assert found[IDENTITY].status == pb.HEALTH_STATUS_UNHEALTHY
    assert found[IDENTITY].dependencies[0].detail == detail
    assert found[STRATEGY].status == pb.HEALTH_STATUS_HEALTHY
    database.error, database.hangs = None, False
    async with asyncio.timeout(10):
        while (await watch.read()).status != SERVING:
            pass
    assert (await look(stub))[IDENTITY].status == pb.HEALTH_STATUS_HEALTHY


async def test_a_service_without_what_it_can_spare_is_degraded_and_serves(stub, server, connect, venue):
    venue.error = ConnectionRefusedError()
    async with asyncio.timeout(10):
        while (found := await look(stub))[STRATEGY].status == pb.HEALTH_STATUS_HEALTHY:
            pass
    assert found[STRATEGY].status == found[STRATEGY].dependencies[0].status == pb.HEALTH_STATUS_DEGRADED
    check = health_pb2_grpc.HealthStub(connect(server)).Check(health_pb2.HealthCheckRequest(service=STRATEGY))
    assert (await check).status == SERVING


async def test_many_who_ask_cause_one_look(stub, database, monkeypatch):
    monkeypatch.setattr(health, "FRESH_SECONDS", 1000)
    await look(stub)
    before = database.looks
    await asyncio.gather(*(look(stub) for _ in range(50)))
    assert database.looks == before
