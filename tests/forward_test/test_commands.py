"""Sessions that are paused, resumed, flattened and deleted."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import grpc
import pytest
from forward_test.test_lifecycle import ROUND_TRIP, TICKS, failure, prices
from forward_test.test_recovery import BrittleLedger, new_worker, working
from graphs import at_prices
from market_data.feeds import ManualFeed
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.forward_test.build import build
from algotrade.forward_test.follow import Worker
from algotrade.forward_test.lane import Lane
from algotrade.forward_test.obey import Obedience
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.postgres_outbox import add_outgoing
from algotrade.forward_test.session import Command, Outgoing
from algotrade.platform.errors import info
from algotrade.platform.process import Platform
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb

PAUSED, RUNNING = pb.SESSION_STATUS_PAUSED, pb.SESSION_STATUS_RUNNING


async def steer(owner: Any, verb: str, session: pb.Session, request_id: str = "") -> pb.Session:
    """Pause, resume or flatten."""
    request = getattr(pb, f"{verb}SessionRequest")(session_id=session.session_id, request_id=request_id)
    response = await getattr(owner.sessions, f"{verb}Session")(request)
    found: pb.Session = response.session
    return found


def delete(owner: Any, session: pb.Session, request_id: str = "") -> Awaitable[pb.DeleteSessionResponse]:
    request = pb.DeleteSessionRequest(session_id=session.session_id, request_id=request_id)
    deleted: Awaitable[pb.DeleteSessionResponse] = owner.sessions.DeleteSession(request)
    return deleted


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Hold every warm-up up until it is set."""
    gate = asyncio.Event()
    read = Worker._read

    async def gated(worker: Worker, front: Sequence[Lane], *args: Any) -> Any:
        return None if front[0].warming and not gate.is_set() else await read(worker, front, *args)

    monkeypatch.setattr(Worker, "_read", gated)
    return gate


async def test_a_paused_session_sells_and_does_not_buy(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    other = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    assert (await steer(ada, "Pause", session)).status == PAUSED
    assert (await steer(ada, "Pause", session)).status == PAUSED  # is so already

    feed.push("AAA", prices(12, 25, 10, 30, first=2))
    session = await ada.at_tick(session, 6)
    assert (session.status, session.quantity, session.realized_pnl) == (PAUSED, "0", "2500")
    entry, sale, rejection = await ada.events(session, 3)
    assert (entry.kind, sale.kind) == (pb.SESSION_EVENT_KIND_ENTRY, pb.SESSION_EVENT_KIND_EXIT)
    assert (rejection.kind, rejection.reason) == (pb.SESSION_EVENT_KIND_REJECTION, "halted")
    other = await ada.at_tick(other, 6)
    assert (other.status, other.average_price) == (RUNNING, "30")  # its neighbour goes on

    assert (await steer(ada, "Resume", session)).status == RUNNING
    feed.push("AAA", prices(10, 40, first=6))
    session = await ada.at_tick(session, 8)
    assert (session.average_price, session.last_sequence) == ("40", 4)


async def test_a_pause_gives_up_an_entry_that_waits(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(10))  # decides to buy with the next tick
    await ada.at_tick(session, 1)
    await steer(ada, "Pause", session)
    feed.push("AAA", prices(20, first=1))
    session = await ada.at_tick(session, 2)
    assert (session.quantity, session.last_sequence) == ("0", 0)


async def test_a_pause_outlives_its_worker(
    trader: Any, feed: ManualFeed, serve: Any, upstream: Any, open_channel_to: Any
) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    warm = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(9))
    await ada.at_tick(session, 1)
    await steer(ada, "Pause", session)
    await serve(partial(build, upstream=open_channel_to(upstream)))  # takes the shards
    feed.push("AAA", prices(10, 20, first=1))
    session = await ada.at_tick(session, 3)
    assert (session.status, session.quantity, session.last_sequence) == (PAUSED, "0", 1)
    assert (await ada.at_tick(warm, 3)).average_price == "20"


@pytest.mark.parametrize("again", [False, True], ids=["one worker", "another worker"])
async def test_pausing_during_the_warm_up_counts_after_it(
    trader: Any,
    feed: ManualFeed,
    serve: Any,
    upstream: Any,
    open_channel_to: Any,
    gate: asyncio.Event,
    again: bool,
) -> None:
    ada = await trader()
    probe = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 9, 12))
    await ada.at_tick(probe, 3)
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    assert (await steer(ada, "Pause", session)).status == PAUSED
    if again:
        await serve(partial(build, upstream=open_channel_to(upstream)))
    gate.set()
    feed.push("AAA", prices(10, 20, first=3))
    session = await ada.at_tick(session, 5)
    (rejection,) = await ada.events(session, 1)
    assert (session.status, session.bars, rejection.reason) == (PAUSED, 5, "halted")
    await steer(ada, "Resume", session)
    feed.push("AAA", prices(10, 30, first=5))
    assert (await ada.at_tick(session, 7)).average_price == "30"


