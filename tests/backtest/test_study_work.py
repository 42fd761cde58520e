"""Optimisations while they are worked at: gone on with where they ended, cancelled, sharing threads and turns."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from backtest.studying import (
    POINTS,
    cancel,
    delete,
    done,
    ended,
    get,
    start,
    trials,
    watch,
)
from backtest.test_backtest import GRAPH, count, failure
from backtest.test_optimise import searched, space, task
from backtest.test_work import sql, until

from algotrade.backtest.build import build
from algotrade.backtest.optimise.outcome import Outcome, Tally
from algotrade.backtest.optimise.study import trials as studied
from algotrade.backtest.optimise.workers import Threads
from algotrade.backtest.studies.messages import outcome_message, trial_message
from algotrade.backtest.studies.postgres_queue import PostgresOptimizationQueue
from algotrade.platform.channel import open_channel
from algotrade.platform.errors import info
from algotrade.platform.process import serving
from algotrade.v1 import backtest_service_pb2 as pb

GRID, TPE = pb.OPTIMIZATION_METHOD_GRID, pb.OPTIMIZATION_METHOD_TPE
LOSE = """
    UPDATE optimizations SET lease_until = now() - interval '1 second', worker = gen_random_uuid()
    WHERE state = 'running'
"""


# Going on


def uninterrupted(method: str) -> tuple[list[pb.OptimizationTrial], Outcome]:
    """What the library finds in one go."""
    one, found = task(), []
    tally = Tally(one)
    with Threads(one, 2) as workers:
        for trial in studied(one, searched(method, space()), workers):
            tally.add(trial)
            found.append(trial_message(trial))
    return found, tally.outcome(7)


@pytest.fixture
def one_study(platform):
    return replace(platform, settings=platform.settings.model_copy(update={"optimizations": 1}))


@pytest.mark.parametrize(("method", "name"), [(GRID, "grid"), (TPE, "tpe")])
async def test_whoever_takes_it_up_goes_on_where_it_ended(
    trader_on, backtests_on, gates, few_at_once, database, one_study, method, name
):
    killed, following = gates(23), gates(1000)
    ada = await trader_on(await backtests_on(judges=killed.judges, on=one_study))
    one = await start(ada, method=method, trials=40, seed=7)
    await killed.at_its_end()
    stored = (await get(ada, one)).progress.done_trials
    assert 15 <= stored <= 23
    there = await trader_on(await backtests_on(judges=following.judges), ada.user_id)
    await sql(database, LOSE)
    found = await ended(there, one)
    assert found.state == pb.OPTIMIZATION_STATE_SUCCEEDED
    assert min(following.begun) == stored
    expected, outcome = uninterrupted(name)
    assert await trials(there, found) == expected
    assert found.outcome == outcome_message(outcome)
    killed.open()  # the one that was thought dead wakes up and changes nothing
    assert await get(ada, one) == found
    assert await count(database, "optimization_trials") == len(expected)


async def test_an_orderly_end_keeps_what_was_made(
    platform, trader_on, upstream, backtests_on, gates, few_at_once, database
):
    gate, following = gates(12), gates(1000)
    channel = open_channel(f"127.0.0.1:{upstream.port}")
    async with serving(platform, [lambda on: build(on, channel, judges=gate.judges)]) as first:
        ada = await trader_on(first)
        one = await start(ada)
        await gate.at_its_end()
        asyncio.get_running_loop().call_later(0, gate.open)
    await channel.close()
    kept = await count(database, "optimization_trials")
    assert await count(database, "optimizations WHERE state = 'queued' AND vain = 0") == 1
    assert 12 <= kept < POINTS
    there = await trader_on(await backtests_on(judges=following.judges), ada.user_id)
    found = await ended(there, one)
    assert found.state == pb.OPTIMIZATION_STATE_SUCCEEDED
    assert min(following.begun) == kept
    assert await trials(there, found) == uninterrupted("grid")[0]


@pytest.mark.parametrize("committed", [False, True])
async def test_a_lost_connection_costs_no_trial(ada, monkeypatch, few_at_once, committed):
    keep, lost = PostgresOptimizationQueue.keep, []

    async def losing(self, worker, held, new, best):
        if not lost:
            lost.append(held)
            if committed:
                await keep(self, worker, held, new, best)
            raise ConnectionResetError
        return await keep(self, worker, held, new, best)

    monkeypatch.setattr(PostgresOptimizationQueue, "keep", losing)
    found = await done(ada)
    assert len(lost) == 1
    assert await trials(ada, found) == uninterrupted("grid")[0]


async def test_what_takes_its_worker_down_is_given_up(ada, database):
    """Attempts count while they come to nothing."""
    found = await done(ada)
    lost = """
        UPDATE optimizations SET state = 'running', lease_until = now() - interval '1 second', attempt = 9,
            vain = :vain, cancel_requested = :cancelled, outcome = NULL
    """
    await sql(database, lost, vain=5, cancelled=False)
    given_up = await ended(ada, found)
    assert (given_up.state, given_up.failure) == (pb.OPTIMIZATION_STATE_FAILED, "its worker was lost 5 times")
    assert len(await trials(ada, found)) == POINTS
    await sql(database, lost, vain=5, cancelled=True)
    assert (await ended(ada, found)).state == pb.OPTIMIZATION_STATE_CANCELLED
    await sql(database, lost, vain=4, cancelled=False)
    again = await ended(ada, found)
    assert (again.state, again.outcome) == (pb.OPTIMIZATION_STATE_SUCCEEDED, found.outcome)


# Cancelling


async def test_cancelled_it_is_judged_by_what_was_made(trader_on, backtests_on, gates, few_at_once, database):
    gate = gates(12)
    ada = await trader_on(await backtests_on(judges=gate.judges))
    one = await start(ada)
    await gate.at_its_end()
    cancelling = asyncio.ensure_future(cancel(ada, one))
    while not await count(database, "optimizations WHERE cancel_requested"):
        assert not cancelling.done()
    gate.open()
    found = await cancelling
    assert found.state == pb.OPTIMIZATION_STATE_CANCELLED
    made = await trials(ada, one)
    assert 12 <= len(made) < POINTS
    assert found.progress.done_trials == found.outcome.trials == len(made)
    assert found.outcome.ranking[0] == found.progress.best
    assert await cancel(ada, one) == found == await ended(ada, one)


async def test_one_that_waits_is_cancelled_at_once(trader_on, backtests_on, gates):
    gate = gates()
    ada = await trader_on(await backtests_on(judges=gate.judges))
    running, waiting = await start(ada), await start(ada)
    await gate.at_its_end()
    found = await cancel(ada, waiting)
    assert (found.state, found.HasField("outcome")) == (pb.OPTIMIZATION_STATE_CANCELLED, False)
    assert not found.HasField("start_time")
    gate.open()
    assert (await ended(ada, running)).state == pb.OPTIMIZATION_STATE_SUCCEEDED
    assert await get(ada, waiting) == found


async def test_cancelled_while_its_worker_is_lost(trader_on, backtests_on, gates, few_at_once, database, one_study):
    """The next worker makes no trial, and judges those that there are."""
    killed, following = gates(12), gates()
    ada = await trader_on(await backtests_on(judges=killed.judges, on=one_study))
    one = await start(ada)
    await killed.at_its_end()
    await sql(database, LOSE)
    await sql(database, "UPDATE optimizations SET cancel_requested = true")
    there = await trader_on(await backtests_on(judges=following.judges), ada.user_id)
    found = await ended(there, one)
    assert found.state == pb.OPTIMIZATION_STATE_CANCELLED
    assert found.outcome.trials == len(await trials(there, one)) >= 5
    assert following.begun == []


async def test_deleted_while_it_runs(trader_on, backtests_on, gates, few_at_once, database):
    gate = gates(12)
    ada = await trader_on(await backtests_on(judges=gate.judges))
    one = await start(ada)
    await gate.at_its_end()
    stream = watch(ada, one)
    await anext(aiter(stream))
    deleting = asyncio.ensure_future(delete(ada, one))
    assert info(await failure(until(stream, lambda m: False))).reason == "OPTIMIZATION_NOT_FOUND"
    gate.open()
    await deleting
    for table in ("optimizations", "optimization_trials", "backtest_data", "backtest_artefacts"):
        assert await count(database, table) == 0


# Sharing


async def test_a_backtest_has_a_thread_between_trials(trader_on, backtests_on, gates, one_study):
    """With one thread and a long optimisation, a backtest is done long before the last trial."""
    settings = one_study.settings.model_copy(update={"backtest_threads": 1})
    gate = gates(3)
    ada = await trader_on(await backtests_on(judges=gate.judges, on=replace(one_study, settings=settings)))
    one = await start(ada)
    await gate.at_its_end()
    backtest = await ada.start(GRAPH)
    while (await ada.get(backtest)).state == pb.BACKTEST_STATE_QUEUED:
        pass  # until it has asked for the thread
    gate.open()
    assert (await ada.ended(backtest)).state == pb.BACKTEST_STATE_SUCCEEDED
    found = await ended(ada, one)
    assert found.state == pb.OPTIMIZATION_STATE_SUCCEEDED
    assert (await ada.get(backtest)).end_time.ToNanoseconds() < found.end_time.ToNanoseconds()


async def test_a_user_has_one_worked_at(trader_on, backtests_on, gates):
    gate = gates()
    server = await backtests_on(judges=gate.judges)
    ada, bob = await trader_on(server), await trader_on(server)
    first, second, his = await start(ada), await start(ada), await start(bob)
    await until(watch(bob, his), lambda m: m.snapshot.state == pb.OPTIMIZATION_STATE_RUNNING)
    assert (await get(ada, first)).state == pb.OPTIMIZATION_STATE_RUNNING
    assert (await get(ada, second)).state == pb.OPTIMIZATION_STATE_QUEUED
    gate.open()
    for who, one in ((ada, first), (ada, second), (bob, his)):
        assert (await ended(who, one)).state == pb.OPTIMIZATION_STATE_SUCCEEDED
