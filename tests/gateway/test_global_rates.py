"""Two gateways and one count: the real service of envoyproxy/ratelimit over a real Redis."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from algotrade.platform.gateway.rates import rate_service_configuration
from algotrade.platform.settings import Settings
from algotrade.stack.process import Server, free_ports
from algotrade.stack.process import running as running_server

from .conftest import Headers, Mesh, running
from .test_gateway import GET_WINDOW, LIST_SYMBOLS
from .test_rates import as_somebody, callers

pytestmark = pytest.mark.nightly

PROGRAM = Path(sys.executable).with_name("ratelimit")
CALLS, A_DAY = 4, 6


@pytest.fixture(scope="module")
async def service(running_redis: Any, gateway_settings: Settings, tmp_path_factory: Any) -> AsyncIterator[Any]:
    """Run the service of rates; yield it and the settings of gateways that ask it."""
    folder = tmp_path_factory.mktemp("rates")
    grpc_port, http_port, debug_port = free_ports(3)
    settings = gateway_settings.model_copy(
        update={
            "rate_limits": True,
            "rate_read": f"{CALLS}/3600",
            "quota_read": A_DAY,
            "rate_service": f"127.0.0.1:{grpc_port}",
        }
    )
    (folder / "config").mkdir()
    (folder / "config" / "algotrade.yaml").write_text(rate_service_configuration(settings))
    environment = {
        **{f"{name}HOST": "127.0.0.1" for name in ("", "GRPC_", "DEBUG_")},
        "PORT": str(http_port),
        "GRPC_PORT": str(grpc_port),
        "DEBUG_PORT": str(debug_port),
        "RUNTIME_ROOT": str(folder),
        "RUNTIME_SUBDIRECTORY": ".",
        "RUNTIME_APPDIRECTORY": "config",
        "RUNTIME_WATCH_ROOT": "false",
        "USE_STATSD": "false",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": running_redis.url,
    }

    async def ready() -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{http_port}/healthcheck")).text == "OK"
            except httpx.HTTPError as error:
                raise OSError from error

    server = Server("ratelimit", [str(PROGRAM)], folder, ready, os.environ | environment)
    async with running_server(server):
        yield server, settings


@pytest.fixture(scope="module")
async def two(service: Any, session_mesh: Mesh) -> AsyncIterator[list[Mesh]]:
    """Two gateways before services of their own."""
    _, settings = service
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running(own, replace(session_mesh.platform, settings=own)))
            for own in (settings.model_copy(update={"data_dir": settings.data_dir / name}) for name in ("one", "other"))
        ]


async def told(mesh: Mesh, method: Any, headers: Headers, protocol: str = "grpc") -> Any:
    async for call in callers(mesh, protocol):
        return await call(method, headers)
    raise AssertionError


def refused(answer: Any, most_seconds: int) -> None:
    assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED"), answer
    assert 1 <= answer.retry_seconds == int(answer.headers["retry-after"]) <= most_seconds


async def test_what_one_gateway_has_let_through_counts_at_the_other(two: list[Mesh]) -> None:
    user = as_somebody(two[0])
    assert [(await told(two[n % 2], LIST_SYMBOLS, user)).code for n in range(CALLS)] == ["OK"] * CALLS
    for mesh in two:  # each by itself has seen two of them
        for protocol in ("grpc", "web", "rest"):
            if mesh is two[0]:
                refused(await told(mesh, LIST_SYMBOLS, user, protocol), 3600)
    refused(await told(two[1], LIST_SYMBOLS, user), 3600)
    assert (await told(two[1], LIST_SYMBOLS, as_somebody(two[1]))).code == "OK"


async def test_a_user_has_so_many_calls_of_a_tier_in_a_day(two: list[Mesh]) -> None:
    user = as_somebody(two[0])
    spent = [(await told(two[n % 2], GET_WINDOW, user)).code for n in range(CALLS)]
    spent += [(await told(two[n % 2], LIST_SYMBOLS, user)).code for n in range(A_DAY - CALLS)]
    assert spent == ["OK"] * A_DAY
    refused(await told(two[0], LIST_SYMBOLS, user), 86_400)


async def test_while_the_service_is_away_each_gateway_goes_by_its_own_count(two: list[Mesh], service: Any) -> None:
    server, _ = service
    await server.kill()
    try:
        user = as_somebody(two[0])
        for mesh in two:
            assert [(await told(mesh, LIST_SYMBOLS, user)).code for _ in range(CALLS)] == ["OK"] * CALLS
            refused(await told(mesh, LIST_SYMBOLS, user), 3600)
    finally:
        await server.start()
