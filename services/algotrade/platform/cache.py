"""A cache, and news between processes: both may be lost at any time, so neither is ever the truth.

Nothing here raises because the cache is away: a value is then not there, and news does not come. Whoever listens is
told when news may have been missed, and whoever needs a value knows where else it is.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from algotrade.platform import limits
from algotrade.platform.metrics import Metrics

ENTRY_BYTES: Final = 200  # what an entry weighs beside its value, about


class Cache(Protocol):
    """The port. A key is ``kind:name``; the kind is counted."""

    async def get(self, key: str) -> bytes | None:
        """Return a value, None where there is none (any more)."""
        ...

    async def put(self, key: str, value: bytes, seconds: int) -> None:
        """Keep a value for so long at most; one larger than `limits.MAX_CACHED_VALUE_BYTES` is not kept."""
        ...

    async def remove(self, key: str) -> None:
        """Forget a value."""
        ...

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell whoever listens now, in any process."""
        ...

    def listen(self, channel: str) -> AsyncGenerator[bytes | None, None]:
        """Yield messages, for ever; None where some may have been missed, and as soon as none is any more."""
        ...


@dataclass(eq=False, slots=True)
class _Listener:
    messages: deque[bytes | None] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: bytes | None) -> None:
        if len(self.messages) >= limits.MAX_QUEUED_NEWS:
            self.messages.clear()
            message = None
        self.messages.append(message)
        self.news.set()


class MemoryCache:
    """The port in this process's memory, of bounded size; the longest unused value leaves first."""

    def __init__(
        self,
        metrics: Metrics,
        most_bytes: int = limits.MAX_CACHE_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin empty."""
        self._metrics = metrics
        self._most_bytes = most_bytes
        self._monotonic = monotonic
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._listeners: dict[str, set[_Listener]] = {}
        self.bytes = 0

    async def get(self, key: str) -> bytes | None:
        """Look it up."""
        until, value = self._values.get(key, (0.0, b""))
        if found := until > self._monotonic():
            self._values.move_to_end(key)
        count_read(self._metrics, key, "hit" if found else "miss")
        return value if found else None

    async def put(self, key: str, value: bytes, seconds: int) -> None:
        """Keep it, and let others go where there is no room."""
        await self.remove(key)
        if len(value) <= limits.MAX_CACHED_VALUE_BYTES:
            self._values[key] = (self._monotonic() + seconds, value)
            self.bytes += len(value) + ENTRY_BYTES
        while self.bytes > self._most_bytes:
            await self.remove(next(iter(self._values)))

    async def remove(self, key: str) -> None:
        """Forget it."""
        if (held := self._values.pop(key, None)) is not None:
            self.bytes -= len(held[1]) + ENTRY_BYTES

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell every listener; one who lets too much queue is told that it has missed some."""
        for listener in self._listeners.get(channel, ()):
            listener.tell(message)

    async def listen(self, channel: str) -> AsyncGenerator[bytes | None, None]:
        """Yield what is published from now on."""
        listener = _Listener()
        self._listeners.setdefault(channel, set()).add(listener)
        try:
            yield None
            while True:
                await listener.news.wait()
                listener.news.clear()
                while listener.messages:
                    yield listener.messages.popleft()
        finally:
            self._listeners[channel].discard(listener)


def count_read(metrics: Metrics, key: str, result: str) -> None:
    """Count a read of a key by its kind."""
    metrics.cache_reads.labels(key.partition(":")[0], result).inc()
