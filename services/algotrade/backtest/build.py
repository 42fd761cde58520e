"""Composes the service: the servicer, and beside it the worker in a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import grpc

from algotrade.backtest.explain import Explainer
from algotrade.backtest.news import News
from algotrade.backtest.postgres import PostgresBacktestStore
from algotrade.backtest.postgres_queue import PostgresBacktestQueue
from algotrade.backtest.run import Run, run
from algotrade.backtest.servicer import BacktestServicer
from algotrade.backtest.start import Starter
from algotrade.backtest.watch import Watcher
from algotrade.backtest.work import Worker
from algotrade.platform.channel import open_channel
from algotrade.platform.process import Platform
from algotrade.platform.sampling import sampling
from algotrade.platform.server import Mount
from algotrade.platform.upstream import SavedStrategies, serving_probe
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import backtest_service_pb2_grpc as pb_grpc


class WorkerDown(Exception):  # noqa: N818  (a state)
    """Nothing is run just now."""


@asynccontextmanager
async def build(platform: Platform, upstream: grpc.aio.Channel | None = None, runs: Run = run) -> AsyncIterator[Mount]:
    """Yield the service while its worker works.

    ``upstream`` reaches saved strategies; without one they are at the process's own address.
    """
    settings, clock = platform.settings, platform.clock
    store, news = PostgresBacktestStore(platform.database), News()
    channel = upstream or open_channel(settings.grpc_address)
    queue = PostgresBacktestQueue(platform.database)
    worker = Worker(
        queue,
        news,
        runs,
        threads=settings.backtest_threads,
        per_user=settings.backtests_per_user,
        lease_seconds=settings.backtest_lease_seconds,
        poll_seconds=settings.bus_poll_seconds,
    )
    starter = Starter(store, SavedStrategies(channel), clock, settings.data_dir / "samples", worker.wake)
    watcher = Watcher(store, news, heartbeat_seconds=settings.heartbeat_seconds, poll_seconds=settings.bus_poll_seconds)
    servicer = BacktestServicer(starter, worker, watcher, Explainer(store), store, news, clock)
    working = asyncio.create_task(worker.work(), name="backtest-worker")

    async def probe_worker() -> None:
        if working.done() or worker.failure is not None:
            raise WorkerDown(type(worker.failure).__name__ if worker.failure else "ended")

    async def count_runs() -> None:
        for state, count in (await queue.counts()).items():
            platform.metrics.backtests.labels(state).set(count)

    try:
        async with sampling(settings.sample_seconds, count_runs):
            yield Mount(
                pb.DESCRIPTOR.services_by_name["BacktestService"],
                partial(pb_grpc.add_BacktestServiceServicer_to_server, servicer),
                {
                    "database": platform.database_probe,
                    "worker": probe_worker,
                    "strategy": serving_probe(channel, "algotrade.v1.StrategyService"),
                },
            )
    finally:
        worker.stop()
        await working
        if upstream is None:
            await channel.close()
