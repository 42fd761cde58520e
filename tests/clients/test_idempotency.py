"""Every RPC with a request_id: however often the same request comes, it has one effect and one answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, Final

import pytest
from google.protobuf.message import Message
from sqlalchemy import text

from clients.api import ONCE, Rpc
from clients.callers import called_at_once
from clients.conftest import Stage
from clients.samples import World, sample

_COMMANDS: Final = "session_commands JOIN forward_test_sessions USING (session_id)"
# What a call changes: a table whose rows it adds to, or takes away from, of one user.
TOUCHES: Final[Mapping[str, str]] = {
    "IdentityService.CreateApiKey": "api_keys",
    "StrategyService.CreateStrategy": "strategies",
    "StrategyService.UpdateStrategy": "strategy_versions JOIN strategies USING (strategy_id)",
    "BacktestService.StartBacktest": "backtest_results",
    "BacktestService.RerunBacktest": "backtest_results",
    "BacktestService.StartOptimization": "optimizations",
    "ForwardTestService.CreateSession": "forward_test_sessions",
    "ForwardTestService.StartSession": _COMMANDS,
    "ForwardTestService.PauseSession": _COMMANDS,
    "ForwardTestService.ResumeSession": _COMMANDS,
    "ForwardTestService.FlattenSession": _COMMANDS,
    "ForwardTestService.DeleteSession": "forward_test_sessions",
    "NotificationService.CreateChannel": "notification_channels",
    "NotificationService.CreateRule": "notification_rules",
}


def test_it_is_known_what_each_touches() -> None:
    assert {str(rpc) for rpc in ONCE} == TOUCHES.keys()


def told(reply: Message) -> Any:
    """What every answer to one request has in common.

    A command answers with the session as it is by then, whose figures move with the feed. A secret is shown once.
    """
    copy = type(reply).FromString(reply.SerializeToString())
    if type(copy).DESCRIPTOR.name == "CreateApiKeyResponse":
        copy.ClearField("secret")
    if type(copy).DESCRIPTOR.name.startswith(("Start", "Pause", "Resume", "Flatten")) and hasattr(copy, "session"):
        return copy.session.session_id, copy.session.status
    return copy


async def rows(stage: Stage, rpc: Rpc, world: World) -> int:
    query = text(f"SELECT count(*) FROM {TOUCHES[str(rpc)]} WHERE user_id = :user_id")
    async with stage.database.connect() as connection:
        return int((await connection.execute(query, {"user_id": uuid.UUID(world.user_id)})).scalar_one())


async def with_id(rpc: Rpc, world: World) -> Any:
    request: Any = await sample(rpc, world)
    request.request_id = str(uuid.uuid4())
    return request


async def another_body(rpc: Rpc, world: World, request: Any) -> Any:
    """Return a good request that has the same id and says something else."""
    other: Any = await sample(rpc, world)
    if rpc.name == "RerunBacktest":
        other.backtest_id = await world.backtest(fresh=True)
    elif rpc.name == "CreateRule":
        other.choice.throttle_seconds += 1
    elif rpc.has("name"):
        other.name = "another"
    other.request_id = request.request_id
    assert other != request
    return other


@pytest.mark.parametrize("way", ["direct", "rest"])
@pytest.mark.parametrize("rpc", ONCE, ids=str)
async def test_one_after_the_other(stage: Stage, ada: World, rpc: Rpc, way: str) -> None:
    call, request = stage.through[way], await with_id(rpc, ada)
    before = await rows(stage, rpc, ada)
    first = await call(rpc, request, ada.token)
    again = await call(rpc, request, ada.token)
    assert (first.code, again.code) == ("OK", "OK"), (first, again)
    assert told(again.reply) == told(first.reply)
    assert abs(await rows(stage, rpc, ada) - before) == 1

    other = await another_body(rpc, ada, request)
    before = await rows(stage, rpc, ada)
    refused = await call(rpc, other, ada.token)
    assert refused.error == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert refused.metadata == {"request_id": request.request_id}
    assert await rows(stage, rpc, ada) == before
    assert told((await call(rpc, request, ada.token)).reply) == told(first.reply)


@pytest.mark.parametrize("rpc", ONCE, ids=str)
async def test_ten_at_once(stage: Stage, ada: World, rpc: Rpc) -> None:
    request = await with_id(rpc, ada)
    before = await rows(stage, rpc, ada)
    answers = await called_at_once(stage.direct, rpc, request, ada.token, 10)
    assert {answer.code for answer in answers} == {"OK"}, answers
    assert all(told(answer.reply) == told(answers[0].reply) for answer in answers)
    assert abs(await rows(stage, rpc, ada) - before) == 1
    if rpc.name == "CreateApiKey":
        assert sum(bool(answer.reply.secret) for answer in answers) == 1


@pytest.mark.parametrize("rpc", ONCE, ids=str)
async def test_of_two_bodies_at_once_one_is_obeyed(stage: Stage, ada: World, rpc: Rpc) -> None:
    request = await with_id(rpc, ada)
    other = await another_body(rpc, ada, request)
    before = await rows(stage, rpc, ada)
    answers = await asyncio.gather(*(stage.direct(rpc, one, ada.token) for one in (request, other)))
    assert sorted(answer.error for answer in answers) == [("ALREADY_EXISTS", "REQUEST_ID_REUSED"), ("OK", "")]
    assert abs(await rows(stage, rpc, ada) - before) == 1


async def test_another_user_may_use_the_same_id(stage: Stage, ada: World, bob: World) -> None:
    rpc = next(rpc for rpc in ONCE if rpc.name == "CreateStrategy")
    request = await with_id(rpc, ada)
    hers = await stage.direct(rpc, request, ada.token)
    his = await stage.direct(rpc, request, bob.token)
    assert hers.reply.strategy.strategy_id != his.reply.strategy.strategy_id
