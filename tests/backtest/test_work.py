"""Runs while they run: progress, cancelling, bounds, and workers that are lost."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace

import grpc
import pytest
from backtest.conftest import PATIENCE, request
from backtest.test_backtest import GRAPH, count, failure
from sqlalchemy import text

from algotrade.backtest.postgres_queue import PostgresBacktestQueue
from algotrade.engine.native import TrapError
from algotrade.platform import limits
from algotrade.platform.errors import info
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

TOTAL = 1509  # bars of the sample


async def begun(gate, times: int = 1) -> None:
    for _ in range(times):
        assert await asyncio.to_thread(gate.begun.acquire, timeout=PATIENCE)


async def until(stream, wanted):
    async with asyncio.timeout(PATIENCE):
        async for message in stream:
            if wanted(message):
                return message
    raise AssertionError("the stream ended")


async def sql(database, statement: str, **values) -> None:
    async with database.begin() as connection:
        await connection.execute(text(statement), values)


# A worker that is cut off: its lease is over, and it cannot renew it.
LOSE = "UPDATE backtest_results SET lease_until = now() - interval '1 second', worker = gen_random_uuid()"


@pytest.fixture
def one_thread(platform):
    return replace(platform, settings=platform.settings.model_copy(update={"backtest_threads": 1}))


@pytest.fixture
async def gated(backtests_on, gate):
    return await backtests_on(gate.run)


# Watching


async def test_progress_and_then_the_summary(trader_on, gated, gate):
    ada = await trader_on(gated)
    backtest = await ada.start(GRAPH)
    stream = ada.watch(backtest)
    at = await until(stream, lambda m: m.progress.done_bars or m.snapshot.progress.done_bars)
    assert max(at.progress.done_bars, at.snapshot.progress.done_bars) == 400
    beat = await until(stream, lambda m: m.HasField("heartbeat"))
    assert beat.sequence == at.sequence
    assert beat.heartbeat.time.ToSeconds() > 0

    late = ada.watch(backtest)
    first = await anext(aiter(late))
    assert first.sequence == at.sequence
    assert first.snapshot.state == pb.BACKTEST_STATE_RUNNING
    assert first.snapshot.progress == pb.BacktestProgress(done_bars=400, total_bars=TOTAL)
    assert (await ada.get(backtest)).progress == first.snapshot.progress
    behind = ada.watch(backtest, at.sequence)
    assert (await anext(aiter(behind))).HasField("heartbeat")

    gate.open()
    for reader in (stream, late, behind):
        async with asyncio.timeout(PATIENCE):
            rest = [message async for message in reader]
        sequences = [at.sequence, *(m.sequence for m in rest if not m.HasField("heartbeat"))]
        assert sequences == sorted(set(sequences))
        assert rest[-1].snapshot.state == pb.BACKTEST_STATE_SUCCEEDED
        assert rest[-1].snapshot == await ada.get(backtest)
    assert gate.calls == 4


async def test_who_comes_after_the_end_gets_the_end(ada):
    found = await ada.done(GRAPH)
    (message,) = await ada.messages(found)
    assert message.snapshot == found
    assert await ada.messages(found, 0) == [message]
    assert await ada.messages(found, message.sequence) == []
    error = await failure(anext(aiter(ada.watch(found, message.sequence + 1))))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD")
    assert info(error).metadata["last_sequence"] == str(message.sequence)


# Cancelling


async def test_a_run_is_cancelled_within_a_call_of_the_engine(trader_on, gated, gate, database):
    ada = await trader_on(gated)
    backtest = await ada.start(GRAPH)
    await until(ada.watch(backtest), lambda m: m.progress.done_bars or m.snapshot.progress.done_bars)
    cancelling = asyncio.ensure_future(ada.cancel(backtest))
    await until(requested(database, backtest), bool)
    gate.open()
    found = await cancelling
    assert found.state == pb.BACKTEST_STATE_CANCELLED
    assert gate.calls == 2
    assert not found.HasField("summary")
    assert found.HasField("end_time")
    assert await ada.ended(backtest) == found == await ada.cancel(backtest)
    assert await ada.trades(backtest) == []
    equity = await ada.backtests.GetBacktestEquity(pb.GetBacktestEquityRequest(backtest_id=backtest.backtest_id))
    assert equity == pb.GetBacktestEquityResponse()
    again = await ada.ended(await ada.rerun(backtest))
    assert again.state == pb.BACKTEST_STATE_SUCCEEDED


async def requested(database, backtest):
    """Yield whether somebody has asked to cancel it."""
    query = text("SELECT cancel_requested FROM backtest_results WHERE backtest_id = CAST(:id AS uuid)")
    while True:
        async with database.connect() as connection:
            yield (await connection.execute(query, {"id": backtest.backtest_id})).scalar_one()


async def test_one_that_waits_is_cancelled_at_once(trader_on, gated, gate):
    ada = await trader_on(gated)
    running = [await ada.start(GRAPH) for _ in range(2)]
    await begun(gate, 2)
    waiting = await ada.start(GRAPH)
    found = await ada.cancel(waiting)
    assert found.state == pb.BACKTEST_STATE_CANCELLED
    assert not found.HasField("start_time")
    gate.open()
    for one in running:
        assert (await ada.ended(one)).state == pb.BACKTEST_STATE_SUCCEEDED
    assert await ada.get(waiting) == found


async def test_one_that_has_ended_stays(ada):
    found = await ada.done(GRAPH)
    assert await ada.cancel(found) == found


async def test_cancelled_from_another_process(trader_on, backtests_on, gated, gate):
    ada = await trader_on(gated)
    backtest = await ada.start(GRAPH)
    await begun(gate)
    there = await trader_on(await backtests_on(gate.run), ada.user_id)
    assert (await there.cancel(backtest)).state == pb.BACKTEST_STATE_RUNNING
    gate.open()
    assert (await there.ended(backtest)).state == pb.BACKTEST_STATE_CANCELLED


async def test_a_worker_hears_of_it_before_the_engine_is_done(trader_on, backtests_on, gate, platform):
    """Asked elsewhere, a run of many calls is stopped by the worker that renews its lease."""
    quick = replace(platform, settings=platform.settings.model_copy(update={"backtest_lease_seconds": 0.5}))
    stopped = threading.Event()

    def endless(claim, progress):
        try:
            while not stopped.wait(0.001):
                progress(1, 2)
        finally:
            stopped.set()

    ada = await trader_on(await backtests_on(endless, on=quick))
    backtest = await ada.start(GRAPH)
    await until(ada.watch(backtest), lambda m: m.snapshot.state == pb.BACKTEST_STATE_RUNNING)
    there = await trader_on(await backtests_on(gate.run), ada.user_id)
    await there.cancel(backtest)
    assert (await there.ended(backtest)).state == pb.BACKTEST_STATE_CANCELLED
    assert stopped.is_set()


async def test_deleted_while_it_runs(trader_on, gated, gate, database):
    ada = await trader_on(gated)
    backtest = await ada.start(GRAPH)
    await begun(gate)
    stream = ada.watch(backtest)
    await anext(aiter(stream))
    deleting = asyncio.ensure_future(ada.delete(backtest))
    assert info(await failure(until(stream, lambda m: False))).reason == "BACKTEST_NOT_FOUND"
    gate.open()
    await deleting
    assert await count(database, "backtest_results") == await count(database, "backtest_trades") == 0


# Bounds


async def test_a_user_and_a_process_run_only_so_many(trader_on, gated, gate, settings):
    ada, bob, eve = [await trader_on(gated) for _ in range(3)]
    asked = [(who, await who.start(GRAPH)) for who in (ada, ada, ada, ada, bob, bob, eve)]
    await begun(gate, settings.backtest_threads)
    states = [(await who.get(one)).state for who, one in asked]
    waits, runs = pb.BACKTEST_STATE_QUEUED, pb.BACKTEST_STATE_RUNNING
    assert states == [runs, runs, waits, waits, runs, runs, waits]
    gate.open()
    for who, one in asked:
        assert (await who.ended(one)).state == pb.BACKTEST_STATE_SUCCEEDED
    assert gate.most_running == settings.backtest_threads


async def test_only_so_many_may_wait(trader_on, gated, gate, monkeypatch):
    monkeypatch.setattr(limits, "MAX_UNFINISHED_BACKTESTS", 3)
    ada, bob = await trader_on(gated), await trader_on(gated)
    first = [await ada.start(GRAPH) for _ in range(3)]
    error = await failure(ada.start(GRAPH))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert info(error).metadata == {"limit": "unfinished_backtests", "value": "3"}
    await bob.start(GRAPH)
    gate.open()
    for one in first:
        await ada.ended(one)
    await ada.start(GRAPH)


# Faults


async def test_what_goes_wrong_is_told(trader_on, backtests_on):
    def trap(claim, progress):
        raise TrapError("all fuel consumed")

    ada = await trader_on(await backtests_on(trap))
    found = await ada.ended(await ada.start(GRAPH))
    assert found.state == pb.BACKTEST_STATE_FAILED
    assert found.failure == "the module was stopped: all fuel consumed"
    assert not found.HasField("summary")


@pytest.mark.parametrize("committed", [False, True])
async def test_a_lost_connection_costs_no_result(ada, monkeypatch, committed):
    """Before the commit it is stored again; after it, the second time finds that it is."""
    finish = PostgresBacktestQueue.finish
    lost = []

    async def losing(self, worker, held, outcome):
        if len(lost) < 2:
            lost.append(held[0])
            if committed:
                await finish(self, worker, held, outcome)
            raise ConnectionResetError
        return await finish(self, worker, held, outcome)

    monkeypatch.setattr(PostgresBacktestQueue, "finish", losing)
    found = await ada.done(GRAPH)
    assert await ada.cancel(found) == found  # answered once the worker is done with it
    assert lost == [found.backtest_id] * 2
    assert len(await ada.trades(found)) == found.summary.trades


async def test_two_processes_share_the_queue(trader_on, server, backtests_on, database):
    other = await backtests_on()
    traders = [await trader_on(on) for on in (server, other, server)]
    asked = [(who, await who.start(GRAPH)) for _ in range(4) for who in traders]
    ended = [await who.ended(one) for who, one in asked]
    assert {one.state for one in ended} == {pb.BACKTEST_STATE_SUCCEEDED}
    assert len({one.summary.result_hash for one in ended}) == 1
    assert await count(database, "backtest_results WHERE attempt <> 1") == 0
    assert await count(database, "backtest_trades") == sum(one.summary.trades for one in ended)


async def test_what_a_lost_worker_held_is_begun_anew(trader_on, one_thread, gate, backtests_on, database):
    ada = await trader_on(await backtests_on(gate.run, on=one_thread))
    backtest = await ada.start(GRAPH)
    await begun(gate)
    stream = ada.watch(backtest)
    seen = await until(stream, lambda m: m.progress.done_bars or m.snapshot.progress.done_bars)
    await sql(database, LOSE)
    other = await trader_on(await backtests_on(), ada.user_id)  # another process
    found = await other.ended(backtest)
    assert found.state == pb.BACKTEST_STATE_SUCCEEDED
    last = await until(stream, lambda m: m.HasField("snapshot"))
    assert last.snapshot == found
    assert last.sequence > seen.sequence
    gate.open()  # the one that was thought dead wakes up and changes nothing
    again = await ada.ended(await ada.rerun(backtest))
    assert again.summary.result_hash == found.summary.result_hash
    assert await ada.get(backtest) == found
    assert len(await ada.trades(backtest)) == found.summary.trades


async def test_a_worker_may_take_up_what_it_lost_itself(trader_on, gated, gate, database):
    ada = await trader_on(gated)
    backtest = await ada.start(GRAPH)
    await begun(gate)
    await sql(database, LOSE)
    await begun(gate)
    gate.open()
    found = await ada.ended(backtest)
    assert found.state == pb.BACKTEST_STATE_SUCCEEDED
    assert len(await ada.trades(backtest)) == found.summary.trades


async def test_what_takes_its_worker_down_is_given_up(ada, database, backtests_on, trader_on):
    found = await ada.done(GRAPH)
    lost = """
        UPDATE backtest_results SET state = 'running', lease_until = now() - interval '1 second',
            attempt = :attempt, cancel_requested = :cancelled, summary = NULL
    """
    await sql(database, "DELETE FROM backtest_trades")
    await sql(database, lost, attempt=5, cancelled=False)
    ended = await ada.ended(found)
    assert (ended.state, ended.failure) == (pb.BACKTEST_STATE_FAILED, "its worker was lost 5 times")
    await sql(database, lost, attempt=1, cancelled=True)
    assert (await ada.ended(found)).state == pb.BACKTEST_STATE_CANCELLED
    await sql(database, lost, attempt=4, cancelled=False)
    again = await ada.ended(found)
    assert again.summary.result_hash == found.summary.result_hash


async def test_an_orderly_end_puts_back_what_runs(platform, gate, trader_on, upstream, backtests_on, database):
    from algotrade.backtest.build import build
    from algotrade.platform.channel import open_channel
    from algotrade.platform.process import serving

    channel = open_channel(f"127.0.0.1:{upstream.port}")

    async with serving(platform, [lambda on: build(on, channel, gate.run)]) as first:
        ada = await trader_on(first)
        backtest = await ada.start(GRAPH)
        await begun(gate)
        asyncio.get_running_loop().call_later(0, gate.open)
        stub_user = ada.user_id
    await channel.close()
    ada = await trader_on(await backtests_on(), stub_user)
    found = await ada.ended(backtest)
    assert found.state == pb.BACKTEST_STATE_SUCCEEDED
    assert found.summary.trades == len(await ada.trades(backtest))


async def test_health_names_the_worker(server, connect):
    from algotrade.v1 import health_service_pb2 as health_pb
    from algotrade.v1.health_service_pb2_grpc import HealthServiceStub

    found = await HealthServiceStub(connect(server)).GetDetailedHealth(health_pb.GetDetailedHealthRequest())
    service = next(one for one in found.services if one.service == "algotrade.v1.BacktestService")
    assert service.status == health_pb.HEALTH_STATUS_HEALTHY
    assert [one.name for one in service.dependencies] == ["database", "strategy", "worker"]


def test_requests_are_small_enough():
    """The stated bound of bars fits a message."""
    bars = types_pb2.BarColumns(
        **{field: [1] * limits.MAX_UPLOADED_BARS for field in ("times_nanos", "opens_e8", "highs_e8", "lows_e8")},
        closes_e8=[1] * limits.MAX_UPLOADED_BARS,
        volumes=[1.0] * limits.MAX_UPLOADED_BARS,
    )
    asked = request(bars=bars)
    asked.graph = json.dumps(GRAPH)
    assert asked.ByteSize() < limits.MAX_REQUEST_BYTES
