"""A good request for every RPC, and the user who may make it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from graphs import sma_cross

from algotrade.v1 import backtest_service_pb2 as backtest
from algotrade.v1 import forward_test_service_pb2 as forward
from clients.api import BY_NAME, Rpc
from clients.callers import Answer, Caller

PASSWORD: Final = "correct horse battery staple"
GRAPH: Final = json.dumps(sma_cross(3, 7))
TEMPLATE: Final = (files("algotrade.strategy") / "templates" / "sma_cross.json").read_text(encoding="utf-8")
OPTIMIZATION: Final[Mapping[str, Any]] = {
    "graph": TEMPLATE,
    "sample": "AAPL",
    "axes": {"fast": "5:15:5", "slow": "20,40"},
    "method": backtest.OPTIMIZATION_METHOD_GRID,
}
HISTORY: Final[Mapping[str, Any]] = {  # of the sample, for which nobody is asked
    "symbol": "AAPL",
    "provider": "sample",
    "interval": "1d",
    "start_time": Timestamp(seconds=1_577_836_800),
    "end_time": Timestamp(seconds=1_583_020_800),
}
CHANNEL_URL: Final = "jsons://nowhere.invalid/hook"  # a name that cannot be, so nothing leaves the machine
BARS_SYMBOL, TICKS_SYMBOL = "AAPL", "BTC-USD"


class World:
    """A user with an account, and the things of this user that requests name."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._kept: dict[str, str] = {}
        self.email = f"{uuid.uuid4()}@example.com"
        self.token = self.refresh_token = self.user_id = ""

    @classmethod
    async def registered(cls, caller: Caller) -> World:
        world = cls(caller)
        reply = await world.do("IdentityService.Register", email=world.email, password=PASSWORD)
        world.token, world.refresh_token = reply.token.token, reply.refresh_token.token
        world.user_id = reply.user.user_id
        return world

    async def log_in(self) -> None:
        reply = await self.do("IdentityService.Login", email=self.email, password=PASSWORD)
        self.token, self.refresh_token = reply.token.token, reply.refresh_token.token

    async def ask(self, name: str, /, **fields: Any) -> Answer:
        rpc = BY_NAME[name]
        return await self._caller(rpc, rpc.request(**fields), self.token or None)

    async def do(self, name: str, /, **fields: Any) -> Any:
        answer = await self.ask(name, **fields)
        assert answer.code == "OK", (name, fields, answer)
        return answer.reply

    async def strategy(self, *, fresh: bool = False) -> str:
        if not fresh and "strategy" in self._kept:
            return self._kept["strategy"]
        made = (await self.do("StrategyService.CreateStrategy", graph=GRAPH)).strategy
        if not fresh:
            self._kept |= {"strategy": made.strategy_id, "artefact": made.artefact_hash}
        return str(made.strategy_id)

    async def strategy_of(self, graph: str) -> str:
        """Save a drawing as a strategy."""
        return str((await self.do("StrategyService.CreateStrategy", graph=graph)).strategy.strategy_id)

    async def artefact(self) -> str:
        await self.strategy()
        return self._kept["artefact"]

    async def session(self, status: str = "CREATED", symbol: str = TICKS_SYMBOL) -> str:
        """Make a session and bring it to a status."""
        strategy_id = await self.strategy()
        settings = {"interval": "native" if symbol == BARS_SYMBOL else "tick"}
        made = await self.do(
            "ForwardTestService.CreateSession", strategy_id=strategy_id, symbol=symbol, settings=settings
        )
        session_id: str = made.session.session_id
        for verb in {"CREATED": (), "RUNNING": ("Start",), "PAUSED": ("Start", "Pause")}[status]:
            await self.do(f"ForwardTestService.{verb}Session", session_id=session_id)
        return session_id

    async def traded(self) -> str:
        """Return a session over the replay that has traded all of it."""
        if "traded" not in self._kept:
            self._kept["traded"] = session_id = await self.session("RUNNING", BARS_SYMBOL)
            listed = await self.do("MarketDataService.ListSymbols")
            last = next(one.last_sequence for one in listed.symbols if one.symbol == BARS_SYMBOL)
            while True:
                found = await self.do("ForwardTestService.GetSession", session_id=session_id)
                if found.session.last_tick_sequence >= last:
                    break
        return self._kept["traded"]

    async def backtest(self, *, fresh: bool = False) -> str:
        """Return a backtest that has ended."""
        if not fresh and "backtest" in self._kept:
            return self._kept["backtest"]
        found = (await self.do("BacktestService.StartBacktest", graph=GRAPH, sample="AAPL")).backtest
        while found.state in (backtest.BACKTEST_STATE_QUEUED, backtest.BACKTEST_STATE_RUNNING):
            found = (await self.do("BacktestService.GetBacktest", backtest_id=found.backtest_id)).backtest
        assert found.state == backtest.BACKTEST_STATE_SUCCEEDED, found
        if not fresh:
            self._kept |= {"backtest": found.backtest_id, "data": found.data_hash}
        return str(found.backtest_id)

    async def data(self) -> str:
        await self.backtest()
        return self._kept["data"]

    async def optimization(self, *, fresh: bool = False) -> str:
        """Return an optimisation that has ended."""
        if not fresh and "optimization" in self._kept:
            return self._kept["optimization"]
        found = (await self.do("BacktestService.StartOptimization", **OPTIMIZATION)).optimization
        while found.state in (backtest.OPTIMIZATION_STATE_QUEUED, backtest.OPTIMIZATION_STATE_RUNNING):
            asked = {"optimization_id": found.optimization_id}
            found = (await self.do("BacktestService.GetOptimization", **asked)).optimization
        assert found.state == backtest.OPTIMIZATION_STATE_SUCCEEDED, found
        if not fresh:
            self._kept["optimization"] = found.optimization_id
        return str(found.optimization_id)

    async def api_key(self) -> tuple[str, str]:
        made = await self.do("IdentityService.CreateApiKey", name="bot")
        return made.api_key.api_key_id, made.secret

    async def somebody(self) -> str:
        """Return the id of a user who is nobody else's."""
        email = f"{uuid.uuid4()}@example.com"
        return str((await self.do("IdentityService.Register", email=email, password=PASSWORD)).user.user_id)

    async def channel(self, *, fresh: bool = False) -> str:
        if not fresh and "channel" in self._kept:
            return self._kept["channel"]
        made = (await self.do("NotificationService.CreateChannel", name="here", url=CHANNEL_URL)).channel
        if not fresh:
            self._kept["channel"] = made.channel_id
        return str(made.channel_id)

    async def rule(self, *, fresh: bool = False) -> str:
        if not fresh and "rule" in self._kept:
            return self._kept["rule"]
        made = (await self.do("NotificationService.CreateRule", channel_id=await self.channel())).rule
        if not fresh:
            self._kept["rule"] = made.rule_id
        return str(made.rule_id)

    async def notified(self) -> int:
        """Return the sequence of the newest notification, once there is one."""
        await self.traded()
        while not (found := await self.do("NotificationService.ListNotifications")).last_sequence:
            pass
        return int(found.last_sequence)


