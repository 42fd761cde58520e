"""No forged token opens any RPC, in any way; what a caller may do is what the RPC declares.

The RPCs are those of the descriptors, so one that is added is in here without a line of test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from forged import forgeries
from joserfc import jwt
from joserfc.jwk import ECKey

from algotrade.platform.policy import Access, Scope
from algotrade.platform.tokens import TokenSigner, load_or_create_key
from algotrade.v1 import identity_service_pb2 as identity
from clients.api import BY_NAME, EVERY, INTERNAL, RPCS, Rpc
from clients.callers import Grpc
from clients.conftest import Stage
from clients.samples import World
from clients.wire import Wire

AT_ONCE = 32
TRIES = 50
AWAY = {"UNAVAILABLE", "503"}
REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}  # Envoy says the latter of a wrong audience
CLOSED = [rpc for rpc in EVERY if rpc.access is not Access.PUBLIC]
WAYS = ("direct", "grpc", "web", "rest")
NO_WAY = {"grpc": "UNIMPLEMENTED", "web": "UNIMPLEMENTED"}  # the gateway's answer about what it does not know

Bearers = Sequence[str]
Ask = Callable[[str, Rpc, Bearers], Awaitable[str]]
Cell = tuple[str, str, Rpc]


@pytest.fixture
async def ask(stage: Stage) -> AsyncIterator[Ask]:
    """Return ``await ask(way, rpc, authorizations)``: the code of an empty request with these authorization headers."""
    async with AsyncExitStack() as stack:
        addresses = {"direct": stage.settings.grpc_address, "grpc": stage.settings.gateway_address}
        channels = {
            way: await stack.enter_async_context(grpc.aio.insecure_channel(address))
            for way, address in addresses.items()
        }
        wire = Wire(stage.settings.gateway_address)
        stack.push_async_callback(wire.close)
        turns = asyncio.Semaphore(AT_ONCE)

        async def native(channel: grpc.aio.Channel, rpc: Rpc, bearers: Bearers) -> str:
            metadata = [("authorization", bearer) for bearer in bearers]
            try:
                if rpc.streaming:
                    stream = channel.unary_stream(rpc.path)(b"", metadata=metadata, timeout=20)
                    await stream.read()
                    if not stream.done():
                        stream.cancel()
                        return "OK"
                    return str((await stream.code()).name)
                await channel.unary_unary(rpc.path)(b"", metadata=metadata, timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "OK"

        async def once(way: str, rpc: Rpc, bearers: Bearers) -> str:
            if way not in channels:
                return await (wire.web if way == "web" else wire.rest)(rpc, bearers)
            async with turns:
                return await native(channels[way], rpc, bearers)

        async def code(way: str, rpc: Rpc, bearers: Bearers) -> str:
            for _ in range(TRIES):  # on a busy machine the gateway takes the services to be away, now and then
                if (found := await once(way, rpc, bearers)) not in AWAY:
                    break
            return found

        yield code


def key_and_claims(stage: Stage, user_id: str) -> tuple[ECKey, dict[str, Any]]:
    """Return the platform's own key, and claims that it would sign."""
    key = load_or_create_key(stage.settings.private_keys / "access-token.pem")
    now = int(time.time())
    settings = stage.settings
    names = {"iss": settings.token_issuer, "aud": settings.token_audience, "sub": user_id, "jti": "forged"}
    return key, names | {"iat": now, "exp": now + 300, "sid": "of nobody", "role": "admin"}


def cells(cases: Sequence[str], rpcs: Sequence[Rpc], step: int) -> list[Cell]:
    """Return every case, way and RPC that there is: REST has no path to what is for services.

    By gRPC-Web and REST, which become gRPC before a token is looked at, one in ``step``, so that each case and each
    RPC is among them.
    """
    return [
        (kind, way, rpc)
        for place, kind in enumerate(cases)
        for way in WAYS
        for number, rpc in enumerate(rpcs)
        if way in ("direct", "grpc") or (place + number) % step == 0
        if not (way == "rest" and rpc in INTERNAL)
    ]


async def answers(ask: Ask, cases: dict[str, Bearers], rpcs: Sequence[Rpc] = CLOSED, step: int = 1) -> dict[Cell, str]:
    """Ask these RPCs in every way with every case."""
    asked = cells(list(cases), rpcs, step)
    codes = await asyncio.gather(*(ask(way, rpc, cases[kind]) for kind, way, rpc in asked))
    return dict(zip(asked, codes, strict=True))


