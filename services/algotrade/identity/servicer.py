"""IdentityService on the wire: messages in, messages out."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from algotrade.identity.authenticate import Authenticator, Login
from algotrade.identity.store import Account
from algotrade.platform.caller import principal
from algotrade.v1 import identity_service_pb2 as pb
from algotrade.v1 import identity_service_pb2_grpc as pb_grpc

Context = ServicerContext[Any, Any]


class IdentityServicer(pb_grpc.IdentityServiceServicer):
    """Translates between messages and the authenticator."""

    def __init__(self, authenticator: Authenticator) -> None:
        """Take who decides."""
        self._authenticator = authenticator

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        """Make an account and log it in."""
        login = await self._authenticator.register(request.email, request.password, request.display_name)
        return pb.RegisterResponse(user=_user(login.account), token=_token(login))

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        """Trade an address and a password for a token."""
        login = await self._authenticator.login(request.email, request.password)
        return pb.LoginResponse(user=_user(login.account), token=_token(login))

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        """Return the caller."""
        return pb.GetMeResponse(user=_user(await self._authenticator.account(principal().user_id)))


def _user(account: Account) -> pb.User:
    create_time = Timestamp()
    create_time.FromDatetime(account.create_time)
    return pb.User(
        user_id=account.user_id, email=account.email, display_name=account.display_name, create_time=create_time
    )


def _token(login: Login) -> pb.AccessToken:
    return pb.AccessToken(token=login.token, expire_time=Timestamp(seconds=login.expires_at))
