"""Composes the service: the servicer, and beside it the workers in tasks of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc

from algotrade.backtest.explain import Explainer
from algotrade.backtest.given import Given
from algotrade.backtest.history import History
from algotrade.backtest.news import News
from algotrade.backtest.optimise.judge import Judge, Task
from algotrade.backtest.postgres import PostgresBacktestStore
from algotrade.backtest.postgres_queue import PostgresBacktestQueue
from algotrade.backtest.run import Run, run
from algotrade.backtest.servicer import BacktestServicer
from algotrade.backtest.start import Starter
from algotrade.backtest.store import Backtest, Claim, Outcome, no_backtest
from algotrade.backtest.studies.postgres import PostgresOptimizationStore
from algotrade.backtest.studies.postgres_queue import PostgresOptimizationQueue
from algotrade.backtest.studies.run import Bench
from algotrade.backtest.studies.servicer import Studies
from algotrade.backtest.studies.start import StudyStarter
from algotrade.backtest.studies.store import Claim as StudyClaim
from algotrade.backtest.studies.store import Concluded
from algotrade.backtest.watch import Watcher
from algotrade.backtest.work import Worker
from algotrade.platform.mesh import Channels
from algotrade.platform.process import Platform
from algotrade.platform.sampling import sampling
from algotrade.platform.server import Mount
from algotrade.platform.upstream import SavedStrategies, serving_probe
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import backtest_service_pb2_grpc as pb_grpc

Judges = Callable[[Task], Judge]


class WorkerDown(Exception):  # noqa: N818  (a state)
    """Nothing is run just now."""


@asynccontextmanager
async def build(
    platform: Platform, upstream: grpc.aio.Channel | None = None, runs: Run = run, judges: Judges = Judge
) -> AsyncIterator[Mount]:
    """Yield the service while its workers work.

    ``upstream`` reaches saved strategies; without one they are where the settings say.
    """
    settings, clock = platform.settings, platform.clock
    store, news = PostgresBacktestStore(platform.database), News()
    channels = Channels(settings, upstream)
    channel = channels.to("algotrade.v1.StrategyService")
    history = History(channels.to("algotrade.v1.MarketDataService"))
    given = Given(store, SavedStrategies(channel), history, settings.data_dir / "samples")
    # Runs and trials take their turns in these threads.
    with (
        ThreadPoolExecutor(settings.backtest_threads, thread_name_prefix="backtest") as threads,
        ThreadPoolExecutor(settings.optimizations, thread_name_prefix="optimization") as drivers,
    ):
        worker = _worker(platform, news, runs, threads)
        studies = _studies(platform, given, threads, drivers, judges)

        async def find(user_id: str, backtest_id: str) -> Backtest:
            found = await store.get(user_id, backtest_id)
            if found is None:
                raise no_backtest(backtest_id)
            return news.current(found)

        starter = Starter(store, given, clock, worker.wake)
        watcher = Watcher(
            find, news, heartbeat_seconds=settings.heartbeat_seconds, poll_seconds=settings.bus_poll_seconds
        )
        servicer = BacktestServicer(
            given, starter, worker, watcher, Explainer(store), store, find, news, studies, clock
        )
        try:
            async with _working(platform, worker, studies.worker) as probe:
                yield Mount(
                    pb.DESCRIPTOR.services_by_name["BacktestService"],
                    partial(pb_grpc.add_BacktestServiceServicer_to_server, servicer),
                    {
                        "database": platform.database_probe,
                        "worker": probe,
                        "strategy": serving_probe(channel, "algotrade.v1.StrategyService"),
                    },
                )
        finally:
            await asyncio.to_thread(threads.shutdown)
            await channels.close()


def _worker(platform: Platform, news: News, runs: Run, threads: Executor) -> Worker[Claim, Outcome]:
    settings = platform.settings
    return Worker(
        PostgresBacktestQueue(platform.database),
        news,
        runs,
        threads,
        at_once=settings.backtest_threads,
        per_user=settings.backtests_per_user,
        lease_seconds=settings.backtest_lease_seconds,
        poll_seconds=settings.bus_poll_seconds,
    )


def _studies(platform: Platform, given: Given, threads: Executor, drivers: Executor, judges: Judges) -> Studies:
    settings, news = platform.settings, News()
    store, queue = PostgresOptimizationStore(platform.database), PostgresOptimizationQueue(platform.database)
    bench = Bench(
        queue,
        asyncio.get_running_loop(),
        threads,
        settings.optimization_threads,
        settings.backtest_lease_seconds,
        platform.metrics.optimization_trials,
        judges,
    )
    worker: Worker[StudyClaim, Concluded] = Worker(
        queue,
        news,
        bench.run,
        drivers,
        at_once=settings.optimizations,
        per_user=settings.optimizations_per_user,
        lease_seconds=settings.backtest_lease_seconds,
        poll_seconds=settings.bus_poll_seconds,
    )
    watcher = Watcher(
        store.find, news, heartbeat_seconds=settings.heartbeat_seconds, poll_seconds=settings.bus_poll_seconds
    )
    return Studies(StudyStarter(store, given, platform.clock, worker.wake), worker, watcher, store)


@asynccontextmanager
async def _working(platform: Platform, *workers: Worker[Any, Any]) -> AsyncIterator[Callable[[], Any]]:
    """Have workers work while open; yield a probe that fails while one of them does not."""
    tasks = [asyncio.create_task(worker.work(), name="backtest-worker") for worker in workers]
    gauges = (platform.metrics.backtests, platform.metrics.optimizations)

    async def probe() -> None:
        for worker, task in zip(workers, tasks, strict=True):
            if task.done() or worker.failure is not None:
                raise WorkerDown(type(worker.failure).__name__ if worker.failure else "ended")

    async def count() -> None:
        for worker, gauge in zip(workers, gauges, strict=True):
            for state, number in (await worker.counts()).items():
                gauge.labels(state).set(number)

    try:
        async with sampling(platform.settings.sample_seconds, count):
            yield probe
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)
