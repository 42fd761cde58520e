"""IdentityService through a real channel, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import text

from algotrade.identity.__main__ import build
from algotrade.platform.errors import info, violations
from algotrade.platform.process import Platform
from algotrade.platform.tokens import load_or_create_key
from algotrade.v1 import identity_service_pb2 as pb
from algotrade.v1.identity_service_pb2_grpc import IdentityServiceStub

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"


@pytest.fixture
async def server(serve):
    return await serve(build)


@pytest.fixture
def grpc_addr(server):
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def grpc_aio_server(server):
    """Give pytest-grpc-aio the real server, with all its layers, in the place of one that it makes."""

    @asynccontextmanager
    async def running(servicer: object = None):
        yield server

    return running


@pytest.fixture
def grpc_stub_cls():
    return IdentityServiceStub


@pytest.fixture
async def anyone(grpc_aio_stub):
    async with grpc_aio_stub() as stub:
        yield stub


async def failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def register(stub, email=EMAIL, password=PASSWORD, name="Ada"):
    return await stub.Register(pb.RegisterRequest(email=email, password=password, display_name=name))


async def test_a_registered_user_logs_in_and_is_known(anyone, server, connect):
    registered = await register(anyone, "Ada@Example.com")
    login = await anyone.Login(pb.LoginRequest(email="ADA@example.com", password=PASSWORD))
    assert login.user == registered.user
    assert (login.user.email, login.user.display_name) == (EMAIL, "Ada")
    for token in (registered.token.token, login.token.token):
        metadata = (("authorization", f"Bearer {token}"),)
        me = await anyone.GetMe(pb.GetMeRequest(), metadata=metadata)
        assert me.user == registered.user


async def test_the_token_says_who_for_how_long_and_by_which_key(anyone, platform: Platform, signing_key: ECKey):
    token = (await register(anyone)).token
    decoded = jwt.decode(token.token, signing_key, algorithms=["ES256"])
    assert decoded.header == {"alg": "ES256", "kid": signing_key.kid, "typ": "at+jwt"}
    assert set(decoded.claims) == {"iss", "aud", "sub", "jti", "iat", "exp", "ver", "sid"}
    assert decoded.claims["iss"] == platform.settings.token_issuer
    assert decoded.claims["aud"] == platform.settings.token_audience
    assert decoded.claims["exp"] - decoded.claims["iat"] == platform.settings.access_token_seconds
    assert token.expire_time.seconds == decoded.claims["exp"]


async def test_a_restart_keeps_the_key(tmp_path):
    path = tmp_path / "keys" / "key.pem"
    first, second = load_or_create_key(path), load_or_create_key(path)
    assert first.kid == second.kid
    assert path.stat().st_mode & 0o777 == 0o600


async def test_unknown_address_and_wrong_password_are_not_told_apart(anyone):
    await register(anyone)
    wrong = await failure(anyone.Login(pb.LoginRequest(email=EMAIL, password="not the password")))
    unknown = await failure(anyone.Login(pb.LoginRequest(email="bob@example.com", password=PASSWORD)))
    assert wrong.code() == unknown.code() == grpc.StatusCode.UNAUTHENTICATED
    assert wrong.details() == unknown.details()
    assert info(wrong) == info(unknown)
    assert info(wrong).reason == "CREDENTIALS_INVALID"


async def test_both_failures_check_one_hash(anyone, monkeypatch):
    await register(anyone)
    checked: list[str] = []
    verify = PasswordHasher.verify

    def counting(self, password_hash, password):
        checked.append(password_hash.split("$")[3])  # memory, time and parallelism: what it costs
        return verify(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    await failure(anyone.Login(pb.LoginRequest(email=EMAIL, password="not the password")))
    await failure(anyone.Login(pb.LoginRequest(email="bob@example.com", password=PASSWORD)))
    assert len(checked) == 2
    assert checked[0] == checked[1]


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("", PASSWORD, "email"),
        ("no-at-sign", PASSWORD, "email"),
        ("a@b\x00.com", PASSWORD, "email"),
        ("a" * 250 + "@example.com", PASSWORD, "email"),
        (EMAIL, "", "password"),
        (EMAIL, "elevenchars", "password"),
        (EMAIL, "x" * 129, "password"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_made(anyone, database, email, password, field):
    error = await failure(register(anyone, email, password))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert info(error).reason == "FIELD_INVALID"
    assert set(violations(error)) == {field}
    async with database.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM users"))).scalar_one() == 0


async def test_a_name_with_a_control_character_is_refused(anyone):
    error = await failure(register(anyone, name="Ada\x00"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert set(violations(error)) == {"display_name"}


async def test_an_address_has_one_account_even_when_two_come_together(anyone):
    results = await asyncio.gather(
        register(anyone), register(anyone, EMAIL.upper(), "another password"), return_exceptions=True
    )
    errors = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(errors) == 1
    assert errors[0].code() == grpc.StatusCode.ALREADY_EXISTS
    assert info(errors[0]).reason == "EMAIL_TAKEN"


async def test_get_me_wants_a_token(anyone, server, connect, token: Callable[..., str]):
    missing = await failure(anyone.GetMe(pb.GetMeRequest()))
    assert (missing.code(), info(missing).reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    registered = await register(anyone)
    expired = token(registered.user.user_id, -60)
    metadata = (("authorization", f"Bearer {expired}"),)
    error = await failure(anyone.GetMe(pb.GetMeRequest(), metadata=metadata))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_token_of_a_deleted_account_finds_nobody(server, connect, user):
    error = await failure(IdentityServiceStub(connect(server, user)).GetMe(pb.GetMeRequest()))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


async def test_a_weak_hash_is_replaced_at_the_next_login(anyone, database):
    user_id = (await register(anyone)).user.user_id
    weak = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)

    async def stored() -> str:
        async with database.connect() as connection:
            return (await connection.execute(text("SELECT password_hash FROM users"))).scalar_one()

    async with database.begin() as connection:
        await connection.execute(text("UPDATE users SET password_hash = :weak"), {"weak": weak})
    await failure(anyone.Login(pb.LoginRequest(email=EMAIL, password="not the password")))
    assert await stored() == weak
    login = await anyone.Login(pb.LoginRequest(email=EMAIL, password=PASSWORD))
    assert login.user.user_id == user_id
    assert not PasswordHasher().check_needs_rehash(await stored())
    assert (await anyone.Login(pb.LoginRequest(email=EMAIL, password=PASSWORD))).user.user_id == user_id


async def test_the_same_letters_composed_differently_are_the_same_password(anyone):
    await register(anyone, password="pa\u0301ssword-long")
    assert (await anyone.Login(pb.LoginRequest(email=EMAIL, password="p\u00e1ssword-long"))).user.email == EMAIL


async def test_hashing_leaves_the_loop_free(anyone):
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    await register(anyone)
    counting.cancel()
    assert turns > 10