Fields = Mapping[str, Any]
_STATIC: Final[Mapping[str, Fields]] = {
    "AdminService.ListUsers": {},
    "AdminService.ListAuditEvents": {},
    "HealthService.GetDetailedHealth": {},
    "IdentityService.Logout": {},
    "IdentityService.GetMe": {},
    "IdentityService.UpdateMe": {"display_name": "Ada", "update_mask": {"paths": ["display_name"]}},
    "IdentityService.ChangePassword": {"current_password": PASSWORD, "new_password": PASSWORD[::-1]},
    "IdentityService.DeleteMe": {"current_password": PASSWORD},
    "IdentityService.CreateApiKey": {"name": "bot"},
    "IdentityService.ListApiKeys": {},
    "IdentityService.ListLogins": {},
    "MarketDataService.ListSymbols": {},
    "MarketDataService.GetWindow": {"symbol": BARS_SYMBOL, "limit": 3},
    "MarketDataService.StreamTicks": {"symbol": BARS_SYMBOL, "after_sequence": 6000},
    "MarketDataService.ListBars": {"symbol": BARS_SYMBOL, "page_size": 3},
    "MarketDataService.StreamBars": {"symbol": BARS_SYMBOL, "after_time": {"seconds": 1_700_000_000}},
    "MarketDataService.ListHistoryProviders": {},
    "MarketDataService.ListHistory": {"history": HISTORY},
    "MarketDataService.ConfigureWindow": {"symbol": BARS_SYMBOL, "ticks": 20_000},
    "MarketDataService.Subscribe": {"symbol": TICKS_SYMBOL},
    "MarketDataService.Unsubscribe": {"symbol": TICKS_SYMBOL},
    "MarketDataService.ListSubscriptions": {},
    "StrategyService.CreateStrategy": {"graph": GRAPH},
    "StrategyService.ListStrategies": {},
    "StrategyService.ListTemplates": {},
    "StrategyService.TestRunStrategy": {"graph": GRAPH, "bars": 50},
    "StrategyService.ValidateStrategy": {"graph": GRAPH},
    "StrategyService.ListNodeTypes": {},
    "BacktestService.StartBacktest": {"graph": GRAPH, "sample": "AAPL"},
    "BacktestService.ListBacktests": {},
    "BacktestService.GetBars": {"sample": "AAPL"},
    "BacktestService.StartOptimization": OPTIMIZATION,
    "BacktestService.ListOptimizations": {},
    "ForwardTestService.ListSessions": {},
    "ForwardTestService.ListPositions": {},
    "NotificationService.ListNotifications": {},
    "NotificationService.CreateChannel": {"name": "here", "url": CHANNEL_URL},
    "NotificationService.ListChannels": {},
    "NotificationService.ListRules": {},
    "NotificationService.ListDeliveries": {},
    "RealtimeService.StreamUpdates": {"symbols": [TICKS_SYMBOL]},
}


