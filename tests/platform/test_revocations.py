"""Tokens that end before they expire, and streams that end with their tokens: real servers, real channels."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from echo_service import echo
from sqlalchemy import text

from algotrade.platform.cache import MemoryCache
from algotrade.platform.cache_redis import RedisCache
from algotrade.platform.caller import Principal
from algotrade.platform.channel import open_channel
from algotrade.platform.errors import ServiceError, Unauthenticated, Unavailable, info
from algotrade.platform.metrics import Metrics
from algotrade.platform.process import Platform
from algotrade.platform.redis import RedisClient
from algotrade.platform.revocations import CHANNEL, EVERY_VERSION, Revocations, revoke
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

TICKS = pb.StreamTicksRequest(symbol="AAA")
ADA = Principal("ada", "t", 0, "", token_version=3, login_id="phone")


class Stopwatch:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def revocations(database: Any, stopwatch: Stopwatch) -> Revocations:
    return Revocations(database, MemoryCache(Metrics()), poll_seconds=0.02, stale_seconds=30, monotonic=stopwatch)


async def after(database: Any, revocations: Revocations, subject: str, least_version: int = EVERY_VERSION) -> None:
    async with database.begin() as connection:
        await revoke(connection, subject, least_version)
    await revocations.catch_up()


@pytest.mark.parametrize(
    ("subject", "least_version", "refused"),
    [
        ("ada", 4, True),
        ("ada", 3, False),
        ("phone", EVERY_VERSION, True),
        ("laptop", EVERY_VERSION, False),
        ("bob", 9, False),
        ("", EVERY_VERSION, False),
    ],
)
async def test_a_token_is_refused_by_its_user_its_login_and_its_version(
    database, revocations, subject, least_version, refused
):
    await after(database, revocations, "other", 1)
    revocations.check(ADA)
    if subject:
        await after(database, revocations, subject, least_version)
    if refused:
        with pytest.raises(Unauthenticated) as caught:
            revocations.check(ADA)
        assert caught.value.reason == "TOKEN_REVOKED"
    else:
        revocations.check(ADA)


async def test_a_lower_version_does_not_take_a_revocation_back(database, revocations):
    await after(database, revocations, "ada", 4)
    await after(database, revocations, "ada", 2)
    with pytest.raises(Unauthenticated):
        revocations.check(ADA)


async def test_an_old_row_goes_when_no_token_can_be_so_old(database, revocations):
    await after(database, revocations, "ada", 4)
    async with database.begin() as connection:
        await connection.execute(text("UPDATE token_revocations SET revoke_time = now() - interval '2 hours'"))
    await after(database, revocations, "bob", 4)
    revocations.check(ADA)


async def test_while_nobody_can_tell_no_token_is_good(database, revocations, stopwatch):
    with pytest.raises(Unavailable):
        revocations.check(ADA)
    await revocations.catch_up()
    stopwatch.now += 30
    revocations.check(ADA)
    stopwatch.now += 1
    with pytest.raises(ServiceError) as caught:
        revocations.check(ADA)
    assert (caught.value.reason, caught.value.metadata) == ("DEPENDENCY_UNAVAILABLE", {"dependency": "database"})
    await revocations.catch_up()
    revocations.check(ADA)


async def test_an_absent_database_leaves_the_list_as_it_was(database, revocations, stopwatch, monkeypatch):
    await after(database, revocations, "ada", 4)

    def away() -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(revocations, "_database", type("Away", (), {"connect": staticmethod(away)}))
    stopwatch.now += 20
    await revocations.catch_up()
    with pytest.raises(Unauthenticated):
        revocations.check(ADA)
    revocations.check(replace(ADA, token_version=4))
    stopwatch.now += 20
    with pytest.raises(Unavailable):
        revocations.check(ADA)


async def test_the_list_is_read_again_and_again(database, revocations):
    told = asyncio.Event()
    async with revocations.kept_fresh():
        with revocations.told(ADA, told.set):
            async with database.begin() as connection:
                await revoke(connection, "phone")
            async with asyncio.timeout(20):
                await told.wait()
        with pytest.raises(Unauthenticated):
            revocations.check(ADA)


@asynccontextmanager
async def another_process(database: Any, client: RedisClient, poll_seconds: float) -> AsyncIterator[Revocations]:
    cache = RedisCache(client, Metrics(), retry_seconds=0.05)
    revocations = Revocations(database, cache, poll_seconds=poll_seconds, stale_seconds=3600)
    async with revocations.kept_fresh():
        yield revocations


async def refused(revocations: Revocations) -> None:
    """Return when a token of Ada's is no longer good."""
    told = asyncio.Event()
    with revocations.told(ADA, told.set):
        async with asyncio.timeout(20):
            await told.wait()
    with pytest.raises(Unauthenticated):
        revocations.check(ADA)


