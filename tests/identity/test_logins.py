"""Logins through a real channel: refresh tokens, logging out, the name and the password."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import text

from algotrade.platform import limits
from algotrade.platform.audit import first_broken
from algotrade.platform.errors import info, violations
from algotrade.v1 import identity_service_pb2 as pb

from .conftest import PASSWORD, failure

NEW_PASSWORD = "staple of the battery"


def reason(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    return error.code().name, info(error).reason


async def actions(database) -> list[str]:
    async with database.connect() as connection:
        assert await first_broken(connection) is None
        return list((await connection.execute(text("SELECT action FROM audit_log ORDER BY number"))).scalars())


async def test_each_refresh_gives_the_next_and_both_tokens_are_good(enter):
    ada = await enter()
    seen = {ada.refresh_token}
    for _ in range(3):
        await ada.refresh()
        assert ada.refresh_token not in seen
        seen.add(ada.refresh_token)
        assert (await ada.me()).user == ada.user


async def test_no_secret_is_kept_as_it_is(enter, database):
    ada = await enter()
    await ada.refresh()
    async with database.connect() as connection:
        dumped = ""
        for table in ("users", "logins", "refresh_tokens", "audit_log", "token_revocations"):
            rows = (await connection.execute(text(f"SELECT * FROM {table}"))).all()
            dumped += "".join(str(row) for row in rows)
    assert ada.refresh_token not in dumped
    assert PASSWORD not in dumped
    assert ada.user.user_id in dumped


async def test_a_second_use_ends_the_login_for_whoever_holds_it(enter, database):
    ada, other = await enter(), await enter()
    copied = ada.refresh_token
    await ada.refresh()
    error = await failure(ada.stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=copied)))
    assert reason(error) == ("UNAUTHENTICATED", "REFRESH_TOKEN_REUSED")
    newest = await failure(ada.refresh())
    assert reason(newest) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    assert reason(await failure(ada.me())) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    await other.refresh()
    assert (await other.me()).user == ada.user
    assert await actions(database) == ["registered", "logged_in", "refresh_token_reused"]
    async with database.connect() as connection:
        told = "SELECT actor = audit_actor, facts ->> 'login_id' FROM audit_log, users ORDER BY number DESC LIMIT 1"
        same_actor, login_id = (await connection.execute(text(told))).one()
        ended = await connection.execute(text("SELECT login_id FROM logins WHERE end_time IS NOT NULL"))
    assert same_actor
    assert str(ended.scalar_one()) == login_id


async def test_of_two_uses_at_once_one_wins_and_the_login_ends(enter):
    ada = await enter()
    request = pb.RefreshTokenRequest(refresh_token=ada.refresh_token)
    both = await asyncio.gather(*(ada.stub.RefreshToken(request) for _ in range(2)), return_exceptions=True)
    [won] = [one for one in both if isinstance(one, pb.RefreshTokenResponse)]
    [lost] = [one for one in both if isinstance(one, grpc.aio.AioRpcError)]
    assert reason(lost)[1] == "REFRESH_TOKEN_REUSED"
    after = await failure(ada.stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=won.refresh_token.token)))
    assert reason(after)[1] == "REFRESH_TOKEN_INVALID"


async def test_a_token_that_rested_too_long_is_refused(enter, clock, settings):
    ada = await enter()
    clock.ahead_seconds = settings.refresh_token_seconds + 1
    assert reason(await failure(ada.refresh()))[1] == "REFRESH_TOKEN_INVALID"


async def test_a_login_ends_some_day_however_often_it_is_refreshed(enter, clock, settings, database):
    ada = await enter()
    step = settings.refresh_token_seconds - 1
    for seconds in range(step, settings.login_seconds, step):
        clock.ahead_seconds = seconds
        await ada.refresh()
    async with database.connect() as connection:
        kept = (await connection.execute(text("SELECT count(*) FROM refresh_tokens"))).scalar_one()
    assert kept == 2, "the newest, and the used one that has not expired"
    clock.ahead_seconds = settings.login_seconds + 1
    assert reason(await failure(ada.refresh()))[1] == "REFRESH_TOKEN_INVALID"


@pytest.mark.parametrize("token", ["rubbish", "at_refresh_" + "A" * 43])
async def test_an_unknown_token_is_refused(stub, token):
    error = await failure(stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=token)))
    assert reason(error) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")


@pytest.mark.parametrize("token", ["", "x" * 129])
async def test_a_token_that_cannot_be_one_is_a_bad_field(stub, token):
    error = await failure(stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=token)))
    assert (error.code(), set(violations(error))) == (grpc.StatusCode.INVALID_ARGUMENT, {"refresh_token"})


async def test_logout_ends_this_login_only(enter, database):
    ada, other, bob = await enter(), await enter(), await enter("bob@example.com")
    await ada.stub.Logout(pb.LogoutRequest(), **ada.as_me())
    assert reason(await failure(ada.me()))[1] == "TOKEN_REVOKED"
    assert reason(await failure(ada.refresh()))[1] == "REFRESH_TOKEN_INVALID"
    for still in (other, bob):
        assert (await still.me()).user == still.user
        await still.refresh()
    assert (await actions(database))[-1] == "logged_out"


async def test_logout_of_all_devices_ends_every_login_and_a_new_one_is_good(enter, database):
    ada, other, bob = await enter(), await enter(), await enter("bob@example.com")
    await ada.stub.Logout(pb.LogoutRequest(all_devices=True), **ada.as_me())
    for ended in (ada, other):
        assert reason(await failure(ended.me()))[1] == "TOKEN_REVOKED"
        assert reason(await failure(ended.refresh()))[1] == "REFRESH_TOKEN_INVALID"
    assert (await bob.me()).user == bob.user
    assert (await (await enter()).me()).user == ada.user
    assert (await actions(database))[-2:] == ["logged_out_everywhere", "logged_in"]


async def test_a_new_password_ends_the_other_logins(enter, database):
    ada, other = await enter(), await enter()
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)
    answer = await ada.stub.ChangePassword(request, **ada.as_me())
    assert reason(await failure(ada.me()))[1] == "TOKEN_REVOKED", "every token given before"
    ada.token = answer.token.token
    assert (await ada.me()).user == ada.user
    await ada.refresh()
    assert (await ada.me()).user == ada.user
    assert reason(await failure(other.me()))[1] == "TOKEN_REVOKED"
    assert reason(await failure(other.refresh()))[1] == "REFRESH_TOKEN_INVALID"
    old = await failure(ada.stub.Login(pb.LoginRequest(email=ada.user.email, password=PASSWORD)))
    assert reason(old)[1] == "CREDENTIALS_INVALID"
    assert (await (await enter(password=NEW_PASSWORD)).me()).user == ada.user
    assert (await actions(database))[2:] == ["password_changed", "password_refused", "logged_in"]


@pytest.mark.parametrize(
    ("current", "new", "field", "why"),
    [
        ("not the password", NEW_PASSWORD, "current_password", "PASSWORD_WRONG"),
        ("", NEW_PASSWORD, "current_password", "FIELD_INVALID"),
        (PASSWORD, "elevenchars", "new_password", "FIELD_INVALID"),
    ],
)
async def test_a_refused_password_changes_nothing(enter, current, new, field, why):
    ada = await enter()
    request = pb.ChangePasswordRequest(current_password=current, new_password=new)
    error = await failure(ada.stub.ChangePassword(request, **ada.as_me()))
    assert reason(error) == ("INVALID_ARGUMENT", why)
    assert set(violations(error)) == {field}
    assert (await ada.me()).user == ada.user
    assert (await (await enter()).me()).user == ada.user


async def test_of_two_new_passwords_at_once_one_is_set(enter):
    ada = await enter()
    requests = [
        pb.ChangePasswordRequest(current_password=PASSWORD, new_password=f"{NEW_PASSWORD} {number}")
        for number in range(2)
    ]
    both = await asyncio.gather(
        *(ada.stub.ChangePassword(request, **ada.as_me()) for request in requests), return_exceptions=True
    )
    [won] = [number for number, one in enumerate(both) if isinstance(one, pb.ChangePasswordResponse)]
    assert (await (await enter(password=f"{NEW_PASSWORD} {won}")).me()).user == ada.user


@pytest.mark.parametrize(
    ("name", "paths", "becomes"),
    [
        ("Ada L.", ["display_name"], "Ada L."),
        ("Ada L.", [], "Ada L."),
        ("  ", ["display_name"], "ada@example.com"),
        ("", ["display_name"], "ada@example.com"),
        ("", [], "Ada"),
    ],
)
async def test_the_name_changes_as_the_mask_says(enter, name, paths, becomes):
    ada = await enter()
    await ada.stub.UpdateMe(pb.UpdateMeRequest(display_name="Ada"), **ada.as_me())
    request = pb.UpdateMeRequest(display_name=name, update_mask=FieldMask(paths=paths))
    answer = await ada.stub.UpdateMe(request, **ada.as_me())
    assert answer.user.display_name == becomes
    assert (await ada.me()).user == answer.user


@pytest.mark.parametrize("path", ["email", "user_id", "*"])
async def test_nothing_else_can_be_changed(enter, path):
    ada = await enter()
    request = pb.UpdateMeRequest(display_name="X", update_mask=FieldMask(paths=[path]))
    error = await failure(ada.stub.UpdateMe(request, **ada.as_me()))
    assert (reason(error)[1], set(violations(error))) == ("FIELD_INVALID", {"update_mask"})
    assert (await ada.me()).user == ada.user


async def test_the_oldest_login_gives_way(enter, monkeypatch):
    monkeypatch.setattr(limits, "MAX_LOGINS", 2)
    first, second, third = await enter(), await enter(), await enter()
    assert reason(await failure(first.refresh()))[1] == "REFRESH_TOKEN_INVALID"
    await second.refresh()
    await third.refresh()


async def test_a_wrong_password_is_on_record_without_the_address(enter, stub, database):
    ada = await enter()
    await failure(stub.Login(pb.LoginRequest(email=ada.user.email, password="not the password")))
    await failure(stub.Login(pb.LoginRequest(email="bob@example.com", password=PASSWORD)))
    assert await actions(database) == ["registered", "password_refused", "password_refused"]
    async with database.connect() as connection:
        rows = (
            await connection.execute(text("SELECT actor, facts, correlation_id FROM audit_log ORDER BY number"))
        ).all()
    assert [row.actor is None for row in rows] == [False, False, True]
    assert all("@" not in str(row) and ada.user.user_id not in str(row) for row in rows)
    assert all(row.correlation_id for row in rows)


async def test_logins_are_seen_and_one_is_ended_from_another(enter, database):
    laptop, phone = await enter(), await enter()
    seen = (await laptop.stub.ListLogins(pb.ListLoginsRequest(), **laptop.as_me())).logins
    assert [one.current for one in seen] == [False, True]  # newest first
    assert all(one.last_use_time == one.create_time for one in seen)
    await phone.refresh()
    seen = (await laptop.stub.ListLogins(pb.ListLoginsRequest(), **laptop.as_me())).logins
    assert seen[0].last_use_time.ToNanoseconds() > seen[0].create_time.ToNanoseconds()

    end = pb.EndLoginRequest(login_id=seen[0].login_id)
    await laptop.stub.EndLogin(end, **laptop.as_me())
    assert reason(await failure(phone.me())) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    error = await failure(phone.stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=phone.refresh_token)))
    assert reason(error) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    assert reason(await failure(laptop.stub.EndLogin(end, **laptop.as_me()))) == ("NOT_FOUND", "LOGIN_NOT_FOUND")
    assert len((await laptop.stub.ListLogins(pb.ListLoginsRequest(), **laptop.as_me())).logins) == 1
    assert (await actions(database))[-1] == "logged_out"


async def test_nobody_ends_anothers_login(enter):
    ada, eve = await enter(), await enter("eve@example.com")
    [login] = (await ada.stub.ListLogins(pb.ListLoginsRequest(), **ada.as_me())).logins
    error = await failure(eve.stub.EndLogin(pb.EndLoginRequest(login_id=login.login_id), **eve.as_me()))
    assert reason(error) == ("NOT_FOUND", "LOGIN_NOT_FOUND")
    assert (await ada.me()).user == ada.user
