"""The cache in Redis: shared by every process, gone when Redis is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar, cast

from algotrade.platform import limits
from algotrade.platform.cache import count_read
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.redis import AWAY, RedisClient, answer, listening

T = TypeVar("T")

log = logger(__name__)

USE: Final = "cache"


class RedisCache:
    """The port over Redis. After a failure Redis is left alone for a while, so that a silent one costs little."""

    def __init__(self, client: RedisClient, metrics: Metrics, retry_seconds: float) -> None:
        """Take the client, and for how long Redis is left alone."""
        self._client = client
        self._metrics = metrics
        self._retry_seconds = retry_seconds
        self._alone_until = 0.0
        self._room = asyncio.Semaphore(limits.MAX_REDIS_CALLS)
        self._away = False

    async def get(self, key: str) -> bytes | None:
        """Ask Redis."""
        reached, value = await self._try(lambda: cast("Awaitable[bytes | None]", self._client.get(key)))
        count_read(self._metrics, key, "error" if not reached else "miss" if value is None else "hit")
        return value

    async def put(self, key: str, value: bytes, seconds: int) -> None:
        """Tell Redis."""
        if len(value) <= limits.MAX_CACHED_VALUE_BYTES:
            await self._try(lambda: self._client.set(key, value, ex=seconds))

    async def remove(self, key: str) -> None:
        """Tell Redis."""
        await self._try(lambda: self._client.delete(key))

    async def publish(self, channel: str, message: bytes) -> None:
        """Publish on a channel of Redis."""
        await self._try(lambda: self._client.publish(channel, message))

    async def listen(self, channel: str) -> AsyncGenerator[bytes | None, None]:
        """Yield a channel's messages over a connection of its own, made anew when it is lost."""
        while True:
            try:
                async with aclosing(listening(self._client, channel)) as messages:
                    async for message in messages:
                        yield message
            except AWAY as error:
                self._failed(error)
            await asyncio.sleep(self._retry_seconds)

    async def _try(self, ask: Callable[[], Awaitable[T]]) -> tuple[bool, T | None]:
        """Return whether Redis was reached, and what it said."""
        try:
            async with self._room:
                if time.monotonic() < self._alone_until:
                    return False, None
                said = await answer(ask())
        except AWAY as error:
            self._alone_until = time.monotonic() + self._retry_seconds
            self._failed(error)
            return False, None
        if self._away:
            self._away = False
            log.info("cache.redis_back")
        return True, said

    def _failed(self, error: BaseException) -> None:
        self._metrics.redis_errors.labels(USE).inc()
        if not self._away:
            self._away = True
            log.warning("cache.redis_away", error=type(error).__name__)
