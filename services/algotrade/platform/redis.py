"""Redis, one server or a cluster, found by the settings' URL. What is in it can always be built again.

So a Redis that is away is no error of the caller's: whoever uses it goes on without, within a bounded time. What is
wrong in the settings, a password or a certificate, is told when the process starts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from algotrade.platform import limits
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

log = logger(__name__)

T = TypeVar("T")

RedisClient = Redis | RedisCluster

# What a call raises when Redis is away, full, or does not know what it knew.
AWAY: Final = (RedisError, RedisClusterException, OSError)

POOL_SECONDS: Final = 5.0  # a caller waits so long for a connection that others use
CLUSTER_ATTEMPTS: Final = 3  # a key's place is asked again where it has moved


class RedisUnusable(Exception):  # noqa: N818  (a state)
    """The settings are wrong: the sentence names the variable."""


@asynccontextmanager
async def open_redis(settings: Settings, metrics: Metrics) -> AsyncIterator[RedisClient | None]:
    """Yield a client, None where the settings name no Redis. Raises RedisUnusable; one that is away is only logged."""
    if settings.redis_url is None:
        yield None
        return
    client = _client(settings)
    try:
        await _greet(client, settings, metrics)
        yield client
    finally:
        await client.aclose()


async def probe(client: RedisClient, metrics: Metrics) -> None:
    """Ask every server for its memory; raises one of AWAY."""
    metrics.redis_memory.set(await _used_bytes(client))


async def answer(call: Awaitable[T]) -> T:
    """Return what a call of the client's returns; raises what it raises.

    redis-py waits by Python 3.11's wait_for for a command to be written, which loses a cancellation that comes in the
    moment it has been: a deadline would pass unheard, a task never end. Here it is raised once Redis has answered.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a coroutine runs in one)
    before = task.cancelling()
    try:
        return await call
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


async def listening(client: RedisClient, channel: str) -> AsyncGenerator[bytes | None, None]:
    """Yield what is published on a channel, first None once it is listened to. Raises one of AWAY."""
    async with client.pubsub() as subscription:
        await answer(subscription.subscribe(channel))
        while True:
            message = await subscription.get_message(timeout=None)
            if message is not None:
                yield message["data"] if message["type"] == "message" else None


def _client(settings: Settings) -> RedisClient:
    assert settings.redis_url is not None  # noqa: S101  (looked at by the caller)
    url, seconds = settings.redis_url.get_secret_value(), settings.redis_timeout_seconds
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "protocol": 2}
    if settings.redis_ca is not None:
        options["ssl_ca_certs"] = str(settings.redis_ca)
    if settings.redis_cluster:
        retry = Retry(NoBackoff(), CLUSTER_ATTEMPTS)
        return RedisCluster.from_url(url, max_connections=limits.MAX_REDIS_CONNECTIONS, retry=retry, **options)
    # Once more: a connection that has rested may have been cut. A server that is silent is not asked twice.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    pool = BlockingConnectionPool.from_url(
        url, max_connections=limits.MAX_REDIS_CONNECTIONS, timeout=POOL_SECONDS, retry=retry, **options
    )
    return Redis.from_pool(pool)


async def _greet(client: RedisClient, settings: Settings, metrics: Metrics) -> None:
    assert settings.redis_url is not None  # noqa: S101  (looked at by the caller)
    url = urlsplit(settings.redis_url.get_secret_value())
    address = f"{url.hostname}:{url.port or 6379}"
    try:
        await probe(client, metrics)
    except AWAY as error:
        reasons = list(_reasons(error))
        if any(isinstance(one, AuthenticationError) or str(one).startswith(("NOAUTH", "WRONGPASS")) for one in reasons):
            raise RedisUnusable(f"ALGOTRADE_REDIS_URL: Redis at {address} refuses the password") from None
        if any(isinstance(one, ssl.SSLCertVerificationError) for one in reasons):
            sentence = f"ALGOTRADE_REDIS_CA: the certificate of Redis at {address} is vouched for by somebody else"
            raise RedisUnusable(sentence) from None
        log.warning("redis.away", address=address, error=type(error).__name__)
    else:
        log.info("redis.found", address=address, cluster=settings.redis_cluster, tls=url.scheme == "rediss")


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def _used_bytes(client: RedisClient) -> int:
    if isinstance(client, RedisCluster):
        found = await answer(client.execute_command("INFO", "memory", target_nodes=RedisCluster.PRIMARIES))
        return sum(int(node["used_memory"]) for node in found.values())
    return int((await answer(client.info("memory")))["used_memory"])
