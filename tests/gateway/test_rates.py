"""Rate limits at a real Envoy: who is counted by what, what a caller is told, and what gets round it (nothing)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import httpx
import pytest

from algotrade.platform.gateway import Gateway, Upstreams
from algotrade.platform.gateway.render import Address
from algotrade.platform.http import http_server
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings
from algotrade.platform.tokens import public_keys
from algotrade.v1 import identity_service_pb2 as identity
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import market_data_service_pb2_grpc as market_grpc

from .conftest import Caller, Headers, Mesh, Method, running
from .test_gateway import GET_WINDOW, HEALTH, IDENTITY, LIST_SYMBOLS, bearer, sign

CALLS = 4
LOGIN = Method(
    f"{IDENTITY}/Login",
    ("POST", "/v1/identity/login"),
    identity.LoginRequest(email="ada@example.com", password="a guess or two"),
    identity.LoginResponse,
)
REFRESH = Method(
    f"{IDENTITY}/RefreshToken",
    ("POST", "/v1/identity/refresh"),
    identity.RefreshTokenRequest(refresh_token="x" * 43),
    identity.RefreshTokenResponse,
)
TIERS = ("password", "credential", "open", "read", "stream")


@pytest.fixture(scope="module")
async def limited(session_mesh: Mesh, gateway_settings: Settings) -> AsyncIterator[Mesh]:
    """The session's services behind a gateway of few calls an hour."""
    few = {f"rate_{tier}": f"{CALLS}/3600" for tier in TIERS}
    settings = gateway_settings.model_copy(
        update={"rate_limits": True, "data_dir": gateway_settings.data_dir / "limited", **few}
    )
    platform = replace(session_mesh.platform, settings=settings)
    async with running(settings, platform) as mesh:
        yield mesh


@pytest.fixture(params=["grpc", "web", "rest"])
async def call(request: pytest.FixtureRequest, limited: Mesh) -> AsyncIterator[Caller]:
    async for caller in callers(limited, request.param):
        yield caller


async def callers(mesh: Mesh, protocol: str) -> AsyncIterator[Caller]:
    async with (
        httpx.AsyncClient(base_url=mesh.url, timeout=20) as http,
        grpc.aio.insecure_channel(mesh.gateway.address) as channel,
    ):
        yield Caller(protocol, channel, http)


def as_somebody(mesh: Mesh, user_id: str | None = None) -> Headers:
    return bearer(sign(mesh, sub=user_id or str(uuid.uuid4())))


async def codes(call: Caller, method: Method, headers: Headers, count: int) -> list[str]:
    return [(await call(method, headers)).code for _ in range(count)]


def refused(answer: Any) -> None:
    assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED"), answer
    assert answer.headers.get(":status", "429") == "429"
    assert 1 <= int(answer.headers["retry-after"]) <= 3600 // CALLS
    assert answer.retry_seconds == int(answer.headers["retry-after"])


async def test_a_caller_has_so_many_calls_of_a_method_and_is_told_when_to_come_back(call, limited):
    user = str(uuid.uuid4())
    for left in reversed(range(CALLS)):
        answer = await call(LIST_SYMBOLS, as_somebody(limited, user))  # a new token each time: the user is what counts
        assert answer.code == "OK", answer
        assert int(answer.headers["x-ratelimit-remaining"]) == left
    refused(await call(LIST_SYMBOLS, as_somebody(limited, user)))
    forged = [("x-user-id", str(uuid.uuid4())), ("x-forwarded-for", "203.0.113.9")]
    refused(await call(LIST_SYMBOLS, [*as_somebody(limited, user), *forged]))
    assert (await call(GET_WINDOW, as_somebody(limited, user))).code == "OK"
    assert (await call(LIST_SYMBOLS, as_somebody(limited))).code == "OK"


async def test_the_three_ways_in_are_counted_together(limited):
    headers = as_somebody(limited)
    spent = []
    for protocol in ("grpc", "web", "rest", "grpc"):
        async for call in callers(limited, protocol):
            spent.append((await call(LIST_SYMBOLS, headers)).code)
    assert spent == ["OK"] * CALLS
    for protocol in ("grpc", "web", "rest"):
        async for call in callers(limited, protocol):
            refused(await call(LIST_SYMBOLS, headers))


async def test_many_callers_do_not_make_the_gateway_forget_one(limited):
    """Envoy keeps 20 buckets of a kind unless told otherwise, and the 21st caller would free the first."""
    users = [as_somebody(limited) for _ in range(40)]
    async for call in callers(limited, "grpc"):
        found = [await codes(call, LIST_SYMBOLS, headers, 2) for headers in users * 3]
    assert [code for two in found[:80] for code in two] == ["OK"] * 160
    assert {code for two in found[80:] for code in two} == {"RESOURCE_EXHAUSTED"}


