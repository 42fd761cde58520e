"""API keys through a real channel."""

from __future__ import annotations

import uuid

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text

from algotrade.platform import limits
from algotrade.platform.errors import info, violations
from algotrade.v1 import identity_service_pb2 as pb

from .conftest import PASSWORD, Device, failure


async def create(device: Device, name: str = "bot", **fields) -> pb.CreateApiKeyResponse:
    return await device.stub.CreateApiKey(pb.CreateApiKeyRequest(name=name, **fields), **device.as_me())


async def listed(device: Device, **fields) -> pb.ListApiKeysResponse:
    return await device.stub.ListApiKeys(pb.ListApiKeysRequest(**fields), **device.as_me())


async def exchanged(device: Device, secret: str) -> Device:
    answer = await device.stub.ExchangeApiKey(pb.ExchangeApiKeyRequest(secret=secret))
    return Device(device.stub, device.user, answer.token.token, "")


def reason(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    return error.code().name, info(error).reason


async def test_a_key_is_shown_once_and_speaks_for_its_owner(enter, database):
    ada = await enter()
    created = await create(ada)
    program = await exchanged(ada, created.secret)
    assert (await program.me()).user == ada.user
    [key] = (await listed(ada)).api_keys
    assert (key.api_key_id, key.name) == (created.api_key.api_key_id, "bot")
    assert not created.api_key.HasField("last_use_time")
    assert key.HasField("last_use_time")
    assert not key.HasField("expire_time")
    async with database.connect() as connection:
        dumped = str((await connection.execute(text("SELECT * FROM api_keys"))).all())
        dumped += str((await connection.execute(text("SELECT * FROM request_ids"))).all())
    assert created.secret not in dumped


async def test_a_key_may_not_change_the_account(enter):
    ada = await enter()
    created = await create(ada)
    program = await exchanged(ada, created.secret)
    passwords = pb.ChangePasswordRequest(current_password=PASSWORD, new_password="another password")
    stub, me = ada.stub, program.as_me()
    for call in (
        stub.ChangePassword(passwords, **me),
        stub.UpdateMe(pb.UpdateMeRequest(display_name="X"), **me),
        stub.CreateApiKey(pb.CreateApiKeyRequest(name="another"), **me),
        stub.DeleteApiKey(pb.DeleteApiKeyRequest(api_key_id=created.api_key.api_key_id), **me),
        stub.Logout(pb.LogoutRequest(all_devices=True), **me),
    ):
        assert reason(await failure(call)) == ("PERMISSION_DENIED", "LOGIN_REQUIRED")
    assert [key.name for key in (await listed(program)).api_keys] == ["bot"]
    assert (await ada.me()).user == ada.user


async def test_a_deleted_key_is_useless_and_so_are_its_tokens(enter):
    ada = await enter()
    created = await create(ada)
    program = await exchanged(ada, created.secret)
    await ada.stub.DeleteApiKey(pb.DeleteApiKeyRequest(api_key_id=created.api_key.api_key_id), **ada.as_me())
    assert reason(await failure(program.me())) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    assert reason(await failure(exchanged(ada, created.secret))) == ("UNAUTHENTICATED", "API_KEY_INVALID")
    assert not (await listed(ada)).api_keys
    assert (await ada.me()).user == ada.user


async def test_a_key_outlives_a_new_password_and_its_tokens_do_not(enter):
    ada = await enter()
    created = await create(ada)
    program = await exchanged(ada, created.secret)
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password="another password")
    await ada.stub.ChangePassword(request, **ada.as_me())
    assert reason(await failure(program.me()))[1] == "TOKEN_REVOKED"
    assert (await (await exchanged(ada, created.secret)).me()).user == ada.user


