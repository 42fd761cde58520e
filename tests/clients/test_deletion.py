"""An account that goes takes all that is its own along, while everybody else's goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from algotrade.platform.audit import first_broken
from algotrade.platform.policy import Access
from clients.api import BY_NAME, EVERY
from clients.conftest import Stage
from clients.samples import PASSWORD, World

# Where a user's id may stay for a while: messages on their way and in the log, which forgets them; tokens that are
# refused until they would have expired.
PASSING = {"bus_log", "outbox", "bus_outbox", "token_revocations"}


async def tables_with(stage: Stage, *words: str) -> set[str]:
    """Return the tables that have a row in which one of these words stands."""
    listed = text(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('audit_log', 'trade_seals')"
    )
    found = set()
    async with stage.database.connect() as connection:
        for table in (await connection.execute(listed)).scalars().all():
            query = text(f"SELECT 1 FROM {table} AS t WHERE CAST(t AS text) ~ :words LIMIT 1")
            if (await connection.execute(query, {"words": "|".join(words)})).first():
                found.add(table)
    return found


async def furnished(stage: Stage) -> tuple[World, list[str]]:
    """Return a user with something in every service, a session that trades among it; and the ids."""
    world = await stage.newcomer()
    await world.rule()
    await world.notified()
    ids = [world.user_id, world.email, await world.strategy(), await world.backtest(), await world.optimization()]
    ids += [await world.session("RUNNING"), await world.session("CREATED"), await world.traded()]
    ids += [await world.channel(), await world.rule(), (await world.api_key())[0]]
    await world.do("MarketDataService.Subscribe", symbol="AAPL")
    return world, ids


async def test_all_that_is_a_users_goes_with_the_account(stage: Stage, bob: World) -> None:
    world, ids = await furnished(stage)
    kept = await bob.session("RUNNING")
    full = await tables_with(stage, *ids)
    async with stage.database.connect() as connection:
        actor = text("SELECT audit_actor FROM users WHERE user_id = :user_id")
        pseudonym = (await connection.execute(actor, {"user_id": world.user_id})).scalar_one()
    assert full >= {
        "users", "logins", "api_keys", "strategies", "strategy_versions", "backtest_results", "optimizations",
        "forward_test_sessions", "notification_channels", "notification_rules", "notifications", "subscriptions",
    }  # fmt: skip
    wrong = await world.ask("IdentityService.DeleteMe", current_password="not the password")
    assert wrong.error == ("INVALID_ARGUMENT", "PASSWORD_WRONG")
    assert await tables_with(stage, *ids) >= full - PASSING
    await world.do("IdentityService.DeleteMe", current_password=PASSWORD)
    assert await tables_with(stage, *ids) <= PASSING
    async with stage.database.connect() as connection:
        assert await first_broken(connection) is None
        last = "SELECT action FROM audit_log WHERE actor = :actor ORDER BY number DESC LIMIT 1"
        assert (await connection.execute(text(last), {"actor": pseudonym})).scalar_one() == "account_deleted"
    for rpc in (BY_NAME["IdentityService.GetMe"], BY_NAME["StrategyService.ListStrategies"]):
        assert (await stage.direct(rpc, rpc.request(), world.token)).error == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    login = await world.ask("IdentityService.Login", email=world.email, password=PASSWORD)
    assert login.error == ("UNAUTHENTICATED", "CREDENTIALS_INVALID")
    await goes_on(bob, kept)


async def goes_on(world: World, session_id: str) -> None:
    """See a session take ticks."""
    first = (await world.do("ForwardTestService.GetSession", session_id=session_id)).session.last_tick_sequence
    async with asyncio.timeout(20):
        while True:
            now = (await world.do("ForwardTestService.GetSession", session_id=session_id)).session
            if now.last_tick_sequence > first:
                break
    await world.do("ForwardTestService.StopSession", session_id=session_id, mode=2)


async def test_sessions_whose_rows_are_gone_hold_nobody_up(stage: Stage, bob: World) -> None:
    """As where a session is started between the end of the others and the end of the account."""
    world = await stage.newcomer()
    gone, kept = [await world.session("RUNNING") for _ in range(3)], await bob.session("RUNNING")
    async with stage.database.begin() as connection:
        await connection.execute(text("DELETE FROM users WHERE user_id = :user_id"), {"user_id": world.user_id})
    await goes_on(bob, kept)
    assert await tables_with(stage, *gone) <= PASSING


async def drained(stream: Any) -> None:
    """Read to the end."""
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_an_open_stream_ends_with_the_account(stage: Stage) -> None:
    world = await stage.newcomer()
    rpc = BY_NAME["MarketDataService.StreamTicks"]
    async with grpc.aio.insecure_channel(stage.settings.gateway_address) as channel:
        call: Any = channel.unary_stream(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
        stream = call(rpc.request(symbol="BTC-USD"), metadata=[("authorization", f"Bearer {world.token}")])
        assert await stream.read() is not grpc.aio.EOF
        await world.do("IdentityService.DeleteMe", current_password=PASSWORD)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await drained(stream)
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_only_identity_calls_what_ends_a_users_things() -> None:
    assert {str(rpc) for rpc in EVERY if rpc.access is Access.SERVICE} == {
        "ForwardTestService.EndUserSessions",
        "BacktestService.DeleteUserBacktests",
    }
