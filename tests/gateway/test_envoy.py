"""Envoy as a child: it starts, says why it does not, ends when told, and never outlives the program unseen."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import uuid
from pathlib import Path

import grpc
import httpx
import pytest

from algotrade.platform.errors import info
from algotrade.platform.gateway import Gateway, GatewayError, Upstreams
from algotrade.platform.gateway.envoy import validate
from algotrade.platform.gateway.render import Address
from algotrade.platform.http import http_server
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings
from algotrade.platform.tokens import TokenSigner, public_keys
from algotrade.v1 import identity_service_pb2 as identity
from algotrade.v1 import identity_service_pb2_grpc as identity_grpc


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        gateway_address="127.0.0.1:0",
        envoy_admin_address="127.0.0.1:0",
        http_address="127.0.0.1:0",
        shutdown_grace_seconds=5,
    )


@pytest.fixture
async def keys_only(own_settings, signing_key):
    """Serve the public keys and no service: the gateway starts, and every call finds nobody."""
    async with http_server(own_settings.http_address, Metrics().registry, public_keys(signing_key)) as port:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            yield Upstreams.of(own_settings, grpc_port=nobody.getsockname()[1], http_port=port)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_the_default_configuration_is_valid(tmp_path):
    await validate(Settings(), tmp_path)


async def test_it_starts_and_ends(own_settings, keys_only):
    async with Gateway(own_settings, keys_only) as gateway:
        assert not gateway.address.endswith(":0")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{gateway.address}/healthz")).status_code == 200
        pid = int((own_settings.data_dir / "gateway" / "envoy.pid").read_text())
        assert alive(pid)
    assert not alive(pid)
    assert not (own_settings.data_dir / "gateway" / "envoy.pid").exists()


async def test_without_services_calls_are_told_so(own_settings, keys_only):
    async with Gateway(own_settings, keys_only) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
        stub = identity_grpc.IdentityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Login(identity.LoginRequest(email="ada@example.com", password="x"), timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"http://{gateway.address}/v1/identity/login", json={"email": "ada@example.com"})
        assert answer.status_code == 503
        assert answer.json()["code"] == grpc.StatusCode.UNAVAILABLE.value[0]
        assert answer.json()["details"][0]["reason"] == "DEPENDENCY_UNAVAILABLE"


async def test_without_keys_a_token_is_not_called_wrong(own_settings, signing_key):
    """A client that is told UNAUTHENTICATED gives its login up; here nobody knows yet."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        upstreams = Upstreams.of(own_settings, grpc_port=port, http_port=port)
        async with Gateway(own_settings, upstreams) as gateway, grpc.aio.insecure_channel(gateway.address) as channel:
            signer = TokenSigner(signing_key, own_settings.token_issuer, own_settings.token_audience)
            bearer = (("authorization", f"Bearer {signer.access_token(str(uuid.uuid4()), 60)[0]}"),)
            stub = identity_grpc.IdentityServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetMe(identity.GetMeRequest(), metadata=bearer, timeout=20)
            said = (caught.value.code(), info(caught.value).reason)
            assert said == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://{gateway.address}/v1/identity/me", headers=dict(bearer))
            assert (answer.status_code, answer.json()["code"]) == (503, grpc.StatusCode.UNAVAILABLE.value[0])


async def test_a_port_that_is_taken_is_an_error_that_says_so(own_settings, keys_only):
    async with Gateway(own_settings, keys_only) as first:
        folder = own_settings.data_dir / "second"
        taken = own_settings.model_copy(update={"gateway_address": first.address, "data_dir": folder})
        with pytest.raises(GatewayError, match="Address already in use"):
            await Gateway(taken, keys_only).start()
        assert not (folder / "gateway" / "envoy.pid").exists()


async def test_a_configuration_that_envoy_refuses_is_an_error_with_its_words(own_settings, tmp_path):
    bad = own_settings.model_copy(update={"cors_origins": "("})
    with pytest.raises(GatewayError, match="missing \\)"):
        await validate(bad, tmp_path)


async def test_its_death_is_noticed(own_settings, keys_only):
    async with Gateway(own_settings, keys_only) as gateway:
        os.kill(int((own_settings.data_dir / "gateway" / "envoy.pid").read_text()), signal.SIGKILL)
        async with asyncio.timeout(10):
            with pytest.raises(GatewayError, match="ended with -9"):
                await gateway.ended()


async def test_the_orphan_of_a_killed_program_is_ended(own_settings, keys_only):
    orphan = Gateway(own_settings, keys_only)
    await orphan.start()
    pid = int((own_settings.data_dir / "gateway" / "envoy.pid").read_text())
    fixed = own_settings.model_copy(update={"gateway_address": orphan.address})
    async with Gateway(fixed, keys_only) as gateway:
        assert gateway.address == orphan.address
        assert not alive(pid)
    await orphan.stop()


async def test_a_pid_that_is_somebody_elses_is_left_alone(own_settings, keys_only):
    folder = own_settings.data_dir / "gateway"
    folder.mkdir(parents=True)
    (folder / "envoy.pid").write_text(str(os.getpid()))
    async with Gateway(own_settings, keys_only):
        pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:1", Address("127.0.0.1", 1)),
        ("[::1]:2", Address("::1", 2)),
    ],
)
def test_addresses(text, address):
    assert Address.parse(text) == address
