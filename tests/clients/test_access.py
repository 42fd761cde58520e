"""No forged token opens any RPC, at the gateway or behind it; what a user may do, nobody else may.

The RPCs are those of the descriptors, so one that is added is in here without a line of test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from clients.api import RPCS, Rpc
from clients.conftest import Stage
from forged import forgeries
from joserfc import jwt
from joserfc.jwk import ECKey

from algotrade.platform.policy import Access
from algotrade.platform.tokens import load_or_create_key

AT_ONCE = 32
REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}  # Envoy says the latter of a wrong audience
CLOSED = [rpc for rpc in RPCS if rpc.access is not Access.PUBLIC]
WAYS = ("direct", "gateway")

Bearers = list[str]
Ask = Callable[[str, Rpc, Bearers], Awaitable[str]]


@pytest.fixture
async def ask(stage: Stage) -> AsyncIterator[Ask]:
    """Return ``await ask(way, rpc, authorizations)``: the code of an empty request with these authorization headers."""
    addresses = {"direct": stage.settings.grpc_address, "gateway": stage.settings.gateway_address}
    channels = {way: grpc.aio.insecure_channel(address) for way, address in addresses.items()}
    turns = asyncio.Semaphore(AT_ONCE)

    async def code(way: str, rpc: Rpc, bearers: Bearers) -> str:
        metadata = [("authorization", bearer) for bearer in bearers]
        async with turns:
            try:
                if rpc.streaming:
                    stream = channels[way].unary_stream(rpc.path)(b"", metadata=metadata, timeout=20)
                    await stream.read()
                    if not stream.done():
                        stream.cancel()
                        return "OK"
                    return str((await stream.code()).name)
                await channels[way].unary_unary(rpc.path)(b"", metadata=metadata, timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code().name
        return "OK"

    yield code
    for channel in channels.values():
        await channel.close()


def key_and_claims(stage: Stage, user_id: str) -> tuple[ECKey, dict[str, Any]]:
    """Return the platform's own key, and claims that it would sign."""
    key = load_or_create_key(stage.settings.private_keys / "access-token.pem")
    now = int(time.time())
    settings = stage.settings
    names = {"iss": settings.token_issuer, "aud": settings.token_audience, "sub": user_id, "jti": "forged"}
    return key, names | {"iat": now, "exp": now + 300}


async def answers(ask: Ask, cases: dict[str, Bearers], rpcs: list[Rpc] = CLOSED) -> dict[tuple[str, str, str], str]:
    """Ask these RPCs in every way with every case."""
    cells = [(kind, way, rpc) for kind in cases for way in WAYS for rpc in rpcs]
    codes = await asyncio.gather(*(ask(way, rpc, cases[kind]) for kind, way, rpc in cells))
    return {(kind, way, str(rpc)): code for (kind, way, rpc), code in zip(cells, codes, strict=True)}


async def test_no_forged_token_opens_anything(stage: Stage, ask: Ask, record_property: Any) -> None:
    world = await stage.world("ada")
    me = await world.do("IdentityService.GetMe")
    key, claims = key_and_claims(stage, me.user.user_id)
    cases = {kind: [f"Bearer {token}"] for kind, token in forgeries(key, claims).items()}
    good = jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, claims, key)
    cases |= {
        "none": [],
        "two, the first good": [f"Bearer {good}", "Bearer x.y.z"],
        "two, the second good": ["Bearer x.y.z", f"Bearer {good}"],
        "another scheme": [f"Basic {good}"],
    }
    assert len(cases) >= 35
    found = await answers(ask, cases)
    accepted = {cell: code for cell, code in found.items() if code not in REFUSED}
    record_property("access", f"{len(accepted)} of {len(found)} cells accepted")
    print(f"forged tokens: {len(cases)} kinds x {len(CLOSED)} RPCs x {len(WAYS)} ways: {len(accepted)}/{len(found)}")
    assert not accepted


async def test_the_token_they_are_made_from_is_good(stage: Stage, ask: Ask) -> None:
    """Or the matrix above would prove nothing."""
    me = await (await stage.world("ada")).do("IdentityService.GetMe")
    key, claims = key_and_claims(stage, me.user.user_id)
    token = jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, claims, key)
    read = [rpc for rpc in CLOSED if rpc.access is Access.USER and rpc.name == "ListStrategies"]
    assert [await ask(way, rpc, [f"Bearer {token}"]) for way in WAYS for rpc in read] == ["OK"] * len(WAYS)


async def test_a_login_that_has_ended_opens_nothing(stage: Stage, ask: Ask) -> None:
    gone = await stage.newcomer()
    await gone.do("IdentityService.Logout", all_devices=True)
    found = await answers(ask, {"left": [f"Bearer {gone.token}"]})
    assert set(found.values()) == {"UNAUTHENTICATED"}


async def test_an_api_key_may_do_everything_but_change_the_account(stage: Stage, ask: Ask) -> None:
    world = await stage.world("bob")
    exchanged = await world.do("IdentityService.ExchangeApiKey", secret=(await world.api_key())[1])
    unary = [rpc for rpc in CLOSED if not rpc.streaming]  # one that opens says nothing for a while
    found = await answers(ask, {"program": [f"Bearer {exchanged.token.token}"]}, unary)
    access = {str(rpc): rpc.access for rpc in unary}
    assert {(access[name], code in REFUSED) for (_, _, name), code in found.items()} == {
        (Access.USER, False),
        (Access.LOGIN, True),
    }
