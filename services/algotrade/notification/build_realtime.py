"""Composes RealtimeService: the servicer, and beside it the hub that reads for it and who listens for inboxes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import grpc

from algotrade.notification.audience import Audience
from algotrade.notification.hub import Hub
from algotrade.notification.postgres import PostgresInboxes
from algotrade.notification.realtime_servicer import RealtimeServicer
from algotrade.notification.show import Shower
from algotrade.notification.upstream import Upstream
from algotrade.platform.background import end
from algotrade.platform.mesh import Channels
from algotrade.platform.process import Platform
from algotrade.platform.server import Mount
from algotrade.platform.upstream import serving_probe
from algotrade.v1 import realtime_service_pb2 as pb
from algotrade.v1 import realtime_service_pb2_grpc as pb_grpc

FORWARD_TEST: Final = "algotrade.v1.ForwardTestService"
MARKET_DATA: Final = "algotrade.v1.MarketDataService"


class HubDown(Exception):  # noqa: N818  (a state)
    """A topic is not read just now, so screens stand still."""


@asynccontextmanager
async def build_realtime(platform: Platform, upstream: grpc.aio.Channel | None = None) -> AsyncIterator[Mount]:
    """Yield the service while its hub reads.

    ``upstream`` reaches sessions and market data; without one they are where the settings say.
    """
    settings, clock = platform.settings, platform.clock
    channels = Channels(settings, upstream)
    sessions, markets = channels.to(FORWARD_TEST), channels.to(MARKET_DATA)
    hub, audience = Hub(platform.bus), Audience()
    shower = Shower(
        hub,
        platform.bus,
        PostgresInboxes(platform.database),
        audience,
        Upstream(sessions, markets),
        clock,
        heartbeat_seconds=settings.heartbeat_seconds,
        every_seconds=settings.screen_seconds,
    )
    servicer = RealtimeServicer(shower)
    reading = asyncio.create_task(hub.run(), name="realtime-hub")
    listening = asyncio.create_task(audience.listen(platform.bus, platform.cache), name="realtime-audience")

    async def probe_hub() -> None:
        if reading.done() or hub.failure is not None:
            raise HubDown(type(hub.failure).__name__ if hub.failure else "ended")

    try:
        yield Mount(
            pb.DESCRIPTOR.services_by_name["RealtimeService"],
            partial(pb_grpc.add_RealtimeServiceServicer_to_server, servicer),
            {
                "database": platform.database_probe,
                "hub": probe_hub,
                "forward_test": serving_probe(sessions, FORWARD_TEST),
                "market_data": serving_probe(markets, MARKET_DATA),
            }
            | platform.bus_probes
            | platform.aids,
            frozenset(platform.aids),
        )
    finally:
        await end(reading, listening)
        await channels.close()