async def test_other_processes_hear_of_it_through_redis_at_once(database, redis):
    async with another_process(database, redis, 3600) as one, another_process(database, redis, 3600) as two:
        two.check(ADA)
        await heard(redis)
        async with database.begin() as connection:
            await revoke(connection, "phone")
        await one.announce()
        await refused(two)


@pytest.mark.parametrize("loss", ["flushed", "killed", "frozen"])
async def test_without_redis_no_revocation_is_forgotten(database, redis, running_redis, loss):
    """Nothing is told to anybody, and still everybody refuses the token: before the loss, during it and afterwards."""
    async with another_process(database, redis, 0.05) as one, another_process(database, redis, 0.05) as two:
        await heard(redis)
        async with database.begin() as connection:
            await revoke(connection, "ada", 2)
        await one.announce()
        if loss == "flushed":
            await redis.flushall()
        elif loss == "killed":
            await running_redis.server.kill()
        else:
            os.kill(running_redis.server.pid, signal.SIGSTOP)
        try:
            async with database.begin() as connection:
                await revoke(connection, "phone")
            async with asyncio.timeout(20):
                await asyncio.gather(one.announce(), refused(one), refused(two))
            async with another_process(database, redis, 3600) as fresh:
                with pytest.raises(Unauthenticated):
                    fresh.check(ADA)
        finally:
            if loss == "killed":
                await running_redis.server.start()
            elif loss == "frozen":
                os.kill(running_redis.server.pid, signal.SIGCONT)
        for revocations in (one, two):
            await revocations.catch_up()
            with pytest.raises(Unauthenticated):
                revocations.check(ADA)


async def heard(redis: RedisClient) -> None:
    """Return when both processes listen."""
    async with asyncio.timeout(20):
        while (await redis.pubsub_numsub(CHANNEL))[0][1] < 2:
            pass


async def endless(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
    yield pb.StreamTicksResponse(sequence=1)
    await asyncio.Event().wait()


async def drained(call: Any) -> list[pb.StreamTicksResponse]:
    return [message async for message in call]


async def ended(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(drained(call), 20)
    return caught.value.code(), info(caught.value).reason


@pytest.mark.parametrize("subject", ["user", "login"])
async def test_an_open_stream_ends_when_its_token_is_revoked_and_the_others_go_on(serve, platform: Platform, subject):
    changed = {"revocation_poll_seconds": 0.02}
    on = replace(platform, settings=platform.settings.model_copy(update=changed))
    server = await serve(echo(stream=endless), on=on)
    user, login = str(uuid.uuid4()), str(uuid.uuid4())
    mine, _ = platform.signer.access_token(user, 600, ver=0, sid=login)
    other, _ = platform.signer.access_token(user, 600, ver=1, sid=str(uuid.uuid4()))
    async with (
        open_channel(f"127.0.0.1:{server.port}", lambda: mine) as channel,
        open_channel(f"127.0.0.1:{server.port}", lambda: other) as other_channel,
    ):
        call, still = (MarketDataServiceStub(one).StreamTicks(TICKS) for one in (channel, other_channel))
        assert (await call.read()).sequence == (await still.read()).sequence == 1
        async with platform.database.begin() as connection:
            await (revoke(connection, user, 1) if subject == "user" else revoke(connection, login))
        assert await ended(call) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
        assert await ended(MarketDataServiceStub(channel).StreamTicks(TICKS)) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_REVOKED",
        )
        assert not still.done()
        await MarketDataServiceStub(other_channel).GetWindow(pb.GetWindowRequest(symbol="AAA"))


async def test_a_stream_ends_with_its_token(serve, platform: Platform):
    """The token has expired, within the leeway for clocks that differ, so the stream begins and ends at once."""
    changed = {"stream_token_grace_seconds": 0.0, "clock_skew_seconds": 60}
    on = replace(platform, settings=platform.settings.model_copy(update=changed))
    server = await serve(echo(stream=endless), on=on)
    token, _ = platform.signer.access_token("someone", -30)
    async with open_channel(f"127.0.0.1:{server.port}", lambda: token) as channel:
        call = MarketDataServiceStub(channel).StreamTicks(TICKS)
        assert await ended(call) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_within_the_grace_a_stream_goes_on(serve, platform: Platform):
    changed = {"stream_token_grace_seconds": 300.0, "clock_skew_seconds": 60}
    on = replace(platform, settings=platform.settings.model_copy(update=changed))
    server = await serve(echo(), on=on)
    token, _ = platform.signer.access_token("someone", -30)
    async with open_channel(f"127.0.0.1:{server.port}", lambda: token) as channel:
        call = MarketDataServiceStub(channel).StreamTicks(TICKS)
        assert [message.sequence async for message in call] == [0, 1, 2]
