"""IdentityService on the wire: messages in, messages out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from algotrade.identity.authenticate import AccessToken, Authenticator, Login
from algotrade.identity.exchange import ApiKeys
from algotrade.identity.opaque import API_KEY_PREFIX, Secret
from algotrade.identity.store import Account, ApiKey
from algotrade.platform import paging
from algotrade.platform.caller import principal
from algotrade.platform.once import Once
from algotrade.platform.policy import Scope
from algotrade.v1 import identity_service_pb2 as pb
from algotrade.v1 import identity_service_pb2_grpc as pb_grpc

Context = ServicerContext[Any, Any]

CREATE_API_KEY: Final = "CreateApiKey"
LIST_API_KEYS: Final = "ListApiKeys"
DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 100


class IdentityServicer(pb_grpc.IdentityServiceServicer):
    """Translates between messages, the authenticator and the API keys."""

    def __init__(self, authenticator: Authenticator, api_keys: ApiKeys) -> None:
        """Take who decides."""
        self._authenticator = authenticator
        self._api_keys = api_keys

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        """Make an account and log it in."""
        login = await self._authenticator.register(request.email, request.password, request.display_name)
        return pb.RegisterResponse(
            user=user_message(login.account), token=_token(login.access), refresh_token=_refresh_token(login)
        )

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        """Trade an address and a password for tokens."""
        login = await self._authenticator.login(request.email, request.password)
        return pb.LoginResponse(
            user=user_message(login.account), token=_token(login.access), refresh_token=_refresh_token(login)
        )

    async def RefreshToken(self, request: pb.RefreshTokenRequest, context: Context) -> pb.RefreshTokenResponse:
        """Trade a refresh token for the next ones."""
        login = await self._authenticator.refresh(request.refresh_token)
        return pb.RefreshTokenResponse(token=_token(login.access), refresh_token=_refresh_token(login))

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        """End the caller's login, or all of them."""
        await self._authenticator.logout(principal(), all_devices=request.all_devices)
        return pb.LogoutResponse()

    async def ListLogins(self, request: pb.ListLoginsRequest, context: Context) -> pb.ListLoginsResponse:
        """Return the caller's logins."""
        caller = principal()
        return pb.ListLoginsResponse(
            logins=[
                pb.LoginEntry(
                    login_id=one.login_id,
                    create_time=timestamp(one.create_time),
                    last_use_time=timestamp(one.last_use_time),
                    expire_time=timestamp(one.expire_time),
                    current=one.login_id == caller.login_id,
                )
                for one in await self._authenticator.logins(caller)
            ]
        )

    async def EndLogin(self, request: pb.EndLoginRequest, context: Context) -> pb.EndLoginResponse:
        """End one of them."""
        await self._authenticator.end_login(principal(), request.login_id)
        return pb.EndLoginResponse()

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        """Return the caller."""
        return pb.GetMeResponse(user=user_message(await self._authenticator.account(principal().user_id)))

    async def UpdateMe(self, request: pb.UpdateMeRequest, context: Context) -> pb.UpdateMeResponse:
        """Change the name to show, where the mask or a name says so."""
        user_id = principal().user_id
        if request.update_mask.paths or request.display_name:
            account = await self._authenticator.rename(user_id, request.display_name)
        else:
            account = await self._authenticator.account(user_id)
        return pb.UpdateMeResponse(user=user_message(account))

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> pb.ChangePasswordResponse:
        """Set a new password."""
        access = await self._authenticator.change_password(principal(), request.current_password, request.new_password)
        return pb.ChangePasswordResponse(token=_token(access))

    async def DeleteMe(self, request: pb.DeleteMeRequest, context: Context) -> pb.DeleteMeResponse:
        """End the caller's account."""
        await self._authenticator.delete(principal(), request.current_password)
        return pb.DeleteMeResponse()

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        """Make a key. What is kept as the answer to the request_id has no secret."""
        user_id, secret = principal().user_id, Secret.new(API_KEY_PREFIX)
        expire_time = request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None
        scope = Scope.READ if request.scope == pb.API_KEY_SCOPE_READ else Scope.TRADE
        key = ApiKey(str(uuid.uuid4()), request.name, self._api_keys.now(), expire_time, scope=scope)
        answer = pb.CreateApiKeyResponse(api_key=_api_key(key))
        once = Once.of(user_id, CREATE_API_KEY, request, answer)
        earlier = await self._api_keys.create(user_id, key, secret.hash, once)
        if earlier is not None:
            return pb.CreateApiKeyResponse.FromString(earlier)
        answer.secret = secret.text
        return answer

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        """Return a page of the caller's keys, the newest first."""
        size = paging.page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE)
        found = await self._api_keys.newest(principal().user_id, _before(request.page_token), size + 1)
        page = found[:size]
        token = ""
        if len(found) > size:
            token = paging.write_token(LIST_API_KEYS, page[-1].create_time.isoformat(), page[-1].api_key_id)
        return pb.ListApiKeysResponse(api_keys=[_api_key(key) for key in page], next_page_token=token)

    async def DeleteApiKey(self, request: pb.DeleteApiKeyRequest, context: Context) -> pb.DeleteApiKeyResponse:
        """Delete one of the caller's keys."""
        await self._api_keys.delete(principal().user_id, request.api_key_id)
        return pb.DeleteApiKeyResponse()

    async def ExchangeApiKey(self, request: pb.ExchangeApiKeyRequest, context: Context) -> pb.ExchangeApiKeyResponse:
        """Trade a key for an access token."""
        return pb.ExchangeApiKeyResponse(token=_token(await self._api_keys.exchange(request.secret)))


def _before(token: str) -> tuple[datetime, str] | None:
    keys = paging.read_token(LIST_API_KEYS, token, 2)
    if keys is None:
        return None
    try:
        create_time = datetime.fromisoformat(str(keys[0]))
        api_key_id = str(uuid.UUID(str(keys[1])))
    except ValueError:
        raise paging.bad_token() from None
    if create_time.tzinfo is None:
        raise paging.bad_token()
    return create_time, api_key_id


def user_message(account: Account) -> pb.User:
    """Write what users see of their account."""
    return pb.User(
        user_id=account.user_id,
        email=account.email,
        display_name=account.display_name,
        create_time=timestamp(account.create_time),
    )


def _token(access: AccessToken) -> pb.AccessToken:
    return pb.AccessToken(token=access.token, expire_time=Timestamp(seconds=access.expires_at))


def _refresh_token(login: Login) -> pb.RefreshToken:
    return pb.RefreshToken(token=login.refresh_token, expire_time=timestamp(login.refresh_expire_time))


def _api_key(key: ApiKey) -> pb.ApiKey:
    return pb.ApiKey(
        api_key_id=key.api_key_id,
        name=key.name,
        create_time=timestamp(key.create_time),
        expire_time=timestamp(key.expire_time) if key.expire_time else None,
        last_use_time=timestamp(key.last_use_time) if key.last_use_time else None,
        scope=pb.API_KEY_SCOPE_READ if key.scope is Scope.READ else pb.API_KEY_SCOPE_TRADE,
    )


def timestamp(time: datetime) -> Timestamp:
    """Write a time."""
    written = Timestamp()
    written.FromDatetime(time)
    return written