async def test_resuming_during_the_warm_up(trader: Any, feed: ManualFeed, gate: asyncio.Event) -> None:
    ada = await trader()
    probe = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(9, 10, 9))
    await ada.at_tick(probe, 3)
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    await steer(ada, "Pause", session)
    assert (await steer(ada, "Flatten", session)).status == PAUSED
    assert (await steer(ada, "Resume", session)).status == RUNNING
    gate.set()
    feed.push("AAA", prices(10, 20, first=3))
    session = await ada.at_tick(session, 5)
    assert (session.average_price, session.last_sequence) == ("20", 1)  # what the warm-up wanted is nobody's


@pytest.mark.parametrize("after", [False, True], ids=["not committed", "committed, unknown"])
@pytest.mark.parametrize("verb", ["Pause", "Flatten"])
async def test_a_command_whose_commit_fails_is_obeyed_once(
    trader: Any, feed: ManualFeed, platform: Platform, verb: str, after: bool
) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    lost = OperationalError("COMMIT", None, ConnectionError("the connection is lost"))
    ledger = BrittleLedger(platform.database, 1, after=after, error=lost)
    async with working(new_worker(platform, ledger)):
        await steer(ada, verb, session)
        assert ledger.broken.is_set()
        feed.push("AAA", prices(30, 10, 40, first=2))
        session = await ada.at_tick(session, 5)
    if verb == "Pause":
        assert (session.status, session.average_price, session.last_sequence) == (PAUSED, "20", 2)
    else:
        assert (session.status, session.average_price, session.realized_pnl) == (RUNNING, "40", "5000")