async def _strategy(world: World) -> Fields:
    return {"strategy_id": await world.strategy()}


async def _backtest(world: World) -> Fields:
    return {"backtest_id": await world.backtest()}


async def _optimization(world: World) -> Fields:
    return {"optimization_id": await world.optimization()}


async def _delete_optimization(world: World) -> Fields:
    return {"optimization_id": await world.optimization(fresh=True)}


async def _traded(world: World) -> Fields:
    return {"session_id": await world.traded()}


def _session(status: str, **more: Any) -> Callable[[World], Awaitable[Fields]]:
    async def fields(world: World) -> Fields:
        return {"session_id": await world.session(status), **more}

    return fields


async def _register(world: World) -> Fields:
    return {"email": f"{uuid.uuid4()}@example.com", "password": PASSWORD}


async def _login(world: World) -> Fields:
    return {"email": world.email, "password": PASSWORD}


async def _refresh_token(world: World) -> Fields:
    return {"refresh_token": world.refresh_token}


async def _end_login(world: World) -> Fields:
    """Name a login that is not the one the others call with."""
    await world.do("IdentityService.Login", email=world.email, password=PASSWORD)
    logins = (await world.do("IdentityService.ListLogins")).logins
    return {"login_id": next(one.login_id for one in logins if not one.current)}


async def _delete_key(world: World) -> Fields:
    return {"api_key_id": (await world.api_key())[0]}


async def _exchange_key(world: World) -> Fields:
    return {"secret": (await world.api_key())[1]}


async def _update_strategy(world: World) -> Fields:
    return {"strategy_id": await world.strategy(), "update_mask": {"paths": ["graph"]}, "graph": TEMPLATE}


async def _delete_strategy(world: World) -> Fields:
    return {"strategy_id": await world.strategy(fresh=True)}


async def _explained_bar(world: World) -> Fields:
    return {**await _backtest(world), "time": Timestamp(seconds=1_577_923_200)}  # 2020-01-02


async def _delete_backtest(world: World) -> Fields:
    return {"backtest_id": await world.backtest(fresh=True)}


async def _notifications(world: World) -> Fields:
    return {"after_sequence": await world.notified() - 1}


async def _mark_read(world: World) -> Fields:
    return {"up_to_sequence": await world.notified()}


def _channel(*, fresh: bool = False, **more: Any) -> Callable[[World], Awaitable[Fields]]:
    async def fields(world: World) -> Fields:
        return {"channel_id": await world.channel(fresh=fresh), **more}

    return fields


def _rule(*, fresh: bool = False, **more: Any) -> Callable[[World], Awaitable[Fields]]:
    async def fields(world: World) -> Fields:
        return {"rule_id": await world.rule(fresh=fresh), **more}

    return fields