async def test_guesses_at_a_password_are_counted_by_address_whatever_the_client_says(limited, database):
    """No header, user name or token makes a new client of an old one; refreshing a token is counted apart."""
    disguises: list[Headers] = [
        [("x-forwarded-for", "203.0.113.9")],
        [("x-real-ip", "203.0.113.9"), ("forwarded", "for=203.0.113.9")],
        [("x-envoy-external-address", "203.0.113.9"), ("x-user-id", "somebody-else")],
        as_somebody(limited),
    ]
    async for call in callers(limited, "grpc"):
        for disguise in disguises:
            assert (await call(LOGIN, disguise)).code == "UNAUTHENTICATED"
    for protocol in ("grpc", "web", "rest"):
        async for call in callers(limited, protocol):
            for disguise in [[], *disguises]:
                refused(await call(LOGIN, disguise))
            other = Method(LOGIN.path, LOGIN.rest, identity.LoginRequest(email="b@c.de", password="x"), LOGIN.reply)
            refused(await call(other))
    async for call in callers(limited, "rest"):
        assert (await call(REFRESH)).reason == "REFRESH_TOKEN_INVALID"
        assert (await codes(call, HEALTH, [], CALLS + 1)) == ["OK"] * CALLS + ["RESOURCE_EXHAUSTED"]


async def test_so_many_streams_are_opened(limited):
    async with grpc.aio.insecure_channel(limited.gateway.address) as channel:
        stub: Any = market_grpc.MarketDataServiceStub(channel)
        headers = as_somebody(limited)
        for _ in range(CALLS):
            stream = stub.StreamTicks(market.StreamTicksRequest(symbol="BTC-USD"), metadata=headers)
            assert (await stream.read()).sequence == 1
            stream.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StreamTicks(market.StreamTicksRequest(symbol="BTC-USD"), metadata=headers).read()
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
async def alone(session_mesh: Mesh, gateway_settings: Settings, tmp_path: Any) -> AsyncIterator[Any]:
    """Return ``async with alone(**settings) as mesh``: one more gateway before nothing."""
    async with http_server("127.0.0.1:0", Metrics().registry, public_keys(session_mesh.platform.key)) as port:
        upstreams = Upstreams(Address("127.0.0.1", 1), Address("127.0.0.1", port))

        def start(**changed: Any) -> Gateway:
            settings = gateway_settings.model_copy(update={"rate_limits": True, "data_dir": tmp_path, **changed})
            return Gateway(settings, upstreams)

        yield start


async def test_an_address_has_so_many_calls_in_all_and_no_token_is_looked_at_after(alone):
    async with (
        alone(rate_address="5/3600") as gateway,
        httpx.AsyncClient(base_url=f"http://{gateway.address}") as http,
    ):
        paths = ["/v1/symbols", "/v1/nothing", "/v1/sessions", "/v1/strategies", "/v1/backtests"]
        bad = {"authorization": "Bearer rubbish"}
        assert [(await http.get(path, headers=bad)).status_code for path in paths] == [401] * 5
        answer = await http.get("/v1/symbols", headers=bad | {"x-forwarded-for": "203.0.113.9"})
        assert answer.status_code == 429
        assert answer.json()["details"][0]["reason"] == "RATE_LIMITED"
        assert int(answer.headers["retry-after"]) > 0


async def test_behind_a_proxy_the_client_is_whom_the_proxy_names(alone):
    async with (
        alone(rate_address="2/3600", trusted_proxies=1) as gateway,
        httpx.AsyncClient(base_url=f"http://{gateway.address}") as http,
    ):

        async def ask(forwarded_for: str) -> int:
            return (await http.get("/v1/symbols", headers={"x-forwarded-for": forwarded_for})).status_code

        assert [await ask("198.51.100.1") for _ in range(3)] == [401, 401, 429]
        assert await ask("198.51.100.2") == 401
        assert await ask("203.0.113.7, 198.51.100.1") == 429  # what a client puts before it is not believed
        assert [await ask(f"2001:db8::{n}") for n in range(1, 4)] == [401, 401, 429]  # a network, not an address


async def test_where_it_only_counts_nobody_is_refused(alone):
    async with (
        alone(rate_address="2/3600", rate_limits=False) as gateway,
        httpx.AsyncClient(base_url=f"http://{gateway.address}") as http,
    ):
        assert [(await http.get("/v1/symbols")).status_code for _ in range(5)] == [401] * 5
        async with asyncio.timeout(10):
            statistics = (await http.get(f"http://{gateway.admin_address}/stats?filter=rate_limited")).text
        assert "address.http_local_rate_limit.rate_limited: 3" in statistics
