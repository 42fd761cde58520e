"""Callers of IdentityService: anyone, and accounts with what they hold."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
from argon2 import PasswordHasher

from algotrade.identity import __main__ as identity
from algotrade.platform.clock import SECOND_NS, SystemClock
from algotrade.v1 import identity_service_pb2 as pb
from algotrade.v1.identity_service_pb2_grpc import IdentityServiceStub

PASSWORD = "correct horse battery"


class MovableClock(SystemClock):
    """The machine's clock, moved ahead."""

    def __init__(self) -> None:
        self.ahead_seconds = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.ahead_seconds * SECOND_NS


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def channel(serve, connect, monkeypatch) -> grpc.aio.Channel:
    """Return a channel to identity's process, with hashes that cost nothing."""
    monkeypatch.setattr(identity, "PasswordHasher", partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1))
    return connect(await serve(identity.build, identity.build_admin))


@pytest.fixture
async def stub(channel) -> Any:
    """Return the service."""
    return IdentityServiceStub(channel)


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@dataclass
class Device:
    """What one login of an account holds."""

    stub: Any
    user: pb.User
    token: str
    refresh_token: str

    def as_me(self) -> dict[str, Any]:
        return {"metadata": (("authorization", f"Bearer {self.token}"),)}

    async def refresh(self) -> None:
        answer = await self.stub.RefreshToken(pb.RefreshTokenRequest(refresh_token=self.refresh_token))
        self.token, self.refresh_token = answer.token.token, answer.refresh_token.token

    def me(self) -> Awaitable[Any]:
        return self.stub.GetMe(pb.GetMeRequest(), **self.as_me())


@pytest.fixture
def enter(stub: Any) -> Callable[..., Awaitable[Device]]:
    """Return ``await enter(email)``: a login of the account, which is made if there is none."""

    async def login(email: str = "ada@example.com", password: str = PASSWORD) -> Device:
        try:
            answer = await stub.Register(pb.RegisterRequest(email=email, password=password))
        except grpc.aio.AioRpcError:
            answer = await stub.Login(pb.LoginRequest(email=email, password=password))
        return Device(stub, answer.user, answer.token.token, answer.refresh_token.token)

    return login
