"""Services and the gateway by certificates: who may call whom, what is refused, and new certificates under load."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from argon2 import PasswordHasher
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy.engine import URL

import algotrade
from algotrade.identity import __main__ as identity
from algotrade.identity.build_admin import build_admin
from algotrade.platform.certificates import Certificates, Pems
from algotrade.platform.errors import info
from algotrade.platform.gateway import Gateway
from algotrade.platform.healthcheck import serves
from algotrade.platform.http import JWKS_PATH
from algotrade.platform.mesh import CALLS, GATEWAY, PROCESSES
from algotrade.platform.process import open_platform, serving
from algotrade.platform.published_keys import PublishedKeys
from algotrade.platform.server import GrpcServer
from algotrade.platform.settings import Settings
from algotrade.stack.authority import Authority, write_development, write_pems
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

from .test_mesh import PASSWORD, free_addresses

DOMAIN = "algotrade.test"
LIFE = timedelta(hours=1)


@dataclass
class Mesh:
    """Identity and strategy as processes of their own would be, the gateway before them, and who signs for all."""

    settings: dict[str, Settings]
    servers: dict[str, GrpcServer]
    gateway: Gateway
    certs: Path

    @property
    def authority(self) -> Authority:
        return Authority.kept(self.certs / "authority", "AlgoTrade test")

    def channel(self, server: str, pems: Pems | None, process: str | None = None) -> grpc.aio.Channel:
        """Open a channel to a server as somebody; as nobody where there is no certificate."""
        mine = (pems.key, pems.certificate) if pems else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.pem, *mine)
        options = (("grpc.ssl_target_name_override", process or server),)
        return grpc.aio.secure_channel(f"127.0.0.1:{self.servers[server].port}", credentials, options=options)

    def of(self, process: str, **more: Any) -> Pems:
        return self.authority.of_process(process, DOMAIN, LIFE, **more)

    async def login(self, http: httpx.AsyncClient, email: str) -> dict[str, str]:
        answer = await http.post("/v1/identity/register", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return {"authorization": f"Bearer {answer.json()['token']['token']}"}


def placed(base: Settings, url: URL, folder: Path) -> dict[str, Settings]:
    """Return the settings of each process."""
    at, http, strategy, other_http = free_addresses(4)
    everywhere = {
        "identity_address": at,
        "strategy_address": strategy,
        "database_dsn": url.render_as_string(hide_password=False),
        "gateway_address": "127.0.0.1:0",
        "envoy_admin_address": "127.0.0.1:0",
        "rate_limits": False,
    }
    keys = {"jwks_url": f"https://{http}{JWKS_PATH}", "jwks_refresh_seconds": 0.5}
    own = {
        "identity": {"grpc_address": at, "http_address": http},
        "strategy": {"grpc_address": strategy, "http_address": other_http, **keys},
        GATEWAY: keys,
    }
    return {
        name: Settings(
            **base.model_dump() | everywhere | more | {"data_dir": folder / name, "tls_dir": folder / "certs" / name}
        )
        for name, more in own.items()
    }


@pytest.fixture
async def mesh(
    database: Any, database_url: URL, session_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Mesh]:
    monkeypatch.setattr(identity, "PasswordHasher", partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1))
    write_development(tmp_path / "certs", DOMAIN, LIFE)
    settings = placed(session_settings, database_url, tmp_path)
    builders = {"identity": [identity.build, build_admin], "strategy": [build_strategy]}
    servers = {}
    async with AsyncExitStack() as stack:
        for name, building in builders.items():
            platform = await stack.enter_async_context(open_platform(settings[name]))
            servers[name] = await stack.enter_async_context(serving(platform, building))
        gateway = await stack.enter_async_context(Gateway(settings[GATEWAY]))
        yield Mesh(settings, servers, gateway, tmp_path / "certs")


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), info(caught.value).reason


async def test_calls_go_through_the_gateway_and_back(mesh: Mesh) -> None:
    async with httpx.AsyncClient(base_url=f"http://{mesh.gateway.address}", timeout=20) as http:
        headers = await mesh.login(http, "ada@example.com")
        assert (await http.get("/v1/strategy-templates", headers=headers)).status_code == 200
    for name in ("identity", "strategy"):
        assert await asyncio.to_thread(serves, mesh.settings[name].grpc_address, mesh.settings[name].tls_dir)


async def test_a_process_calls_what_it_needs_and_nothing_else(mesh: Mesh) -> None:
    """The certificate is looked at before the token: nobody here has one."""
    get, create = strategy_pb.GetArtefactRequest(artefact_hash="0" * 64), strategy_pb.CreateStrategyRequest(graph="{}")
    for process, read, write in (
        (GATEWAY, "TOKEN_MISSING", "TOKEN_MISSING"),
        ("strategy", "TOKEN_MISSING", "TOKEN_MISSING"),  # itself
        ("backtest", "TOKEN_MISSING", "PEER_NOT_ADMITTED"),
        ("forward_test", "TOKEN_MISSING", "PEER_NOT_ADMITTED"),
        ("market_data", "PEER_NOT_ADMITTED", "PEER_NOT_ADMITTED"),
        ("notification", "PEER_NOT_ADMITTED", "PEER_NOT_ADMITTED"),
        ("identity", "PEER_NOT_ADMITTED", "PEER_NOT_ADMITTED"),
        ("somebody", "PEER_NOT_ADMITTED", "PEER_NOT_ADMITTED"),
    ):
        async with mesh.channel("strategy", mesh.of(process)) as channel:
            stub = StrategyServiceStub(channel)
            assert (await refused(stub.GetArtefact(get, timeout=10)))[1] == read, process
            assert (await refused(stub.CreateStrategy(create, timeout=10)))[1] == write, process
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert health.status == health_pb2.HealthCheckResponse.SERVING
    elsewhere = mesh.authority.of_process(GATEWAY, "another.domain", LIFE)
    async with mesh.channel("strategy", elsewhere) as channel:
        assert (await refused(StrategyServiceStub(channel).GetArtefact(get, timeout=10)))[1] == "PEER_NOT_ADMITTED"


@pytest.mark.parametrize("kind", ["none", "of another authority", "expired", "not yet good"])
async def test_who_has_no_good_certificate_does_not_get_in(mesh: Mesh, kind: str) -> None:
    pems = {
        "none": None,
        "of another authority": Authority.new("rogue").of_process(GATEWAY, DOMAIN, LIFE),
        "expired": mesh.of(GATEWAY, ago=timedelta(hours=2)),
        "not yet good": mesh.of(GATEWAY, ago=-timedelta(minutes=30)),
    }[kind]
    async with mesh.channel("strategy", pems) as channel:
        request = strategy_pb.ListTemplatesRequest()
        code, reason = await refused(StrategyServiceStub(channel).ListTemplates(request, timeout=10))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "")


async def test_plain_text_gets_nowhere(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.settings["strategy"].grpc_address) as channel:
        request = strategy_pb.ListTemplatesRequest()
        code, _ = await refused(StrategyServiceStub(channel).ListTemplates(request, timeout=10))
        assert code is grpc.StatusCode.UNAVAILABLE
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.HTTPError):
            await http.get(f"http://{mesh.settings['identity'].http_address}{JWKS_PATH}", timeout=5)


async def test_a_caller_speaks_to_the_process_it_means(mesh: Mesh) -> None:
    """Where strategy should be, somebody with a good certificate of another process is not strategy."""
    async with mesh.channel("identity", mesh.of(GATEWAY), "strategy") as channel:
        code, _ = await refused(
            StrategyServiceStub(channel).ListTemplates(strategy_pb.ListTemplatesRequest(), timeout=5)
        )
        assert code is grpc.StatusCode.UNAVAILABLE
    swapped = mesh.settings[GATEWAY].model_copy(
        update={
            "strategy_address": mesh.settings["identity"].grpc_address,
            "data_dir": mesh.settings[GATEWAY].data_dir / "swapped",
        }
    )
    async with Gateway(swapped) as gateway, httpx.AsyncClient(base_url=f"http://{gateway.address}", timeout=20) as http:
        headers = await mesh.login(http, "eve@example.com")
        assert (await http.get("/v1/strategy-templates", headers=headers)).status_code == 503
    host, _, port = mesh.settings["strategy"].http_address.rpartition(":")
    tls_dir = mesh.settings["strategy"].tls_dir
    assert tls_dir is not None
    with pytest.raises(OSError, match="is not identity"):
        Certificates(tls_dir).opened_from(host, int(port), "identity", 5)
    rogue = tls_dir.with_name("rogue")
    write_pems(rogue, Authority.new("rogue").of_process("backtest", DOMAIN, LIFE))
    url = mesh.settings["strategy"].jwks_url
    assert url is not None
    with pytest.raises(ssl.SSLCertVerificationError):  # whose authority is another does not take these keys
        await PublishedKeys(url, Certificates(rogue))._read()


async def test_new_certificates_are_taken_while_calls_go_on(mesh: Mesh) -> None:
    """Of all processes at once, with a new authority at the end that the old certificates are not of."""
    async with httpx.AsyncClient(base_url=f"http://{mesh.gateway.address}", timeout=20) as http:
        headers = await mesh.login(http, "ada@example.com")
        stopped, codes = asyncio.Event(), []

        async def load() -> None:
            while not stopped.is_set():
                codes.append((await http.get("/v1/strategy-templates", headers=headers)).status_code)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(load())
            before = mesh.authority
            (mesh.certs / "authority" / "ca.key").unlink()
            after = mesh.authority
            both = after.pem + before.pem
            for authority, trusted in ((before, both), (after, both), (after, after.pem)):
                for process in mesh.settings:
                    pems = authority.of_process(process, DOMAIN, LIFE)
                    write_pems(mesh.certs / process, Pems(trusted, pems.certificate, pems.key))
                await shown_by_all(mesh, authority, trusted)
            stopped.set()
        assert len(codes) > 20
        assert set(codes) == {200}
        old = before.of_process(GATEWAY, DOMAIN, LIFE)
        async with mesh.channel("strategy", old) as channel:
            code, _ = await refused(
                StrategyServiceStub(channel).ListTemplates(strategy_pb.ListTemplatesRequest(), timeout=5)
            )
            assert code is grpc.StatusCode.UNAVAILABLE


async def shown_by_all(mesh: Mesh, authority: Authority, trusted: bytes) -> None:
    """Wait until each server shows the certificate that was written last, and Envoy has read its own anew."""
    for name in mesh.servers:
        host, _, port = mesh.settings[name].grpc_address.rpartition(":")
        wanted = (mesh.certs / name / "tls.crt").read_bytes().split(b"-----END")[0].strip()
        while True:
            shown = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
            if shown.encode().split(b"-----END")[0].strip().replace(b"\n", b"") == wanted.replace(b"\n", b""):
                break
    serial = Pems.read(mesh.certs / GATEWAY).own.serial_number
    async with httpx.AsyncClient(base_url=f"http://{mesh.gateway.admin_address}") as admin:
        while f"{serial:x}" not in (await admin.get("/certs")).text.replace(
            '"serial_number": "0', '"serial_number": "'
        ):
            pass


async def test_files_that_do_not_fit_change_nothing(mesh: Mesh, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_pems(folder, mesh.of("backtest"))
    now = 0.0
    certificates = Certificates(folder, lambda: now)
    first = certificates.current()
    (folder / "tls.key").write_bytes(mesh.of("backtest").key)  # of another certificate
    now += 2
    assert certificates.current() is first
    write_pems(folder, mesh.of("strategy"))  # another's
    now += 2
    assert certificates.current() is first
    write_pems(folder, mesh.of("backtest"))
    now += 2
    assert certificates.current() is not first
    assert certificates.uri == f"spiffe://{DOMAIN}/backtest"


def test_every_process_says_what_it_calls() -> None:
    """What the sources call of other services, by the stubs they make, is what the table lets them."""
    assert set(CALLS) == set(PROCESSES.values())
    root = Path(algotrade.__file__).parent
    for process, allowed in CALLS.items():
        text = "\n".join(path.read_text() for path in (root / process).rglob("*.py"))
        if "SavedStrategies" in text:
            text += (root / "platform" / "upstream.py").read_text()
        called = {
            f"/algotrade.v1.{service}/{method}"
            for stub, service in re.findall(r"self\.(\w+) = (\w+)Stub\(", text)
            for method in re.findall(rf"self\.{stub}\.([A-Z]\w+)\(", text)
        }
        assert called == allowed, process
