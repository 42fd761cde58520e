"""Envoy's configuration, from one template, the settings and the API's descriptors."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import jinja2

from algotrade.platform import limits
from algotrade.platform.certificates import Certificates, service_uri
from algotrade.platform.errors import DOMAIN
from algotrade.platform.gateway import api
from algotrade.platform.gateway.rates import RATE_DOMAIN, Bucket, quotas, rate_service_configuration, tier_buckets
from algotrade.platform.gateway.replies import replies, retry_info
from algotrade.platform.health import HEALTH
from algotrade.platform.http import JWKS_PATH
from algotrade.platform.mesh import PROCESSES, elsewhere
from algotrade.platform.pages import ASSETS, PAGE
from algotrade.platform.settings import Settings

TEMPLATE: Final = "envoy.yaml.j2"
DRAIN_TEMPLATE: Final = "drain.sh.j2"
DRAIN: Final = "drain.sh"
NOTICE_SECONDS: Final = 5  # who balances connections looks so seldom whether a gateway still wants them
CONFIG: Final = "envoy.yaml"
DESCRIPTORS: Final = "algotrade.binpb"
ACCESS_LOG: Final = "access.log"
RATES: Final = "rates/config/algotrade.yaml"
OWN_CERTIFICATE: Final = "certificate.yaml"
AUTHORITIES: Final = "authorities.yaml"
HTTP: Final = "http"  # the cluster of the public keys and the pages
IDENTITY: Final = "algotrade.v1.IdentityService"
SHARED: Final = "services"  # the cluster of the services that have no address of their own
MAX_HEAP_BYTES: Final = 512 * limits.MIB
MAX_RATE_BUCKETS: Final = 100_000  # a tier: callers × methods; the one longest unused gives way, and begins anew
STREAM_IDLE_HEARTBEATS: Final = 4  # a stream that missed so many is dead


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens."""

    host: str
    port: int

    @property
    def named(self) -> bool:
        """Whether the host is a name, which may stand for several addresses that come and go."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "127.0.0.1:8080" or "[::1]:8080"."""
        host, _, port = text.rpartition(":")
        host = host.strip("[]")
        return cls("127.0.0.1" if host == "localhost" else host, int(port))

    @classmethod
    def parse_all(cls, text: str) -> tuple[Address, ...]:
        """Read addresses with commas between them."""
        return tuple(map(cls.parse, text.split(",")))


@dataclass(frozen=True, slots=True)
class Collector:
    """Where traces go, and which part of those that begin at the gateway, in percent."""

    address: Address
    tls: bool
    percent: float

    @classmethod
    def of(cls, settings: Settings) -> Collector | None:
        """Take what the settings say; None where there are no traces."""
        if not settings.otlp_endpoint:
            return None
        scheme, _, host = settings.otlp_endpoint.rstrip("/").partition("://")
        return cls(Address.parse(host), scheme == "https", settings.trace_ratio * 100)


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where the gateway finds what it needs: the services, and the HTTP port with the public keys.

    Services that the settings place in processes of their own are in `processes`, by the process's name.
    """

    grpc: Address
    http: Address
    jwks_path: str = JWKS_PATH
    processes: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, *, grpc_port: int = 0, http_port: int = 0) -> Upstreams:
        """Take the settings' addresses, with the ports that were really bound where those are given."""
        grpc, http = Address.parse(settings.grpc_address), Address.parse(settings.http_address)
        path = JWKS_PATH
        if settings.jwks_url:
            url = urlsplit(settings.jwks_url)
            http, path = Address.parse(url.netloc), url.path
        placed = {process: elsewhere(settings, service) for service, process in PROCESSES.items()}
        return cls(
            Address(grpc.host, grpc_port or grpc.port),
            Address(http.host, http_port or http.port),
            path,
            {process: Address.parse_all(address) for process, address in placed.items() if address},
        )

    def cluster(self, service: str) -> str:
        """Return the name of Envoy's cluster for a service, by its full name."""
        process = PROCESSES[service]
        return process if process in self.processes else SHARED

    @property
    def clusters(self) -> dict[str, tuple[Address, ...]]:
        """The clusters that take calls, by name."""
        needed = {self.cluster(service) for service in PROCESSES}
        return {name: self.processes.get(name, (self.grpc,)) for name in sorted(needed)}


