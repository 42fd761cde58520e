"""Composes NotificationService: the servicer, and beside it who collects, who listens and who delivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from algotrade.notification.address import Addresses
from algotrade.notification.audience import Audience
from algotrade.notification.collect import Collector
from algotrade.notification.deliver import Deliverer
from algotrade.notification.postgres import PostgresDeliveries, PostgresInboxes
from algotrade.notification.postgres_channels import PostgresChannels
from algotrade.notification.postgres_intake import PostgresIntake
from algotrade.notification.seal import Seal
from algotrade.notification.servicer import NotificationServicer
from algotrade.notification.stream import Streamer
from algotrade.platform.background import end
from algotrade.platform.process import Platform
from algotrade.platform.sampling import sampling
from algotrade.platform.server import Mount
from algotrade.platform.tokens import load_or_create_key
from algotrade.v1 import notification_service_pb2 as pb
from algotrade.v1 import notification_service_pb2_grpc as pb_grpc


class CollectorDown(Exception):  # noqa: N818  (a state)
    """A topic is not read just now, so inboxes lag."""


class DelivererDown(Exception):  # noqa: N818  (a state)
    """Nothing is sent outside just now."""


@asynccontextmanager
async def build(platform: Platform) -> AsyncIterator[Mount]:
    """Yield the service while it collects and delivers."""
    settings, clock = platform.settings, platform.clock
    audience, deliveries = Audience(), PostgresDeliveries(platform.database)
    inboxes, channels = PostgresInboxes(platform.database), PostgresChannels(platform.database)
    seal = Seal(await asyncio.to_thread(load_or_create_key, settings.private_keys / "channels.pem"))
    addresses = Addresses(
        settings.channel_schemes,
        allow_private=settings.channel_private_hosts,
        seconds=settings.delivery_seconds,
        threads=settings.delivery_threads,
    )
    deliverer = Deliverer(
        deliveries,
        addresses,
        seal,
        clock,
        platform.metrics,
        at_once=settings.delivery_threads,
        seconds=settings.delivery_seconds,
        poll_seconds=settings.bus_poll_seconds,
    )
    intake = PostgresIntake(platform.database, clock, together_seconds=settings.rejections_together_seconds)
    collector = Collector(intake, platform.bus, platform.cache, audience, platform.metrics, deliverer.wake)
    streamer = Streamer(inboxes, audience, clock, heartbeat_seconds=settings.heartbeat_seconds)
    servicer = NotificationServicer(inboxes, channels, deliveries, streamer, addresses, seal, clock)
    collecting = asyncio.create_task(collector.run(), name="notification-collector")
    delivering = asyncio.create_task(deliverer.run(), name="notification-deliverer")
    listening = asyncio.create_task(audience.listen(platform.bus, platform.cache), name="notification-audience")

    async def probe_collector() -> None:
        if collecting.done() or collector.failure is not None:
            raise CollectorDown(type(collector.failure).__name__ if collector.failure else "ended")

    async def probe_deliverer() -> None:
        if delivering.done() or deliverer.failure is not None:
            raise DelivererDown(type(deliverer.failure).__name__ if deliverer.failure else "ended")

    try:
        async with sampling(settings.sample_seconds, collector.measure):
            yield Mount(
                pb.DESCRIPTOR.services_by_name["NotificationService"],
                partial(pb_grpc.add_NotificationServiceServicer_to_server, servicer),
                {"database": platform.database_probe, "collector": probe_collector, "deliverer": probe_deliverer}
                | platform.bus_probes
                | platform.aids,
                frozenset(platform.aids),
            )
    finally:
        await end(collecting, delivering, listening)
        addresses.close()