async def test_a_key_and_its_tokens_end_when_it_says(enter, clock):
    ada = await enter()
    expire_time = Timestamp(seconds=clock.now_ns() // 10**9 + 120)
    created = await create(ada, expire_time=expire_time)
    assert created.api_key.expire_time == expire_time
    answer = await ada.stub.ExchangeApiKey(pb.ExchangeApiKeyRequest(secret=created.secret))
    assert answer.token.expire_time.seconds <= expire_time.seconds
    clock.ahead_seconds = 121
    assert reason(await failure(exchanged(ada, created.secret)))[1] == "API_KEY_INVALID"


@pytest.mark.parametrize(
    ("given", "kept", "claim"),
    [
        (pb.API_KEY_SCOPE_READ, pb.API_KEY_SCOPE_READ, "read"),
        (pb.API_KEY_SCOPE_TRADE, pb.API_KEY_SCOPE_TRADE, "read trade"),
        (pb.API_KEY_SCOPE_UNSPECIFIED, pb.API_KEY_SCOPE_TRADE, "read trade"),
    ],
)
async def test_a_key_is_good_for_what_it_was_made_for(enter, platform, given, kept, claim):
    """What that opens and what not, tests/clients/test_access.py has for every RPC."""
    ada = await enter()
    created = await create(ada, scope=given)
    assert created.api_key.scope == kept
    [key] = (await listed(ada)).api_keys
    assert key.scope == kept
    program = await exchanged(ada, created.secret)
    assert (await program.me()).user == ada.user
    assert platform.verifier.verify(program.token).scopes == set(claim.split())
    assert platform.verifier.verify(ada.token).scopes is None


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateApiKeyRequest(), "name"),
        (pb.CreateApiKeyRequest(name="x" * 101), "name"),
        (pb.CreateApiKeyRequest(name="a\x00"), "name"),
        (pb.CreateApiKeyRequest(name="a", request_id="not a uuid"), "request_id"),
        (pb.CreateApiKeyRequest(name="a", expire_time=Timestamp(seconds=1)), "expire_time"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_made(enter, request_, field):
    ada = await enter()
    error = await failure(ada.stub.CreateApiKey(request_, **ada.as_me()))
    assert (reason(error)[1], set(violations(error))) == ("FIELD_INVALID", {field})
    assert not (await listed(ada)).api_keys


async def test_a_repeated_request_makes_one_key_and_shows_no_secret(enter):
    ada = await enter()
    request_id = str(uuid.uuid4())
    first, again = await create(ada, request_id=request_id), await create(ada, request_id=request_id)
    assert again.api_key == first.api_key
    assert (bool(first.secret), again.secret) == (True, "")
    error = await failure(create(ada, "another", request_id=request_id))
    assert reason(error) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert len((await listed(ada)).api_keys) == 1


async def test_pages_go_from_the_newest_and_nobody_sees_anothers(enter):
    ada, bob = await enter(), await enter("bob@example.com")
    for number in range(5):
        await create(ada, str(number))
    mine = await create(bob)
    names, token = [], ""
    while True:
        page = await listed(ada, page_size=2, page_token=token)
        assert len(page.api_keys) <= 2
        names += [key.name for key in page.api_keys]
        token = page.next_page_token
        if not token:
            break
    assert names == ["4", "3", "2", "1", "0"]
    request = pb.DeleteApiKeyRequest(api_key_id=mine.api_key.api_key_id)
    foreign = await failure(ada.stub.DeleteApiKey(request, **ada.as_me()))
    none = pb.DeleteApiKeyRequest(api_key_id=str(uuid.uuid4()))
    unknown = await failure(ada.stub.DeleteApiKey(none, **ada.as_me()))
    assert reason(foreign) == reason(unknown) == ("NOT_FOUND", "API_KEY_NOT_FOUND")
    assert foreign.details() == unknown.details()
    assert [key.name for key in (await listed(bob)).api_keys] == ["bot"]


@pytest.mark.parametrize("token", ["rubbish", "WyJMaXN0U3RyYXRlZ2llcyIsIjEiLCIyIl0"])
async def test_a_page_token_of_another_call_is_refused(enter, token):
    ada = await enter()
    assert reason(await failure(listed(ada, page_token=token))) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_an_account_keeps_so_many_keys(enter, monkeypatch):
    monkeypatch.setattr(limits, "MAX_API_KEYS", 2)
    ada, bob = await enter(), await enter("bob@example.com")
    for _ in range(2):
        await create(ada)
    error = await failure(create(ada))
    assert reason(error) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
    assert dict(info(error).metadata) == {"limit": "api_keys", "value": "2"}
    await create(bob)