def write_configuration(settings: Settings, upstreams: Upstreams, folder: Path, access_log: Path | None = None) -> Path:
    """Write configuration and descriptor set into a folder; return the configuration's path.

    The access log goes to a file in the folder unless it is told where.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptors = folder.absolute() / DESCRIPTORS
    descriptors.write_bytes(api.descriptor_set())
    if settings.tls_dir:
        for name in (OWN_CERTIFICATE, AUTHORITIES):
            (folder / name).write_text(_template(f"{name}.j2").render(tls_dir=str(settings.tls_dir.absolute())))
    path = folder / CONFIG
    path.write_text(render(settings, upstreams, descriptors, access_log or folder.absolute() / ACCESS_LOG))
    return path


def write_for_container(settings: Settings, folder: Path) -> None:
    """Write what an Envoy in a container of its own is started and stopped with, and what a service of rates is told.

    Envoy logs to its standard output.
    """
    write_configuration(settings, Upstreams.of(settings), folder, Path("/dev/stdout"))
    script = _template(DRAIN_TEMPLATE).render(
        admin=Address.parse(settings.envoy_admin_address),
        notice_seconds=NOTICE_SECONDS,
        drain_seconds=settings.gateway_drain_seconds,
    )
    (folder / DRAIN).write_text(script)
    rates = folder / RATES
    rates.parent.mkdir(parents=True, exist_ok=True)
    rates.write_text(rate_service_configuration(settings))


def render(settings: Settings, upstreams: Upstreams, descriptors: Path, access_log: Path) -> str:
    """Return the configuration as YAML text. Where there are certificates, files beside it name them."""
    methods = api.methods()
    certificates = Certificates(settings.tls_dir) if settings.tls_dir else None
    return _template(TEMPLATE).render(
        admin=Address.parse(settings.envoy_admin_address),
        edge=Address.parse(settings.gateway_address),
        metrics=Address.parse(settings.gateway_metrics_address) if settings.gateway_metrics_address else None,
        clusters=upstreams.clusters,
        cluster_of={service: upstreams.cluster(service) for service in PROCESSES},
        http=upstreams.http,
        tls=None
        if certificates is None
        else {
            "own": str(descriptors.with_name(OWN_CERTIFICATE)),
            "authorities": str(descriptors.with_name(AUTHORITIES)),
            "uris": {
                name: service_uri(certificates.trust_domain, name) if name != SHARED else certificates.uri
                for name in upstreams.clusters
            }
            | {HTTP: service_uri(certificates.trust_domain, PROCESSES[IDENTITY])},
        },
        page=PAGE,
        assets=ASSETS,
        jwks_path=upstreams.jwks_path,
        health_service=HEALTH,
        services=[service.full_name for service in api.services()],
        methods=methods,
        public_paths=[
            "/grpc.health.v1.Health/Check",
            *(method.path for method in methods if method.public),
        ],
        replies=list(replies()),
        retry_info=retry_info(),
        domain=DOMAIN,
        descriptor_path=str(descriptors),
        reflection=settings.reflection,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        max_token_seconds=settings.access_token_seconds,
        clock_skew_seconds=settings.clock_skew_seconds,
        cors_origins=settings.cors_origins,
        trusted_proxies=settings.trusted_proxies,
        rate_limits=settings.rate_limits,
        max_rate_buckets=MAX_RATE_BUCKETS,
        address_bucket=Bucket.parse("address", settings.rate_address, by_address=True),
        tier_buckets=tier_buckets(settings),
        rate_service=Address.parse(settings.rate_service) if settings.rate_service and settings.rate_limits else None,
        rate_domain=RATE_DOMAIN,
        quotas=quotas(settings),
        collector=Collector.of(settings),
        access_log=settings.access_log,
        access_log_path=str(access_log),
        request_headers_seconds=settings.request_headers_seconds,
        deadline_seconds=math.ceil(settings.unary_deadline_seconds),
        stream_idle_seconds=math.ceil(settings.heartbeat_seconds * STREAM_IDLE_HEARTBEATS),
        max_request_bytes=limits.MAX_REQUEST_BYTES,
        max_response_bytes=limits.MAX_RESPONSE_BYTES,
        max_metadata_bytes=limits.MAX_METADATA_BYTES,
        max_correlation_id_chars=limits.MAX_CORRELATION_ID_CHARS,
        max_client_streams=limits.MAX_CLIENT_STREAMS,
        max_concurrent_streams=limits.MAX_CONCURRENT_STREAMS,
        max_heap_bytes=MAX_HEAP_BYTES,
        max_connections=settings.gateway_connections,
    )


def _template(name: str) -> jinja2.Template:
    """A wheel carries the templates beside this file; a checkout keeps them in gateway/."""
    packaged = Path(__file__).with_name(name)
    path = packaged if packaged.exists() else Path(__file__).parents[4] / "gateway" / name
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701  (not HTML)
    return environment.from_string(path.read_text())
