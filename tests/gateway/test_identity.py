"""An account's whole life through the gateway, over REST and gRPC-Web as well as gRPC."""

from __future__ import annotations

from algotrade.v1 import identity_service_pb2 as pb

from .conftest import Caller, Method

SERVICE, REST = "/algotrade.v1.IdentityService", "/v1/identity"
EMAIL, PASSWORD, NEW_PASSWORD = "ada@example.com", "correct horse battery", "staple of the battery"


def method(name: str, path: str, request, verb: str = "POST") -> Method:
    return Method(f"{SERVICE}/{name}", (verb, f"{REST}/{path}"), request, getattr(pb, f"{name}Response"))


def me() -> Method:
    return method("GetMe", "me", pb.GetMeRequest(), "GET")


def bearer(token: pb.AccessToken) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token.token}")]


async def done(call: Caller, what: Method, token: pb.AccessToken | None = None):
    answer = await call(what, bearer(token) if token else [])
    assert answer.code == "OK", answer
    return answer.reply


async def refused(call: Caller, what: Method, token: pb.AccessToken | None = None) -> tuple[str, str]:
    answer = await call(what, bearer(token) if token else [])
    return answer.code, answer.reason


def refresh(token: pb.RefreshToken) -> Method:
    return method("RefreshToken", "refresh", pb.RefreshTokenRequest(refresh_token=token.token))


async def test_a_login_is_refreshed_and_ended(call):
    login = await done(call, method("Register", "register", pb.RegisterRequest(email=EMAIL, password=PASSWORD)))
    following = await done(call, refresh(login.refresh_token))
    assert (await done(call, me(), following.token)).user == login.user
    await done(call, method("Logout", "logout", pb.LogoutRequest()), following.token)
    assert await refused(call, me(), following.token) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    assert await refused(call, refresh(following.refresh_token)) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")


async def test_a_copied_refresh_token_is_told(call):
    login = await done(call, method("Register", "register", pb.RegisterRequest(email=EMAIL, password=PASSWORD)))
    await done(call, refresh(login.refresh_token))
    assert await refused(call, refresh(login.refresh_token)) == ("UNAUTHENTICATED", "REFRESH_TOKEN_REUSED")


async def test_a_new_password(call):
    login = await done(call, method("Register", "register", pb.RegisterRequest(email=EMAIL, password=PASSWORD)))
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)
    changed = await done(call, method("ChangePassword", "password", request), login.token)
    assert await refused(call, me(), login.token) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    assert (await done(call, me(), changed.token)).user == login.user
    again = method("ChangePassword", "password", request)
    assert await refused(call, again, changed.token) == ("INVALID_ARGUMENT", "PASSWORD_WRONG")


async def test_an_api_key(call):
    login = await done(call, method("Register", "register", pb.RegisterRequest(email=EMAIL, password=PASSWORD)))
    create = method("CreateApiKey", "api-keys", pb.CreateApiKeyRequest(name="bot"))
    created = await done(call, create, login.token)
    exchange = method("ExchangeApiKey", "api-keys:exchange", pb.ExchangeApiKeyRequest(secret=created.secret))
    program = (await done(call, exchange)).token
    keys = await done(call, method("ListApiKeys", "api-keys", pb.ListApiKeysRequest(), "GET"), program)
    assert [key.name for key in keys.api_keys] == ["bot"]
    assert await refused(call, create, program) == ("PERMISSION_DENIED", "LOGIN_REQUIRED")
    key_id = created.api_key.api_key_id
    delete = method("DeleteApiKey", f"api-keys/{key_id}", pb.DeleteApiKeyRequest(api_key_id=key_id), "DELETE")
    await done(call, delete, login.token)
    assert await refused(call, delete, login.token) == ("NOT_FOUND", "API_KEY_NOT_FOUND")
    assert await refused(call, exchange) == ("UNAUTHENTICATED", "API_KEY_INVALID")


async def test_rest_says_with_a_mask_what_changes(http, mesh):
    registered = await http.post(f"{REST}/register", json={"email": EMAIL, "password": PASSWORD})
    headers = {"authorization": f"Bearer {registered.json()['token']['token']}"}
    changed = await http.patch(
        f"{REST}/me", json={"display_name": "Ada", "update_mask": "displayName"}, headers=headers
    )
    assert changed.json()["user"]["display_name"] == "Ada"
    refused = await http.patch(f"{REST}/me", json={"display_name": "Bob", "update_mask": "email"}, headers=headers)
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (400, "FIELD_INVALID")
    assert (await http.get(f"{REST}/me", headers=headers)).json()["user"]["display_name"] == "Ada"
