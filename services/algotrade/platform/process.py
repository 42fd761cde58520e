"""Compose a process: open what services share, build the services handed in, serve until told to stop.

`algotrade up` hands in every service; each service's ``__main__`` hands in itself.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

from joserfc.jwk import ECKey, KeySet
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform import failpoints, log
from algotrade.platform.bus import TransactionalBus
from algotrade.platform.bus_kafka import KafkaBus, kafka_bus
from algotrade.platform.bus_outbox import BusOutbox
from algotrade.platform.bus_postgres import PostgresBus, trimming
from algotrade.platform.cache import Cache, MemoryCache
from algotrade.platform.cache_redis import RedisCache
from algotrade.platform.certificates import Certificates
from algotrade.platform.clock import Clock, SystemClock
from algotrade.platform.database import open_database, ping
from algotrade.platform.error_reports import error_reports
from algotrade.platform.gateway.api import services
from algotrade.platform.health import HEALTH, Health
from algotrade.platform.http import http_server
from algotrade.platform.kafka import Cluster
from algotrade.platform.key_ring import KeyRing
from algotrade.platform.mesh import Channels, elsewhere
from algotrade.platform.metrics import Metrics
from algotrade.platform.pages import read_pages
from algotrade.platform.profiling import profiles
from algotrade.platform.published_keys import PublishedKeys
from algotrade.platform.redis import RedisClient, open_redis
from algotrade.platform.redis import probe as probe_redis
from algotrade.platform.replica import Reader, open_replica
from algotrade.platform.revocations import Revocations
from algotrade.platform.server import GrpcServer, Mount, Probe
from algotrade.platform.settings import Settings
from algotrade.platform.tokens import KeySource, TokenSigner, TokenVerifier, public_keys
from algotrade.platform.topics import TOPICS
from algotrade.platform.tracing import tracing
from algotrade.platform.upstream import serving_probe


class KeyAwayError(Exception):
    """A service that signs was started where there is nothing to sign with."""


@dataclass(frozen=True)
class Platform:
    """What every service of a process is given."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    database: AsyncEngine
    bus: TransactionalBus
    key: ECKey | None  # signs tokens; None where identity is another process
    published: PublishedKeys | None = None  # … and its public keys
    redis: RedisClient | None = None
    ring: KeyRing | None = None  # where the key may change while it runs
    replica: AsyncEngine | None = None

    @property
    def signer(self) -> TokenSigner:
        """Makes access tokens; for identity."""
        if self.key is None:
            raise KeyAwayError("ALGOTRADE_JWKS_URL says that another process signs tokens: identity cannot run here")
        key = self.key if self.ring is None else partial(getattr, self.ring, "current")
        return TokenSigner(key, self.settings.token_issuer, self.settings.token_audience, self._seconds)

    @cached_property
    def revocations(self) -> Revocations:
        """Knows which tokens are good no more; `serving` keeps it fresh."""
        settings = self.settings
        poll, stale = settings.revocation_poll_seconds, settings.revocation_stale_seconds
        return Revocations(self.database, self.cache, poll, stale)

    @cached_property
    def reader(self) -> Reader:
        """Reads what is long, and need not be of this very moment."""
        return Reader(self.database, self.metrics, self.replica, self.settings.database_replica_lag_seconds)

    @cached_property
    def cache(self) -> Cache:
        """What may be lost at any time: in Redis where there is one, else in this process."""
        if self.redis is None:
            return MemoryCache(self.metrics)
        return RedisCache(self.redis, self.metrics, self.settings.redis_retry_seconds)

    @cached_property
    def _good_keys(self) -> KeySource:
        """What tokens may be signed with. Every call asks, so a set that cannot change is made once."""
        changing = self.published or self.ring
        if changing is not None:
            return changing
        keys = KeySet.import_key_set(self.jwks)  # type: ignore[arg-type]
        return lambda: keys

    @property
    def verifier(self) -> TokenVerifier:
        """Checks access tokens; for every server."""
        settings = self.settings
        return TokenVerifier(
            self._good_keys,
            settings.token_issuer,
            settings.token_audience,
            self._seconds,
            settings.clock_skew_seconds,
            self.revocations,
        )

    @property
    def jwks(self) -> dict[str, Any]:
        """The public halves of the keys that are here."""
        if self.ring is not None:
            return self.ring.jwks
        return public_keys(*([self.key] if self.key else []))

    @cached_property
    def bus_probes(self) -> dict[str, Probe]:
        """Raise while the bus is away, by name; none where it is the database's."""
        return {"kafka": self.bus.ping} if isinstance(self.bus, KafkaBus) else {}

    @cached_property
    def database_probe(self) -> Probe:
        """Raises while the database is away; the same for every service, so that health asks once."""
        return partial(ping, self.database)

    @cached_property
    def aids(self) -> dict[str, Probe]:
        """What services use where there is one and can do without; by name, raises while it is away."""
        return {} if self.redis is None else {"redis": partial(probe_redis, self.redis, self.metrics)}

    def _seconds(self) -> float:
        return self.clock.now_ns() / 1e9


