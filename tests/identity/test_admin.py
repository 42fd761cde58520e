"""AdminService through a real channel: finding users, shutting them out, reading what was done."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from algotrade.identity.postgres_admin import PostgresAdminStore
from algotrade.platform.audit import first_broken
from algotrade.platform.errors import info
from algotrade.v1 import admin_service_pb2 as pb
from algotrade.v1 import identity_service_pb2 as identity
from algotrade.v1.admin_service_pb2_grpc import AdminServiceStub

from .conftest import PASSWORD, Device, failure

Enter = Callable[..., Awaitable[Device]]


def reason(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    return error.code().name, info(error).reason


@pytest.fixture
async def admins(channel: grpc.aio.Channel) -> Any:
    return AdminServiceStub(channel)


@pytest.fixture
async def root(enter: Enter, database: Any) -> Device:
    """Return a login of an administrator."""
    await enter("root@example.com")
    assert await PostgresAdminStore(database).set_admin("Root@example.com", is_admin=True)
    return await enter("root@example.com")


async def acts(database: Any, device: Device) -> list[tuple[str, dict[str, str]]]:
    """Return what the log has of an account."""
    query = text("""
        SELECT action, facts FROM audit_log
        WHERE actor = (SELECT audit_actor FROM users WHERE user_id = :user_id) ORDER BY number
    """)
    async with database.connect() as connection:
        assert await first_broken(connection) is None
        rows = await connection.execute(query, {"user_id": uuid.UUID(device.user.user_id)})
        return [(row.action, row.facts) for row in rows]


async def test_users_are_found_by_how_their_address_begins(enter: Enter, admins: Any, root: Device) -> None:
    for name in ("ada", "adam", "bob", "under_score", "under-score"):
        await enter(f"{name}@example.com")
    found, token = [], ""
    while True:
        request = pb.ListUsersRequest(email_prefix="AD", page_size=1, page_token=token)
        page = await admins.ListUsers(request, **root.as_me())
        found += [one.user.email for one in page.users]
        if not (token := page.next_page_token):
            break
    assert found == ["ada@example.com", "adam@example.com"]
    under = await admins.ListUsers(pb.ListUsersRequest(email_prefix="under_"), **root.as_me())
    assert [one.user.email for one in under.users] == ["under_score@example.com"]
    everybody = await admins.ListUsers(pb.ListUsersRequest(), **root.as_me())
    assert {one.user.email: one.role for one in everybody.users}["root@example.com"] == pb.ROLE_ADMIN
    assert sum(one.role == pb.ROLE_USER for one in everybody.users) == 5


async def test_a_disabled_user_is_out_at_once_and_in_again_when_enabled(
    enter: Enter, admins: Any, root: Device, database: Any
) -> None:
    ada = await enter()
    key = await ada.stub.CreateApiKey(identity.CreateApiKeyRequest(name="bot"), **ada.as_me())
    exchange = identity.ExchangeApiKeyRequest(secret=key.secret)
    request = pb.DisableUserRequest(user_id=ada.user.user_id, reason="asked to")
    shut = (await admins.DisableUser(request, **root.as_me())).user
    assert shut.HasField("disable_time")
    assert shut.disable_reason == "asked to"
    assert reason(await failure(ada.me())) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    assert reason(await failure(ada.refresh())) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    assert reason(await failure(enter())) == ("PERMISSION_DENIED", "ACCOUNT_DISABLED")
    assert reason(await failure(ada.stub.ExchangeApiKey(exchange))) == ("PERMISSION_DENIED", "ACCOUNT_DISABLED")
    wrong = await failure(enter(password="not the password"))
    assert reason(wrong) == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")  # who does not know it is told nothing
    again = (await admins.DisableUser(request, **root.as_me())).user
    assert again.disable_time == shut.disable_time
    back = (await admins.EnableUser(pb.EnableUserRequest(user_id=ada.user.user_id), **root.as_me())).user
    assert not back.HasField("disable_time")
    assert (await (await enter()).me()).user == ada.user
    await ada.stub.ExchangeApiKey(exchange)
    told = [(action, facts) for action, facts in await acts(database, root) if action.startswith("user_")]
    assert told == [
        ("user_disabled", {"account": shut.actor, "reason": "asked to"}),
        ("user_enabled", {"account": shut.actor}),
    ]


async def test_whom_nobody_made_an_administrator_is_none(
    enter: Enter, admins: Any, root: Device, database: Any
) -> None:
    ada = await enter()
    for call, request in (
        (admins.ListUsers, pb.ListUsersRequest()),
        (admins.GetUser, pb.GetUserRequest(user_id=ada.user.user_id)),
        (admins.DisableUser, pb.DisableUserRequest(user_id=root.user.user_id, reason="x")),
        (admins.EnableUser, pb.EnableUserRequest(user_id=ada.user.user_id)),
        (admins.ListAuditEvents, pb.ListAuditEventsRequest()),
    ):
        assert reason(await failure(call(request, **ada.as_me()))) == ("PERMISSION_DENIED", "ADMIN_REQUIRED")
    key = await root.stub.CreateApiKey(identity.CreateApiKeyRequest(name="bot"), **root.as_me())
    exchanged = await root.stub.ExchangeApiKey(identity.ExchangeApiKeyRequest(secret=key.secret))
    program = Device(root.stub, root.user, exchanged.token.token, "")
    refused = await failure(admins.ListUsers(pb.ListUsersRequest(), **program.as_me()))
    assert reason(refused) == ("PERMISSION_DENIED", "LOGIN_REQUIRED")
    assert (await root.me()).user == root.user


async def test_who_is_no_administrator_any_more_is_out_at_once(
    enter: Enter, admins: Any, root: Device, database: Any, platform: Any
) -> None:
    await PostgresAdminStore(database).set_admin("root@example.com", is_admin=False)
    await platform.revocations.catch_up()
    refused = await failure(admins.ListUsers(pb.ListUsersRequest(), **root.as_me()))
    assert reason(refused) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    again = await enter("root@example.com")
    refused = await failure(admins.ListUsers(pb.ListUsersRequest(), **again.as_me()))
    assert reason(refused) == ("PERMISSION_DENIED", "ADMIN_REQUIRED")
    async with database.connect() as connection:
        query = text("SELECT action FROM audit_log WHERE action LIKE 'admin_%' ORDER BY number")
        assert list((await connection.execute(query)).scalars()) == ["admin_added", "admin_removed"]


async def test_an_administrator_does_not_shut_himself_out(admins: Any, root: Device) -> None:
    request = pb.DisableUserRequest(user_id=root.user.user_id, reason="x")
    assert reason(await failure(admins.DisableUser(request, **root.as_me()))) == ("FAILED_PRECONDITION", "OWN_ACCOUNT")
    assert (await root.me()).user == root.user


async def test_nobody_is_not_found(admins: Any, root: Device) -> None:
    nobody = str(uuid.uuid4())
    for call, request in (
        (admins.GetUser, pb.GetUserRequest(user_id=nobody)),
        (admins.DisableUser, pb.DisableUserRequest(user_id=nobody, reason="x")),
        (admins.EnableUser, pb.EnableUserRequest(user_id=nobody)),
    ):
        error = await failure(call(request, **root.as_me()))
        assert reason(error) == ("NOT_FOUND", "USER_NOT_FOUND")
        assert dict(info(error).metadata) == {"user_id": nobody}


async def test_the_log_is_read_from_its_end_and_reading_is_put_on_record(
    enter: Enter, admins: Any, root: Device, database: Any
) -> None:
    ada = await enter()
    await enter()
    seen = (await admins.GetUser(pb.GetUserRequest(user_id=ada.user.user_id), **root.as_me())).user
    hers, token = [], ""
    while True:
        request = pb.ListAuditEventsRequest(actor=seen.actor, page_size=1, page_token=token)
        page = await admins.ListAuditEvents(request, **root.as_me())
        hers += [event.action for event in page.events]
        if not (token := page.next_page_token):
            break
    assert hers == ["logged_in", "registered"]
    newest = (await admins.ListAuditEvents(pb.ListAuditEventsRequest(page_size=3), **root.as_me())).events
    assert [event.action for event in newest] == ["audit_log_read", "audit_log_read", "user_read"]
    assert newest[0].number == newest[2].number + 2
    assert newest[0].facts == {"account": seen.actor}
    assert [action for action, _ in await acts(database, root)][-4:] == ["user_read", *["audit_log_read"] * 3]
    assert PASSWORD not in str(newest)
    assert "example.com" not in str(newest)


@pytest.mark.parametrize("token", ["rubbish", "WyJMaXN0VXNlcnMgIiwxXQ"])
async def test_a_page_token_of_another_call_is_refused(admins: Any, root: Device, token: str) -> None:
    for call, request in (
        (admins.ListUsers, pb.ListUsersRequest(page_token=token)),
        (admins.ListAuditEvents, pb.ListAuditEventsRequest(page_token=token)),
    ):
        error = await failure(call(request, **root.as_me()))
        assert reason(error) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