async def test_a_flattened_session_sells_and_goes_on(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    ordered = await steer(ada, "Flatten", session)
    assert (ordered.status, ordered.quantity) == (RUNNING, "500")
    feed.push("AAA", prices(30, 10, 50, first=2))
    session = await ada.at_tick(session, 5)
    assert (session.status, session.realized_pnl, session.average_price) == (RUNNING, "5000", "50")
    sold, held = await ada.trades(session)
    assert (sold.exit_price, sold.exit_reason, held.entry_price) == ("30", "flatten", "50")

    await steer(ada, "Pause", session)
    assert (await steer(ada, "Flatten", session)).status == PAUSED
    feed.push("AAA", prices(60, first=5))
    session = await ada.at_tick(session, 6)
    assert (session.status, session.quantity) == (PAUSED, "0")
    assert (await steer(ada, "Flatten", session)).last_sequence == session.last_sequence  # holds nothing


async def test_an_order_to_flatten_outlives_its_worker(
    trader: Any, feed: ManualFeed, serve: Any, upstream: Any, open_channel_to: Any
) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    await steer(ada, "Flatten", session)
    await serve(partial(build, upstream=open_channel_to(upstream)))  # takes the shards
    feed.push("AAA", prices(30, 31, first=2))
    session = await ada.at_tick(session, 4)
    assert (session.status, session.cash, session.total_trades) == (RUNNING, "15000", 1)
    (trade,) = await ada.trades(session)
    assert (trade.exit_price, trade.exit_reason) == ("30", "flatten")


async def test_a_paused_session_can_be_stopped(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    await steer(ada, "Pause", session)
    assert (await ada.stop(session, pb.STOP_MODE_FLATTEN)).status == pb.SESSION_STATUS_STOPPING
    feed.push("AAA", prices(30, first=2))
    session = await ada.reached(session, lambda found: found.status == pb.SESSION_STATUS_STOPPED)
    assert session.cash == "15000"


async def test_a_repeated_command_is_obeyed_once(trader: Any) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA")
    request_id = str(uuid.uuid4())
    assert (await steer(ada, "Pause", session, request_id)).status == PAUSED
    await steer(ada, "Resume", session)
    assert (await steer(ada, "Pause", session, request_id)).status == RUNNING  # heard before
    error = await failure(steer(ada, "Flatten", session, request_id))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    await ada.stop(session, pb.STOP_MODE_KEEP)
    assert (await steer(ada, "Pause", session, request_id)).status == pb.SESSION_STATUS_STOPPED


@pytest.mark.parametrize("verb", ["Pause", "Resume", "Flatten"])
async def test_a_command_needs_a_session_that_runs(trader: Any, verb: str) -> None:
    ada, bob = await trader(), await trader()
    session = await ada.create(ROUND_TRIP, "AAA")
    for status in ("created", "stopped"):
        error = await failure(steer(ada, verb, session))
        assert (error.code(), info(error).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STATUS")
        assert info(error).metadata["status"] == status
        if status == "created":
            await ada.start(session)
            error = await failure(steer(bob, verb, session))
            assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
            await ada.stop(session, pb.STOP_MODE_KEEP)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await steer(ada, verb, pb.Session(session_id="x"))
    assert info(caught.value).reason == "FIELD_INVALID"


async def test_a_paused_session_is_resumed_not_started(trader: Any) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA")
    await steer(ada, "Pause", session)
    assert info(await failure(ada.start(session))).metadata["status"] == "paused"


async def test_a_stream_tells_of_a_pause(trader: Any) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA")
    stream = ada.stream(session)
    assert (await stream.read()).snapshot.status == RUNNING
    await steer(ada, "Pause", session)
    assert (await stream.read()).snapshot.status == PAUSED
    stream.cancel()


async def test_deleting_takes_everything_along(trader: Any, feed: ManualFeed, database: Any) -> None:
    ada, bob = await trader(), await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    left = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20, 12, 25, 10, 30))
    await ada.at_tick(session, 6)
    await ada.at_tick(left, 6)
    error = await failure(delete(ada, session))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STATUS")
    assert info(error).metadata["status"] == "running"
    await ada.stop(session, pb.STOP_MODE_KEEP)
    assert info(await failure(delete(bob, session))).reason == "SESSION_NOT_FOUND"

    request_id = str(uuid.uuid4())
    await delete(ada, session, request_id)
    await delete(ada, session, request_id)
    assert info(await failure(delete(ada, session))).reason == "SESSION_NOT_FOUND"
    assert info(await failure(ada.get(session))).reason == "SESSION_NOT_FOUND"
    assert len(await ada.trades(left)) == 2
    async with database.connect() as connection:
        for table in ("session_events", "trades", "portfolio_positions", "session_commands"):
            query = text(f"SELECT count(*) FROM {table} WHERE session_id = CAST(:id AS uuid)")
            assert await connection.scalar(query, {"id": session.session_id}) == 0
            assert await connection.scalar(query, {"id": left.session_id}) > 0


async def test_a_session_that_never_began_can_be_deleted(trader: Any) -> None:
    ada = await trader()
    session = await ada.create(ROUND_TRIP, "AAA")
    await delete(ada, session)
    assert not (await ada.sessions.ListSessions(pb.ListSessionsRequest())).sessions


async def test_making_a_session_is_answered_again_when_its_strategy_is_gone(trader: Any) -> None:
    ada = await trader()
    request = pb.CreateSessionRequest(
        request_id=str(uuid.uuid4()), strategy_id=await ada.strategy(ROUND_TRIP), symbol="AAA"
    )
    first = await ada.sessions.CreateSession(request)
    await ada.strategies.DeleteStrategy(strategy_pb.DeleteStrategyRequest(strategy_id=request.strategy_id))
    assert await ada.sessions.CreateSession(request) == first
    request.symbol = "NONE"
    assert info(await failure(ada.sessions.CreateSession(request))).reason == "REQUEST_ID_REUSED"
    request.request_id = ""
    assert info(await failure(ada.sessions.CreateSession(request))).reason == "STRATEGY_NOT_FOUND"


async def test_a_command_that_is_stored_and_not_applied_is_waited_for_when_it_is_repeated(
    trader: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the two: the first call had no answer, and the second must not say that it is done."""
    ada = await trader()
    session = await ada.create(ROUND_TRIP, "AAA")
    request = pb.StartSessionRequest(session_id=session.session_id, request_id=str(uuid.uuid4()))
    free, asked = asyncio.Event(), asyncio.Semaphore(0)
    obey, is_applied = Obedience.obey, PostgresSessionStore.is_applied

    async def held(obedience: Obedience, commands: Sequence[Command]) -> None:
        await free.wait()
        await obey(obedience, commands)

    async def looked(store: PostgresSessionStore, command: Command) -> bool:
        asked.release()
        return await is_applied(store, command)

    monkeypatch.setattr(Obedience, "obey", held)
    monkeypatch.setattr(PostgresSessionStore, "is_applied", looked)
    first = asyncio.create_task(ada.start_as(request))
    async with asyncio.timeout(30):
        await asked.acquire()
    first.cancel()
    second = asyncio.create_task(ada.start_as(request))
    async with asyncio.timeout(30):
        for _ in range(5):  # it looks, and looks again
            await asked.acquire()
    assert not second.done()
    free.set()
    assert (await second).status == RUNNING
    async with platform.database.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM session_commands")) == 1


async def test_commands_of_a_session_are_numbered_as_they_are_stored(
    trader: Any, feed: ManualFeed, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose transaction hangs keeps the next waiting: else that would have the later number and be obeyed first."""
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    hangs, goes_on = asyncio.Event(), asyncio.Event()

    async def add(connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
        if not hangs.is_set():
            hangs.set()
            await goes_on.wait()
        await add_outgoing(connection, messages)

    monkeypatch.setattr("algotrade.forward_test.postgres.add_outgoing", add)
    first = asyncio.create_task(steer(ada, "Pause", session))
    await hangs.wait()
    second = asyncio.create_task(steer(ada, "Flatten", session))
    waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    async with asyncio.timeout(20), platform.database.connect() as connection:
        while not await connection.scalar(waits):
            await connection.rollback()
    goes_on.set()
    assert [(await task).status for task in (first, second)] == [PAUSED, PAUSED]
    async with platform.database.connect() as connection:
        query = text("SELECT kind FROM session_commands WHERE session_id = :id ORDER BY position")
        kinds = list(await connection.scalars(query, {"id": UUID(session.session_id)}))
    assert kinds == ["start", "pause", "flatten"]
