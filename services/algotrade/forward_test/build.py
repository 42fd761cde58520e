"""Composes the service: the servicer, and beside it the worker, the relay and the marks, each in a task of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import grpc

from algotrade.forward_test.archive import Archivist
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.charts import Charter
from algotrade.forward_test.checks import Checker
from algotrade.forward_test.elsewhere import Elsewhere
from algotrade.forward_test.follow import Worker
from algotrade.forward_test.lifecycle import Lifecycle
from algotrade.forward_test.marks import Marks
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.postgres_archive import PostgresArchive
from algotrade.forward_test.postgres_charts import PostgresCharts
from algotrade.forward_test.postgres_checks import PostgresChecks
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.postgres_outbox import PostgresOutbox
from algotrade.forward_test.postgres_points import PostgresPoints
from algotrade.forward_test.postgres_proofs import PostgresProofs
from algotrade.forward_test.postgres_roster import PostgresRoster
from algotrade.forward_test.postgres_seals import PostgresSeals
from algotrade.forward_test.postgres_silences import PostgresSilences
from algotrade.forward_test.relay import Relay
from algotrade.forward_test.seals import Sealer
from algotrade.forward_test.servicer import ForwardTestServicer
from algotrade.forward_test.shards import SHARDS
from algotrade.forward_test.silence import Watch
from algotrade.forward_test.source import Source
from algotrade.forward_test.store import Ledger
from algotrade.forward_test.stream import Streamer
from algotrade.forward_test.upstream import Upstream
from algotrade.forward_test.verify import Verifier
from algotrade.platform.background import end
from algotrade.platform.clock import steady
from algotrade.platform.log import logger
from algotrade.platform.mesh import Channels
from algotrade.platform.process import Platform
from algotrade.platform.sampling import sampling
from algotrade.platform.server import Mount
from algotrade.platform.settings import Settings
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.platform.upstream import serving_probe
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import forward_test_service_pb2_grpc as pb_grpc

log = logger(__name__)

STRATEGY: Final = "algotrade.v1.StrategyService"
MARKET_DATA: Final = "algotrade.v1.MarketDataService"


class WorkerDown(Exception):  # noqa: N818  (a state)
    """No session is stepped just now."""


@asynccontextmanager
async def build(
    platform: Platform, upstream: grpc.aio.Channel | None = None, ledger: Ledger | None = None
) -> AsyncIterator[Mount]:
    """Yield the service while its worker runs.

    ``upstream`` reaches strategies and market data; without one they are where the settings say.
    """
    settings, clock = platform.settings, platform.clock
    changes, store = Changes(), PostgresSessionStore(platform.database, platform.reader)
    channels = Channels(settings, upstream)
    strategies, markets = channels.to(STRATEGY), channels.to(MARKET_DATA)
    outbox = PostgresOutbox(platform.database)
    relay = Relay(
        outbox,
        platform.bus,
        SHARDS,
        poll_seconds=settings.bus_poll_seconds,
    )

    def has_first() -> bool:
        """Whether this process does what is to be done once, whatever the number of workers."""
        return SHARDS[0] in worker.shards

    marks = Marks(platform.bus, clock, every_seconds=settings.realtime_seconds)
    archive = PostgresArchive(platform.database)
    proofs, source = PostgresProofs(platform.database), Source(platform.bus, archive)
    archivist = Archivist(
        archive,
        platform.bus,
        clock,
        after_seconds=settings.archive_after_seconds,
        every_seconds=settings.archive_poll_seconds,
        here=has_first,
    )
    charter = Charter(PostgresCharts(platform.database), source, every_seconds=settings.chart_seconds, here=has_first)
    checker = Checker(
        PostgresChecks(platform.database),
        proofs,
        source,
        store,
        clock,
        platform.metrics,
        every_seconds=settings.check_seconds,
        replay_seconds=settings.check_replay_seconds,
        shards=lambda: worker.shards,
    )
    sealer = Sealer(PostgresSeals(platform.database), every_seconds=settings.seal_seconds)
    worker = Worker(
        ledger or PostgresLedger(platform.database),
        PostgresRoster(platform.database, worker_name(settings)),
        platform.bus,
        changes,
        steady(clock),
        platform.metrics,
        checkpoint_seconds=settings.checkpoint_seconds,
        poll_seconds=settings.bus_poll_seconds,
        lease_seconds=settings.worker_lease_seconds,
        stored=relay.wake,
        moved=marks.collect,
        source=source,
    )
    watch = Watch(
        PostgresSilences(platform.database),
        steady(clock),
        platform.metrics,
        seconds=settings.silence_seconds,
        told=relay.wake,
    )
    elsewhere = Elsewhere(platform.bus, changes, lambda: worker.shards)
    lifecycle = Lifecycle(
        store,
        Upstream(strategies, markets),
        changes,
        clock,
        apply_seconds=settings.command_seconds,
        poll_seconds=settings.bus_poll_seconds,
        stored=relay.wake,
    )
    streamer = Streamer(
        store,
        changes,
        clock,
        heartbeat_seconds=settings.heartbeat_seconds,
        mark_seconds=settings.mark_seconds,
    )
    verifier = Verifier(proofs, source, seconds=settings.verify_seconds, at_once=settings.verifications)
    servicer = ForwardTestServicer(lifecycle, store, PostgresPoints(platform.reader), streamer, verifier)
    working = asyncio.create_task(worker.run(), name="forward-test-worker")
    working.add_done_callback(_report)
    relaying = asyncio.create_task(relay.run(), name="forward-test-relay")
    archiving = asyncio.create_task(archivist.run(), name="forward-test-archive")
    charting = asyncio.create_task(charter.run(), name="forward-test-charts")
    checking = asyncio.create_task(checker.run(), name="forward-test-checks")
    sealing = asyncio.create_task(sealer.run(), name="forward-test-seals")
    watching = asyncio.create_task(watch.run(), name="forward-test-silence")
    marking = asyncio.create_task(marks.run(), name="forward-test-marks")
    hearing = asyncio.create_task(elsewhere.run(), name="forward-test-elsewhere")

    async def probe_worker() -> None:
        if working.done() or worker.failure is not None:
            raise WorkerDown(type(worker.failure).__name__ if worker.failure else "ended")

    async def count_sessions() -> None:
        for status, count in (await store.counts()).items():
            platform.metrics.sessions.labels(status).set(count)

    async def measure_lag() -> None:
        places = worker.places()
        for partition in range(MARKET_DATA_UPDATES.partitions):
            end = (await platform.bus.bounds(MARKET_DATA_UPDATES, partition)).end if partition in places else 0
            platform.metrics.worker_lag_records.labels(partition).set(max(0, end - places.get(partition, end)))

    async def measure_outbox() -> None:
        platform.metrics.outbox_seconds.set(await outbox.oldest_seconds())

    try:
        async with sampling(settings.sample_seconds, count_sessions, measure_lag, measure_outbox):
            yield Mount(
                pb.DESCRIPTOR.services_by_name["ForwardTestService"],
                lambda server: pb_grpc.add_ForwardTestServiceServicer_to_server(servicer, server),
                {
                    "database": platform.database_probe,
                    **platform.bus_probes,
                    "worker": probe_worker,
                    "strategy": serving_probe(strategies, STRATEGY),
                    "market_data": serving_probe(markets, MARKET_DATA),
                },
            )
    finally:
        worker.stop()
        await asyncio.wait([working], timeout=settings.shutdown_grace_seconds)
        await end(working, hearing, marking, watching, sealing, checking, charting, archiving, relaying)
        with suppress(Exception):  # what is not sent now is sent after the next start
            await relay.drain()
        await channels.close()


def worker_name(settings: Settings) -> str:
    """Return the name of this process's worker: one that begins where another ended goes on with its sessions."""
    return settings.worker_name or f"{socket.gethostname()} {settings.grpc_address}"


def _report(working: asyncio.Task[None]) -> None:
    if not working.cancelled() and (error := working.exception()) is not None:
        log.error("worker.ended", exc_info=error)
