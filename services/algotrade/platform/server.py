"""One grpc.aio server: application services in their layers, health by service, reflection, an orderly end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from algotrade.platform import limits
from algotrade.platform.certificates import Certificates
from algotrade.platform.http import AddressError
from algotrade.platform.interceptors import LayeredCalls, layers
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.policy import needs
from algotrade.platform.settings import Settings
from algotrade.platform.symbols import SymbolPool
from algotrade.platform.tokens import TokenVerifier

log = logger(__name__)

OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", limits.MAX_RESPONSE_BYTES),
    ("grpc.max_metadata_size", limits.MAX_METADATA_BYTES),
    ("grpc.max_concurrent_streams", limits.MAX_CONCURRENT_STREAMS),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),  # a busy peer sends late, then at once
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a share of its calls
)

Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Mount:
    """A service, ready to be served."""

    service: ServiceDescriptor
    register: Callable[[grpc.aio.Server], None]
    probes: Mapping[str, Probe] = field(default_factory=dict)  # dependency -> raises when it is away
    spared: frozenset[str] = frozenset()  # dependencies without which it still serves


class GrpcServer:
    """The server of one process. `start` it, read `port`, `stop` it."""

    def __init__(self, settings: Settings, metrics: Metrics, verifier: TokenVerifier, mounts: Sequence[Mount]) -> None:
        """Build everything but listen to nothing yet; PolicyError for an RPC that nobody declared an access for."""
        needed = needs(mount.service for mount in mounts)
        for mount in mounts:
            for method in mount.service.methods:
                if method.client_streaming:
                    raise TypeError(f"{method.full_name}: browsers cannot send streams, so the API has none")
        self._certificates = Certificates(settings.tls_dir) if settings.tls_dir else None
        around = layers(metrics, verifier, needed, settings, self._certificates)
        self._calls = LayeredCalls(metrics, needed, around, settings.stream_write_seconds)
        self._server = grpc.aio.server(interceptors=[self._calls], options=OPTIONS)
        self._health = health.aio.HealthServicer()
        self._names = [mount.service.full_name for mount in mounts]
        self._settings = settings
        self.port = 0
        for mount in mounts:
            mount.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.reflection:
            names = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server, pool=SymbolPool())

    async def start(self) -> None:
        """Listen and serve; AddressError where the address is taken."""
        try:
            self.port = self._listen(self._settings.grpc_address)
        except RuntimeError as error:
            raise AddressError(f"cannot listen on {self._settings.grpc_address}: is it in use?") from error
        await self._server.start()
        for name in self._names:
            await self.set_serving(name, serving=True)
        log.info("grpc.started", port=self.port, services=self._names)

    def _listen(self, address: str) -> int:
        if self._certificates is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, self._certificates.server_credentials())

    async def set_serving(self, service: str, *, serving: bool) -> None:
        """Say in grpc.health.v1 whether a service serves."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set(service, status)

    async def stop(self) -> None:
        """Say NOT_SERVING, end the streams so that their clients move on, give unary calls time to finish."""
        await self._health.enter_graceful_shutdown()
        self._calls.end_streams()
        await self._server.stop(self._settings.shutdown_grace_seconds)
        log.info("grpc.stopped", port=self.port)