def opened(found: dict[Cell, str]) -> dict[Cell, str]:
    """Return the cells that neither refuse nor, of what is for services, know of nothing."""
    return {
        (kind, way, rpc): code
        for (kind, way, rpc), code in found.items()
        if code not in REFUSED and not (rpc in INTERNAL and code == NO_WAY.get(way))
    }


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.nightly)])
async def test_no_forged_token_opens_anything(stage: Stage, ask: Ask, record_property: Any, step: int) -> None:
    key, claims = key_and_claims(stage, (await stage.world("bob")).user_id)
    cases: dict[str, Bearers] = {kind: [f"Bearer {token}"] for kind, token in forgeries(key, claims).items()}
    good = jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, claims, key)
    cases |= {
        "none": [],
        "two, the first good": [f"Bearer {good}", "Bearer x.y.z"],
        "two, the second good": ["Bearer x.y.z", f"Bearer {good}"],
        "another scheme": [f"Basic {good}"],
    }
    assert len(cases) >= 35
    found = await answers(ask, cases, step=step)
    accepted = opened(found)
    record_property("access", f"{len(accepted)} of {len(found)} cells accepted")
    print(f"forged tokens: {len(cases)} kinds x {len(CLOSED)} RPCs x {len(WAYS)} ways: {len(accepted)}/{len(found)}")
    assert not accepted


async def test_the_token_they_are_made_from_is_good(stage: Stage, ask: Ask) -> None:
    """Or the matrix above would prove nothing."""
    key, claims = key_and_claims(stage, (await stage.world("bob")).user_id)
    token = jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, claims, key)
    for name in ("StrategyService.ListStrategies", "AdminService.ListUsers"):
        assert [await ask(way, BY_NAME[name], [f"Bearer {token}"]) for way in WAYS] == ["OK"] * len(WAYS)


async def test_a_login_that_has_ended_opens_nothing(stage: Stage, ask: Ask) -> None:
    gone = await stage.newcomer()
    await gone.do("IdentityService.Logout", all_devices=True)
    found = await answers(ask, {"left": [f"Bearer {gone.token}"]})
    assert not opened(found)


def may(caller: str, way: str, rpc: Rpc) -> bool:
    """Tell whether a caller of a kind may call an RPC: the policy in words of its own."""
    if rpc.access is Access.PUBLIC:
        return True
    if rpc.access is Access.SERVICE:
        return caller == "service" and way == "direct"
    return {
        "user": rpc.access is not Access.ADMIN,
        "admin": True,
        "a key to trade": rpc.access is Access.USER,
        "a key to read": rpc.access is Access.USER and rpc.scope is Scope.READ,
    }.get(caller, False)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.nightly)])
async def test_a_caller_may_do_what_the_rpc_declares_and_nothing_else(
    stage: Stage, ask: Ask, record_property: Any, step: int
) -> None:
    """Every kind of caller x every RPC x every way; which refuse, the declaration alone says."""
    user, admin = await stage.newcomer(), await stage.administrator()
    tokens = {"user": user.token, "admin": admin.token}
    for scope, name in ((identity.API_KEY_SCOPE_READ, "read"), (identity.API_KEY_SCOPE_TRADE, "trade")):
        tokens[f"a key to {name}"] = await _of_a_key(admin, scope)
    key, _ = key_and_claims(stage, "")
    signer = TokenSigner(key, stage.settings.token_issuer, stage.settings.token_audience)
    tokens["service"] = signer.service_token("identity")
    cases: dict[str, Bearers] = {"nobody": [], **{kind: [f"Bearer {token}"] for kind, token in tokens.items()}}
    # An empty Logout is a good one, and ends what the others call with; test_every_rpc.py has it.
    found = await answers(ask, cases, [rpc for rpc in EVERY if rpc.name != "Logout"], step)
    open_to = opened(found)
    wrong = {
        (kind, way, str(rpc)): code
        for (kind, way, rpc), code in found.items()
        if ((kind, way, rpc) in open_to) != may(kind, way, rpc)
        and not (rpc.access is Access.PUBLIC and code == "UNAUTHENTICATED")  # what it takes is a credential itself
    }
    record_property("callers", f"{len(open_to)} of {len(found)} cells open, {len(wrong)} otherwise than declared")
    print(f"callers: {len(cases)} x {len(EVERY) - 1} RPCs x {len(WAYS)} ways: {len(wrong)}/{len(found)} wrong")
    assert not wrong


async def _of_a_key(world: World, scope: Any) -> str:
    made = await world.do("IdentityService.CreateApiKey", name="bot", scope=scope)
    return str((await world.do("IdentityService.ExchangeApiKey", secret=made.secret)).token.token)


@pytest.mark.parametrize("rpc", INTERNAL, ids=str)
async def test_what_is_for_services_answers_them_and_the_gateway_does_not_know_it(stage: Stage, rpc: Rpc) -> None:
    key, _ = key_and_claims(stage, "")
    signer = TokenSigner(key, stage.settings.token_issuer, stage.settings.token_audience)
    somebody = await (await stage.world("bob")).somebody()
    request, token = rpc.request(user_id=somebody), signer.service_token("identity")
    assert (await stage.direct(rpc, request, token)).code == "OK"
    admin = await stage.world("ada")
    edge = Grpc(stage.settings.gateway_address)
    assert (await edge(rpc, request, admin.token)).error == ("UNIMPLEMENTED", "PATH_UNKNOWN")
    await edge.close()
    assert "http" not in str(rpc.method.GetOptions())


def test_there_is_something_of_every_kind() -> None:
    assert {rpc.access for rpc in EVERY} == set(Access)
    assert {rpc.access for rpc in RPCS} == set(Access) - {Access.SERVICE}
