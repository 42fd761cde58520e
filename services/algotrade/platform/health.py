"""How the platform is: each service with what it depends on, for people (GetDetailedHealth) and for grpc.health.v1.

Dependencies are looked at once a second at most, however many ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from algotrade.platform.background import background
from algotrade.platform.clock import Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.server import GrpcServer, Mount, Probe
from algotrade.v1 import health_service_pb2 as pb
from algotrade.v1 import health_service_pb2_grpc as pb_grpc

log = logger(__name__)

PROBE_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 1.0
HEALTH: Final = "algotrade.v1.HealthService"

Seen = tuple[str, float]  # what a probe found wrong, empty where nothing is, and how many seconds it took


class Health(pb_grpc.HealthServiceServicer):
    """Looks at the dependencies of the services of one process."""

    def __init__(self, mounts: Sequence[Mount], clock: Clock, metrics: Metrics) -> None:
        """Take the services with their probes."""
        self._metrics = metrics
        self._mounts = tuple(mounts)
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._looking = asyncio.Lock()
        self._seen: pb.GetDetailedHealthResponse | None = None
        self._seen_at = 0.0

    @property
    def mount(self) -> Mount:
        """The service itself, to be served beside the others."""
        register = partial(pb_grpc.add_HealthServiceServicer_to_server, self)
        return Mount(pb.DESCRIPTOR.services_by_name["HealthService"], register)

    async def GetDetailedHealth(
        self, request: pb.GetDetailedHealthRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetDetailedHealthResponse:
        """Return every service with what it depends on."""
        return await self.look()

    async def look(self) -> pb.GetDetailedHealthResponse:
        """Run the probes, all at once; or return what was seen just now."""
        async with self._looking:
            if self._seen is None or time.monotonic() - self._seen_at > FRESH_SECONDS:
                self._seen = await self._probe_all()
                self._seen_at = time.monotonic()
            return self._seen

    @asynccontextmanager
    async def watching(self, server: GrpcServer) -> AsyncIterator[None]:
        """While open, say NOT_SERVING in grpc.health.v1 for each service that lacks something."""
        async with background(self._watch(server), "health"):
            yield

    async def _watch(self, server: GrpcServer) -> None:
        serving: dict[str, bool] = {}
        while True:
            for service in (await self.look()).services:
                healthy = service.status != pb.HEALTH_STATUS_UNHEALTHY
                if healthy != serving.get(service.service, True):
                    missing = [one.name for one in service.dependencies if one.status != pb.HEALTH_STATUS_HEALTHY]
                    log.warning("health.changed", service=service.service, healthy=healthy, missing=missing)
                    await server.set_serving(service.service, serving=healthy)
                serving[service.service] = healthy
            await asyncio.sleep(FRESH_SECONDS)

    async def _probe_all(self) -> pb.GetDetailedHealthResponse:
        now_ns = self._clock.now_ns()
        uptime, check_time = Duration(), Timestamp()
        uptime.FromNanoseconds(now_ns - self._started_ns)
        check_time.FromNanoseconds(now_ns)
        probes = list({probe for mount in self._mounts for probe in mount.probes.values()})  # services share most
        seen = dict(zip(probes, await asyncio.gather(*map(_seen, probes)), strict=True))
        found = [_service(mount, uptime, seen) for mount in self._mounts]
        for service in found:
            for one in service.dependencies:
                healthy = one.status == pb.HEALTH_STATUS_HEALTHY
                self._metrics.dependency_up.labels(service.service, one.name).set(healthy)
        return pb.GetDetailedHealthResponse(
            status=_worst([service.status for service in found]),
            services=sorted(found, key=lambda service: service.service),
            version=version("algotrade"),
            check_time=check_time,
        )


def _service(mount: Mount, uptime: Duration, seen: Mapping[Probe, Seen]) -> pb.ServiceHealth:
    found = [
        _dependency(name, seen[probe], spared=name in mount.spared) for name, probe in sorted(mount.probes.items())
    ]
    return pb.ServiceHealth(
        service=mount.service.full_name,
        status=_worst([dependency.status for dependency in found]),
        dependencies=found,
        uptime=uptime,
    )


async def _seen(probe: Probe) -> Seen:
    """Run one probe. What went wrong is told by kind only: anybody may ask, and texts may hold addresses."""
    begin = time.perf_counter()
    detail = ""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe()
    except TimeoutError:
        detail = f"no answer in {PROBE_SECONDS:g} s"
    except Exception as error:
        detail = type(error).__name__
        log.debug("health.probe_failed", error=repr(error))
    return detail, time.perf_counter() - begin


def _dependency(name: str, seen: Seen, *, spared: bool) -> pb.DependencyHealth:
    detail, seconds = seen
    latency = Duration()
    latency.FromMicroseconds(round(seconds * 1e6))
    bad = pb.HEALTH_STATUS_DEGRADED if spared else pb.HEALTH_STATUS_UNHEALTHY
    status = bad if detail else pb.HEALTH_STATUS_HEALTHY
    return pb.DependencyHealth(name=name, status=status, detail=detail, latency=latency)


def _worst(found: Sequence[pb.HealthStatus.ValueType]) -> pb.HealthStatus.ValueType:
    return max(found, default=pb.HEALTH_STATUS_HEALTHY)
