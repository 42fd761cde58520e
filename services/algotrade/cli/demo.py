"""The demo: an account, template strategies, and paper sessions on every feed, made through the gateway.

Whatever is made carries a `request_id` that is computed from what it is: a second start finds the same account, the
same strategies and the same sessions, and goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import grpc
import stamina

from algotrade.cli.failure import CommandError
from algotrade.platform.background import background
from algotrade.platform.channel import open_channel
from algotrade.platform.clock import SECOND_NS, SystemClock
from algotrade.v1 import forward_test_service_pb2 as forward
from algotrade.v1 import health_service_pb2 as health
from algotrade.v1 import identity_service_pb2 as identity
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import strategy_service_pb2 as strategy
from algotrade.v1 import types_pb2
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.health_service_pb2_grpc import HealthServiceStub
from algotrade.v1.identity_service_pb2_grpc import IdentityServiceStub
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

EMAIL: Final = "demo@example.com"
REPLAY_SPEED: Final = 30 * 24 * 3600.0  # a month of daily bars a second
CALL_SECONDS: Final = 15.0
RENEW_BEFORE_SECONDS: Final = 20.0
MOST_SYMBOLS: Final = 4
_NAMESPACE: Final = uuid.UUID("0f6f8bd5-4f0a-4a57-9d3c-7f3a8b8f5d21")
SET_UP_ATTEMPTS: Final = 10
SET_UP_SECONDS: Final = 45.0
_PASSING: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
ENDED: Final = (forward.SESSION_STATUS_STOPPED, forward.SESSION_STATUS_HALTED)


@dataclass(frozen=True, slots=True)
class Plan:
    """A template with the rules of its run. Parameters are picked so that there is something to see, not to earn."""

    template: str
    interval: str
    fee_bps: str
    parameters: Mapping[str, str] = field(default_factory=dict)


ON_TRADES: Final = (
    Plan("sma_cross", "1s", "1", {"fast": "2", "slow": "3"}),
    Plan("bollinger_reversion", "tick", "1"),
)
ON_BARS: Final = (Plan("sma_cross", "native", "10"), Plan("momentum", "native", "10"))


@dataclass(frozen=True, slots=True)
class DemoSession:
    """A running session and what one needs to tell of it."""

    title: str  # the strategy's name
    feed: str  # where its ticks come from: replay, synthetic …
    live: bool  # ticks keep coming; a replay ends some day
    session: forward.Session


class Account:
    """The demo's user. Its password is made once and kept in a file that only its owner reads."""

    def __init__(self, stub: IdentityServiceStub, password_file: Path) -> None:
        """Take the service and where the password is, or will be."""
        self._stub: Any = stub
        self._file = password_file
        self._token: identity.AccessToken | None = None
        self._refresh_token = ""

    def token(self) -> str | None:
        """Return the newest access token."""
        return self._token.token if self._token else None

    async def enter(self) -> None:
        """Log in; register where there is no such account. Raises CommandError where it has another password."""
        if self._file.exists():
            try:
                return await self._login(self._password())
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                    raise
        request = identity.RegisterRequest(email=EMAIL, password=self._password(), display_name="Demo")
        try:
            self._take(await self._stub.Register(request, timeout=CALL_SECONDS))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
            message = f"{EMAIL} has another password than the one in {self._file}"
            raise CommandError("demo_password", message, path=str(self._file)) from None
        return None

    @asynccontextmanager
    async def kept_logged_in(self) -> AsyncIterator[None]:
        """While open, renew the token before it expires."""
        async with background(self._keep_renewing(), "demo-login"):  # without a token the next call tells
            yield

    async def renew(self) -> None:
        """Get the next token; log in again where the login has ended."""
        request = identity.RefreshTokenRequest(refresh_token=self._refresh_token)
        try:
            self._take(await self._stub.RefreshToken(request, timeout=CALL_SECONDS))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            await self._login(self._password())

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(max(1.0, self._seconds_left() - RENEW_BEFORE_SECONDS))
            async for attempt in stamina.retry_context(on=_passes, attempts=None, timeout=None):
                with attempt:  # one whose answer was lost used the refresh token up: then the login has ended
                    await self.renew()

    def _seconds_left(self) -> float:
        return self._token.expire_time.seconds - SystemClock().now_ns() / SECOND_NS if self._token else 0.0

    async def _login(self, password: str) -> None:
        request = identity.LoginRequest(email=EMAIL, password=password)
        self._take(await self._stub.Login(request, timeout=CALL_SECONDS))

    def _take(self, answer: identity.RegisterResponse | identity.LoginResponse | identity.RefreshTokenResponse) -> None:
        self._token, self._refresh_token = answer.token, answer.refresh_token.token

    def _password(self) -> str:
        with suppress(FileNotFoundError):
            return self._file.read_text().strip()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password := secrets.token_urlsafe(18))
        return password