Builder = Callable[[Platform], AbstractAsyncContextManager[Mount]]


@asynccontextmanager
async def open_platform(
    settings: Settings, clock: Clock | None = None, name: str = "algotrade"
) -> AsyncIterator[Platform]:
    """Open Redis, the database and the bus, read or make the signing key; close all of it at the end.

    ``name`` is what traces call this process.
    """
    failpoints.arm(settings.failpoint)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        for aid in (error_reports(settings, name), profiles(settings), tracing(settings, name)):
            await stack.enter_async_context(aid)
        redis = await stack.enter_async_context(open_redis(settings, metrics))
        database = await stack.enter_async_context(open_database(settings, metrics))
        replica = await stack.enter_async_context(open_replica(settings))
        bus = await stack.enter_async_context(open_bus(settings, metrics, database))
        key, published, ring = None, None, None
        if settings.jwks_url:
            published = PublishedKeys(settings.jwks_url, Certificates(settings.tls_dir) if settings.tls_dir else None)
            await stack.enter_async_context(published.kept_fresh(settings.jwks_refresh_seconds))
        else:
            ring = await asyncio.to_thread(KeyRing, settings.private_keys)
            key = ring.current
            await stack.enter_async_context(ring.kept_fresh(settings.jwks_refresh_seconds))
        yield Platform(settings, clock or SystemClock(), metrics, database, bus, key, published, redis, ring, replica)


@asynccontextmanager
async def open_bus(settings: Settings, metrics: Metrics, database: AsyncEngine) -> AsyncIterator[TransactionalBus]:
    """Yield the bus that the settings name, with every topic. Raises BusRefused, BusAway."""
    if settings.bus == "kafka":
        outbox = BusOutbox(database, settings.bus_poll_seconds)
        async with kafka_bus(Cluster.of(settings), metrics, outbox) as kafka:
            await kafka.create_topics(TOPICS)
            yield kafka
    else:
        bus = PostgresBus(database, metrics, settings.bus_poll_seconds)
        await bus.create_topics(TOPICS)
        async with trimming(bus, settings.bus_trim_seconds):
            yield bus


@asynccontextmanager
async def serving(platform: Platform, builders: Sequence[Builder]) -> AsyncIterator[GrpcServer]:
    """Build services and serve them while the context is open; services close after the server, in reverse order."""
    async with AsyncExitStack() as stack:
        # First, since the port is taken where this platform already runs: then nothing of its has been touched.
        await stack.enter_async_context(
            http_server(
                platform.settings.http_address,
                platform.metrics.registry,
                lambda: platform.jwks,
                read_pages(platform.settings.pages_dir) if platform.settings.pages_dir else None,
                Certificates(platform.settings.tls_dir) if platform.settings.tls_dir else None,
            )
        )
        await stack.enter_async_context(platform.revocations.kept_fresh())
        mounts = [await stack.enter_async_context(build(platform)) for build in builders]
        channels = Channels(platform.settings)
        stack.push_async_callback(channels.close)
        health = Health([*mounts, *_peers(platform.settings, mounts, channels)], platform.clock, platform.metrics)
        server = GrpcServer(platform.settings, platform.metrics, platform.verifier, [*mounts, health.mount])
        await server.start()
        stack.push_async_callback(server.stop)
        await stack.enter_async_context(health.watching(server))
        yield server


def _peers(settings: Settings, mounts: Sequence[Mount], channels: Channels) -> list[Mount]:
    """Return the services of other processes, each with the one thing that can be seen of it from here."""
    here = {mount.service.full_name for mount in mounts}
    return [
        Mount(service, lambda server: None, {"process": serving_probe(channels.to(name), name)})
        for service in services()
        if (name := service.full_name) not in here and name != HEALTH and elsewhere(settings, name)
    ]


GARBAGE_THRESHOLDS: Final = (5_000, 5, 20)  # new objects; collections of those; collections of what outlived them


async def run(settings: Settings, builders: Sequence[Builder]) -> None:
    """Serve until SIGINT or SIGTERM."""
    log.configure(settings)
    stop = stop_signal()
    async with open_platform(settings, name=_service(builders[0])) as platform, serving(platform, builders):
        keep_what_is_loaded()
        await stop.wait()


def keep_what_is_loaded() -> None:
    """Have the collector of garbage pass over all that there is by now: modules and services, none of it ever garbage.

    To go through it takes a tenth of a second and more, in which no tick moves. So does what a worker holds by and by:
    the old is gone through seldom, and what is young in larger parts.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def _service(builder: Builder) -> str:
    """Return the name of the service whose builder this is, be it in the module that is run."""
    spec = sys.modules[builder.__module__].__spec__
    assert spec is not None  # noqa: S101  (it was imported, or run by -m)
    return spec.name.split(".")[1]


def stop_signal() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set. A second signal does not wait for an orderly end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def told() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, told)
    return stop
