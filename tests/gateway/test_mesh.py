"""Services in processes of their own: the gateway finds each, tokens are good everywhere, health tells of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from sqlalchemy.engine import URL

from algotrade.backtest.build import build as build_backtest
from algotrade.identity.__main__ import build as build_identity
from algotrade.identity.build_admin import build_admin
from algotrade.platform.gateway import Gateway
from algotrade.platform.http import JWKS_PATH
from algotrade.platform.process import KeyAwayError, Platform, open_platform, serving
from algotrade.platform.published_keys import PublishedKeys
from algotrade.platform.server import GrpcServer
from algotrade.platform.settings import Settings
from algotrade.stack.process import free_ports
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import backtest_service_pb2 as backtest
from algotrade.v1 import backtest_service_pb2_grpc as backtest_grpc

BUILDERS = {"identity": [build_identity, build_admin], "strategy": [build_strategy], "backtest": [build_backtest]}
PASSWORD = "correct horse battery staple"


@dataclass
class Processes:
    """What each process of its own would hold, by its name, and the gateway before them."""

    servers: dict[str, GrpcServer]
    platforms: dict[str, Platform]
    gateway: Gateway


def free_addresses(count: int) -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def placed(base: Settings, url: URL, folder: Path) -> dict[str, Settings]:
    """Return the settings of each process: an address each, a directory each, one database, one who signs."""
    addresses = free_addresses(len(BUILDERS) + 2)
    http, nobody = addresses.pop(), addresses.pop()
    everywhere: dict[str, Any] = {
        **{f"{name}_address": address for name, address in zip(BUILDERS, addresses, strict=True)},
        "database_dsn": url.render_as_string(hide_password=False),
        "forward_test_address": nobody,
        "gateway_address": "127.0.0.1:0",
        "envoy_admin_address": "127.0.0.1:0",
    }
    keys = {"jwks_url": f"http://{http}{JWKS_PATH}", "jwks_refresh_seconds": 0.1}
    found = {}
    for name, address in zip(BUILDERS, addresses, strict=True):
        own = {"http_address": http} if name == "identity" else keys
        own |= {"grpc_address": address, "data_dir": folder / name}
        found[name] = Settings(**base.model_dump() | everywhere | own)
    found["gateway"] = Settings(**base.model_dump() | everywhere | keys | {"data_dir": folder / "gateway"})
    return found


@pytest.fixture
async def processes(
    database: Any, database_url: URL, session_settings: Settings, tmp_path: Path
) -> AsyncIterator[Processes]:
    settings = placed(session_settings, database_url, tmp_path)
    servers, platforms = {}, {}
    async with AsyncExitStack() as stack:
        for name, building in BUILDERS.items():
            platforms[name] = await stack.enter_async_context(open_platform(settings[name]))
            servers[name] = await stack.enter_async_context(serving(platforms[name], building))
        gateway = await stack.enter_async_context(Gateway(settings["gateway"]))
        yield Processes(servers, platforms, gateway)


async def test_each_service_is_found_and_one_login_is_good_for_all(processes: Processes) -> None:
    async with httpx.AsyncClient(base_url=f"http://{processes.gateway.address}", timeout=20) as http:
        login = await http.post("/v1/identity/register", json={"email": "ada@example.com", "password": PASSWORD})
        assert login.status_code == 200, login.text
        headers = {"authorization": f"Bearer {login.json()['token']['token']}"}
        assert (await http.get("/v1/strategy-templates", headers=headers)).status_code == 200
        assert (await http.get("/v1/backtests", headers=headers)).status_code == 200
        # Of one whose process is away, the gateway says so.
        assert (await http.get("/v1/sessions", headers=headers)).status_code == 503


async def test_a_service_asks_another_in_its_own_process(processes: Processes) -> None:
    """Backtest asks strategy for a strategy that nobody has, over the channel that the settings name."""
    async with (
        httpx.AsyncClient(base_url=f"http://{processes.gateway.address}", timeout=20) as http,
        grpc.aio.insecure_channel(processes.gateway.address) as channel,
    ):
        login = await http.post("/v1/identity/register", json={"email": "ada@example.com", "password": PASSWORD})
        bearer = (("authorization", f"Bearer {login.json()['token']['token']}"),)
        saved = backtest.StrategyVersion(strategy_id="00000000-0000-4000-8000-000000000000")
        request = backtest.StartBacktestRequest(saved=saved, sample="AAPL")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await backtest_grpc.BacktestServiceStub(channel).StartBacktest(request, metadata=bearer, timeout=20)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND, caught.value.details()


async def test_health_tells_of_every_process_that_the_settings_name(processes: Processes) -> None:
    expected = {
        "AdminService": "HEALTHY",
        "BacktestService": "HEALTHY",
        "ForwardTestService": "UNHEALTHY",  # its process is away
        "IdentityService": "HEALTHY",
        "StrategyService": "HEALTHY",
    }
    found: dict[str, Any] = {}
    async with (
        httpx.AsyncClient(base_url=f"http://{processes.gateway.address}", timeout=20) as http,
        asyncio.timeout(60),
    ):
        while {name: one["status"].rpartition("_")[2] for name, one in found.items()} != expected:
            health = (await http.get("/health/detailed")).json()  # looks again once a second
            found = {one["service"].rpartition(".")[2]: one for one in health["services"]}
    assert [one["name"] for one in found["StrategyService"]["dependencies"]] == ["process"]


async def test_only_the_process_with_the_key_signs(processes: Processes) -> None:
    assert processes.platforms["strategy"].jwks == {"keys": []}
    with pytest.raises(KeyAwayError):
        _ = processes.platforms["strategy"].signer


async def test_without_keys_a_process_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("algotrade.platform.published_keys.START_SECONDS", 0.2)
    nobody = free_addresses(1)[0]
    with pytest.raises(OSError, match="refused"):
        async with PublishedKeys(f"http://{nobody}{JWKS_PATH}").kept_fresh(1):
            pass