class Demo:
    """Sets the demo up, and asks about it, through the gateway."""

    def __init__(self, gateway_address: str, password_file: Path) -> None:
        """Take where the gateway listens; nothing is called yet."""
        self._channel = open_channel(gateway_address, lambda: self.account.token())
        self.account = Account(IdentityServiceStub(self._channel), password_file)
        self.forward_test: Any = ForwardTestServiceStub(self._channel)
        self._health: Any = HealthServiceStub(self._channel)
        self._market_data: Any = MarketDataServiceStub(self._channel)
        self._strategy: Any = StrategyServiceStub(self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def set_up(self) -> list[DemoSession]:
        """See that account, strategies and running sessions are there. Raises CommandError for what is refused."""
        try:
            async for attempt in stamina.retry_context(on=_passes, attempts=SET_UP_ATTEMPTS, timeout=SET_UP_SECONDS):
                with attempt:  # nothing is made twice, so all of it may be tried again
                    await self.account.enter()
                    return await self._sessions()
        except grpc.aio.AioRpcError as error:
            message = f"the demo cannot be set up: {error.code().name}: {error.details()}"
            raise CommandError("demo_refused", message) from None
        raise AssertionError("a retry ends with an answer or an error")

    async def session(self, session_id: str) -> forward.Session:
        """Ask how a session is."""
        request = forward.GetSessionRequest(session_id=session_id)
        response: forward.GetSessionResponse = await self.forward_test.GetSession(request, timeout=CALL_SECONDS)
        return response.session

    async def ill(self) -> list[str]:
        """Ask for the health of everything; return what is wrong."""
        try:
            found = await self._health.GetDetailedHealth(health.GetDetailedHealthRequest(), timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            return [f"health: {error.code().name}: {error.details()}"]
        return [
            f"{service.service}: {dependency.name}: {dependency.detail}"
            for service in found.services
            for dependency in service.dependencies
            if dependency.status != health.HEALTH_STATUS_HEALTHY
        ]

    async def _sessions(self) -> list[DemoSession]:
        listed = await self._market_data.ListSymbols(market.ListSymbolsRequest(), timeout=CALL_SECONDS)
        return [
            await self._session(plan, symbol)
            for symbol in listed.symbols[:MOST_SYMBOLS]
            for plan in (ON_BARS if symbol.bars else ON_TRADES)
        ]

    async def _session(self, plan: Plan, symbol: market.Symbol) -> DemoSession:
        saved = await self._saved(plan.template)
        settings = types_pb2.RunSettings(interval=plan.interval, fee_bps=plan.fee_bps)
        request = forward.CreateSessionRequest(
            strategy_id=saved.strategy_id,
            strategy_version=saved.version,
            symbol=symbol.symbol,
            settings=settings,
            parameters=plan.parameters,
        )
        live = symbol.provider != "replay"
        for generation in range(1000):  # one that somebody has stopped stays as it is, another takes its place
            request.request_id = ""
            request.request_id = _id_of("session", str(generation), request.SerializeToString(deterministic=True))
            created = await self.forward_test.CreateSession(request, timeout=CALL_SECONDS)
            session = await self.session(created.session.session_id)
            if session.status not in ENDED:
                break
        if session.status == forward.SESSION_STATUS_CREATED:
            start = forward.StartSessionRequest(session_id=session.session_id)
            session = (await self.forward_test.StartSession(start, timeout=CALL_SECONDS)).session
        return DemoSession(saved.name, symbol.provider, live, session)

    async def _saved(self, template: str) -> strategy.Strategy:
        graph = (files("algotrade.strategy") / "templates" / f"{template}.json").read_text(encoding="utf-8")
        request = strategy.CreateStrategyRequest(
            request_id=_id_of("strategy", graph), description=json.loads(graph)["description"], graph=graph
        )
        response: strategy.CreateStrategyResponse = await self._strategy.CreateStrategy(request, timeout=CALL_SECONDS)
        return response.strategy


def _passes(error: Exception) -> bool:
    """Tell whether a call may do better when it is tried again."""
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in _PASSING


def _id_of(*parts: str | bytes) -> str:
    """A request_id that is the same for the same thing."""
    joined = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return str(uuid.uuid5(_NAMESPACE, joined.hex()))