async def _create_rule(world: World) -> Fields:
    return {"channel_id": await world.channel(), "choice": {"throttle_seconds": 60}}


async def _artefact(world: World) -> Fields:
    return {"artefact_hash": await world.artefact()}


async def _create_session(world: World) -> Fields:
    return {"strategy_id": await world.strategy(), "symbol": TICKS_SYMBOL, "settings": {"interval": "tick"}}


async def _user(world: World) -> Fields:
    return {"user_id": world.user_id}


async def _disabled(world: World) -> Fields:
    return {"user_id": await world.somebody(), "reason": "asked to"}


_MADE: Final[Mapping[str, Callable[[World], Awaitable[Fields]]]] = {
    "AdminService.GetUser": _user,
    "AdminService.DisableUser": _disabled,
    "AdminService.EnableUser": _user,
    "IdentityService.Register": _register,
    "IdentityService.Login": _login,
    "IdentityService.RefreshToken": _refresh_token,
    "IdentityService.DeleteApiKey": _delete_key,
    "IdentityService.EndLogin": _end_login,
    "IdentityService.ExchangeApiKey": _exchange_key,
    "StrategyService.GetStrategy": _strategy,
    "StrategyService.ListStrategyVersions": _strategy,
    "StrategyService.UpdateStrategy": _update_strategy,
    "StrategyService.DeleteStrategy": _delete_strategy,
    "StrategyService.CompileStrategy": _strategy,
    "StrategyService.GetArtefact": _artefact,
    "BacktestService.RerunBacktest": _backtest,
    "BacktestService.WatchBacktest": _backtest,
    "BacktestService.CancelBacktest": _backtest,
    "BacktestService.GetBacktest": _backtest,
    "BacktestService.ListBacktestTrades": _backtest,
    "BacktestService.GetBacktestEquity": _backtest,
    "BacktestService.ExplainBar": _explained_bar,
    "BacktestService.GetProbe": _backtest,
    "BacktestService.DeleteBacktest": _delete_backtest,
    "BacktestService.WatchOptimization": _optimization,
    "BacktestService.CancelOptimization": _optimization,
    "BacktestService.GetOptimization": _optimization,
    "BacktestService.ListOptimizationTrials": _optimization,
    "BacktestService.DeleteOptimization": _delete_optimization,
    "ForwardTestService.CreateSession": _create_session,
    "ForwardTestService.StartSession": _session("CREATED"),
    "ForwardTestService.StopSession": _session("RUNNING", mode=forward.STOP_MODE_KEEP),
    "ForwardTestService.PauseSession": _session("RUNNING"),
    "ForwardTestService.ResumeSession": _session("PAUSED"),
    "ForwardTestService.FlattenSession": _session("RUNNING"),
    "ForwardTestService.DeleteSession": _session("CREATED"),
    "ForwardTestService.GetSession": _traded,
    "ForwardTestService.StreamSession": _traded,
    "ForwardTestService.ListTrades": _traded,
    "ForwardTestService.GetMetrics": _traded,
    "ForwardTestService.ListChartPoints": _traded,
    "ForwardTestService.VerifyParity": _traded,
    "NotificationService.StreamNotifications": _notifications,
    "NotificationService.MarkRead": _mark_read,
    "NotificationService.GetChannel": _channel(),
    "NotificationService.UpdateChannel": _channel(update_mask={"paths": ["name"]}, name="there"),
    "NotificationService.DeleteChannel": _channel(fresh=True),
    "NotificationService.TestChannel": _channel(),
    "NotificationService.CreateRule": _create_rule,
    "NotificationService.GetRule": _rule(),
    "NotificationService.UpdateRule": _rule(update_mask={"paths": ["disabled"]}, disabled=True),
    "NotificationService.DeleteRule": _rule(fresh=True),
}
SAMPLED: Final = {*_STATIC, *_MADE}
# These end the login or the token that others of the same user go on with.
ENDS_LOGIN: Final = {
    "IdentityService.Logout",
    "IdentityService.ChangePassword",
    "IdentityService.RefreshToken",
    "IdentityService.DeleteMe",
}


async def sample(rpc: Rpc, world: World) -> Message:
    """Return a request that this user makes and that is answered with OK."""
    name = str(rpc)
    fields = _STATIC[name] if name in _STATIC else await _MADE[name](world)
    return rpc.request(**fields)
