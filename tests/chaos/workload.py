"""A user who trades, commands and watches while the platform dies and comes back, and never gives up asking."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import numpy as np
from chaos.followers import (
    BarFollower,
    Follower,
    InboxFollower,
    Open,
    RunFollower,
    ScreenFollower,
    SessionFollower,
    TickFollower,
    passes,
)
from graphs import drawing

from algotrade.engine import fixed
from algotrade.engine.records import TICK, Records
from algotrade.platform.errors import info
from algotrade.v1 import backtest_service_pb2 as backtest
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import identity_service_pb2 as identity
from algotrade.v1 import strategy_service_pb2 as strategy
from algotrade.v1 import types_pb2
from algotrade.v1.backtest_service_pb2_grpc import BacktestServiceStub
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.identity_service_pb2_grpc import IdentityServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

Kind = TypeVar("Kind", bound=Follower)
REPLAYED: Final = "FILE"
SYMBOLS: Final = ("BTC-USD", "ETH-USD")
CALL_SECONDS: Final = 15.0
CHANNEL: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
)
COMMANDS: Final = ("Pause", "Resume", "Flatten")

# Wants to buy at every tick, so that every tick has an event; sells where the means cross.
EAGER: Final = drawing(
    {
        "p": "price",
        "always": ("compare", {"op": ">", "value": 0}),
        "b": "buy",
        "f": ("sma", {"timeperiod": 2}),
        "s": ("sma", {"timeperiod": 5}),
        "dn": "crossunder",
        "x": "sell",
    },
    "p>always.a always>b p>f.input p>s.input f>dn.a s>dn.b dn>x",
)
GUARDED: Final = drawing(
    {
        "p": "price",
        "f": ("ema", {"timeperiod": 3}),
        "s": ("sma", {"timeperiod": 8}),
        "up": "crossover",
        "dn": "crossunder",
        "b": ("buy", {"size_mode": "percent_equity", "size": 60}),
        "x": "sell",
        "stop_loss": ("stop_loss", {"percent": 0.05}),
        "take_profit": ("take_profit", {"percent": 0.1}),
    },
    "p>f.input p>s.input f>up.a s>up.b up>b f>dn.a s>dn.b dn>x",
)
PLANS: Final = (
    (EAGER, REPLAYED, {"interval": "tick"}),
    (EAGER, SYMBOLS[0], {"interval": "tick", "fee_bps": "2"}),
    (GUARDED, REPLAYED, {"interval": "tick", "fee_bps": "7.5", "slippage_bps": "3"}),
    (GUARDED, SYMBOLS[0], {"interval": "1s"}),
    (GUARDED, SYMBOLS[1], {"interval": "tick", "fee_bps": "1"}),
    (GUARDED, SYMBOLS[1], {"interval": "tick", "initial_cash": "25000.01", "fee_bps": "0"}),
)


def write_trades(path: Path, seed: int, count: int) -> Records:
    """Write a file of trades, one a second, on a jagged walk of prices; return them as ticks."""
    rng = np.random.default_rng(seed)
    ticks = np.zeros(count, TICK)
    ticks["ts"] = (1_600_000_000 + np.arange(count)) * 1_000_000_000
    cents = np.rint(10_000 + np.cumsum(rng.normal(0, 15, count))).clip(100).astype(np.int64)
    ticks["price"] = cents * (fixed.SCALE // 100)
    ticks["size"] = np.round(rng.exponential(1.0, count), 4)
    rows = (f"{t},{fixed.text(p)},{s}" for t, p, s in zip(ticks["ts"], ticks["price"], ticks["size"], strict=True))
    path.write_text("timestamp,price,size\n" + "\n".join(rows) + "\n")
    return ticks


class User:
    """An account with sessions, commands and followers, on two channels: through the gateway, and past it."""

    def __init__(self, gateway: str, direct: str, seed: int, note: Callable[[float], None]) -> None:
        """Take where the platform is whenever it is there."""
        self._random = random.Random(seed)
        self._channels = [grpc.aio.insecure_channel(address, options=CHANNEL) for address in (gateway, direct)]
        self._token = ""
        self._note = note
        self.sessions: dict[str, str] = {}  # running ones, with their symbols
        self.stopped: list[str] = []
        self.asked: Counter[str] = Counter()  # by kind of command, each however often it was sent
        self.answered: Counter[str] = Counter()
        self.backtests: list[str] = []
        self.codes: Counter[str] = Counter()
        self.wanted = ""  # "session" or "backtest": what is to be made next, rather than anything
        self.followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._strategies: dict[int, str] = {}

    @property
    def everything(self) -> list[str]:
        """Every session that was started."""
        return [*self.sessions, *self.stopped]

    async def close(self) -> None:
        for follower in self.followers:
            follower.ended = True  # one whose call is cancelled with it would take that for a cut
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()

    async def call(self, stub: Any, method: str, request: Any) -> Any:
        """Call until there is an answer: a request_id makes that one call, however often it is made."""
        while True:
            call = getattr(stub(self._random.choice(self._channels)), method)
            try:
                return await call(request, timeout=CALL_SECONDS, metadata=self._metadata())
            except grpc.aio.AioRpcError as error:
                self.codes[f"{error.code().name} {info(error).reason}".strip()] += 1
                if not passes(error):
                    raise
                await asyncio.sleep(0.1)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token}"),) if self._token else ()

    async def register(self) -> None:
        """Make the account; the address keeps a repeated call from making a second one."""
        email, password = f"{uuid.uuid4()}@example.com", "correct horse battery"
        try:
            request = identity.RegisterRequest(email=email, password=password)
            answer = await self.call(IdentityServiceStub, "Register", request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:  # that is: the first answer was lost
                raise
            login = identity.LoginRequest(email=email, password=password)
            answer = await self.call(IdentityServiceStub, "Login", login)
        self._token = answer.token.token

    async def trade(self, plan: int) -> str:
        """Make a session by one of `PLANS`, start it, follow it."""
        graph, symbol, settings = PLANS[plan]
        if plan not in self._strategies:
            create = strategy.CreateStrategyRequest(request_id=str(uuid.uuid4()), graph=json.dumps(graph))
            self._strategies[plan] = (
                await self.call(StrategyServiceStub, "CreateStrategy", create)
            ).strategy.strategy_id
        request = pb.CreateSessionRequest(
            request_id=str(uuid.uuid4()),
            strategy_id=self._strategies[plan],
            symbol=symbol,
            settings=types_pb2.RunSettings(**settings),
        )
        made = await self._answered("create", "CreateSession", request)
        session_id = made.session.session_id
        start = pb.StartSessionRequest(session_id=session_id, request_id=str(uuid.uuid4()))
        started = await self._answered("start", "StartSession", start)
        assert started.session.status == pb.SESSION_STATUS_RUNNING
        self.sessions[session_id] = symbol
        self.follow_session(session_id)
        return str(session_id)

    def opener(self) -> Open:
        """Return how a follower opens streams: the first one through the gateway, the next one past it, and so on."""
        channel = self._channels[len(self.followers) % 2]
        return lambda stub, method, request: getattr(stub(channel), method)(request, metadata=self._metadata())

    def follow_session(self, session_id: str) -> None:
        """Follow a session from its first event."""
        name = f"session {session_id}"
        self._follow(SessionFollower(name, self.opener(), self._note, session_id=session_id))

    def follow_symbol(self, symbol: str) -> None:
        """Follow a symbol's ticks and bars from the oldest."""
        self._follow(TickFollower(f"ticks of {symbol}", self.opener(), symbol=symbol))
        self._follow(BarFollower(f"bars of {symbol}", self.opener(), symbol=symbol))

    async def follow_screen(self) -> None:
        """Follow the inbox and the screen; return when both have begun."""
        self._follow(InboxFollower("inbox", self.opener()))
        self._follow(ScreenFollower("screen", self.opener()))
        for follower in self.followers[-2:]:
            await follower.begun.wait()

    def of_kind(self, kind: type[Kind]) -> list[Kind]:
        """Return the followers of a kind."""
        return [one for one in self.followers if isinstance(one, kind)]

    def _follow(self, follower: Follower) -> None:
        self.followers.append(follower)
        self._tasks.append(asyncio.create_task(follower.run()))

    async def steer(self) -> None:
        """Give a command to some session."""
        session_id = self._random.choice(list(self.sessions))
        kind = self._random.choice(COMMANDS)
        request = getattr(pb, f"{kind}SessionRequest")(session_id=session_id, request_id=str(uuid.uuid4()))
        await self._answered(kind.lower(), f"{kind}Session", request)

    async def stop(self) -> None:
        """Stop some session, selling out or not."""
        session_id = self._random.choice(list(self.sessions))
        del self.sessions[session_id]
        self.stopped.append(session_id)
        mode = self._random.choice([pb.STOP_MODE_FLATTEN, pb.STOP_MODE_KEEP])
        await self._answered("stop", "StopSession", pb.StopSessionRequest(session_id=session_id, mode=mode))

    async def _answered(self, kind: str, method: str, request: Any) -> Any:
        self.asked[kind] += 1
        answer = await self.call(ForwardTestServiceStub, method, request)
        self.answered[kind] += 1
        return answer

    async def backtest(self) -> None:
        """Start a backtest over the sample."""
        request = backtest.StartBacktestRequest(
            request_id=str(uuid.uuid4()), graph=json.dumps(PLANS[2][0]), sample="AAPL"
        )
        made = await self.call(BacktestServiceStub, "StartBacktest", request)
        backtest_id = made.backtest.backtest_id
        self.backtests.append(backtest_id)
        self._follow(RunFollower(f"backtest {backtest_id}", self.opener(), backtest_id=backtest_id))

    async def proofs(self, session_ids: Iterable[str]) -> list[Any]:
        """Return the certificates of sessions: the platform's own replays of what is stored."""
        found = []
        for session_id in session_ids:
            request = pb.VerifyParityRequest(session_id=session_id)
            found.append((await self.call(ForwardTestServiceStub, "VerifyParity", request)).certificate)
        return found

    async def results(self) -> list[Any]:
        """Return every backtest once it has ended."""
        found = []
        for backtest_id in self.backtests:
            request = backtest.GetBacktestRequest(backtest_id=backtest_id)
            while True:
                one = (await self.call(BacktestServiceStub, "GetBacktest", request)).backtest
                if one.state not in (backtest.BACKTEST_STATE_QUEUED, backtest.BACKTEST_STATE_RUNNING):
                    found.append(one)
                    break
                await asyncio.sleep(0.05)
        return found

    async def busy(self) -> None:
        """Give commands for ever: now this, now that, with a rest in between."""
        while True:
            kind = self._random.random()
            if self.wanted == "session" or (kind < 0.12 and len(self.sessions) < 9):
                await self.trade(self._random.choice([2, 4, 5]))
            elif kind < 0.22 and len(self.sessions) > 6:
                await self.stop()
            elif self.wanted == "backtest" or kind < 0.3:
                await self.backtest()
            else:
                await self.steer()
            await asyncio.sleep(self._random.uniform(0, 0.25))


@asynccontextmanager
async def trading(user: User) -> AsyncIterator[asyncio.Task[None]]:
    """Have a user give commands while the context is open; the task fails where no asking again could help."""
    task = asyncio.create_task(user.busy())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
