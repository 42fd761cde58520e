"""Who waits for news of whom, in this process. News is not queued: it says only that there is some."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

from algotrade.platform import limits
from algotrade.platform.background import together
from algotrade.platform.bus import Bus
from algotrade.platform.cache import Cache
from algotrade.platform.log import logger
from algotrade.platform.topics import USER_NOTIFICATIONS

log = logger(__name__)

CHANNEL = "user-notifications"
RETRY_SECONDS = 1.0


class Audience:
    """Who waits for something to come into whose inbox."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def waiting(self, user_id: str, news: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
        """Get an event, or one's own, that is set whenever there is news of a user's inbox."""
        event = news or asyncio.Event()
        self._waiting.setdefault(user_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[user_id].discard(event)
            if not self._waiting[user_id]:
                del self._waiting[user_id]

    def tell(self, user_id: str) -> None:
        """Say that there is news."""
        for event in self._waiting.get(user_id, ()):
            event.set()

    def tell_all(self) -> None:
        """Say that there may be news for anybody."""
        for user_id in list(self._waiting):
            self.tell(user_id)

    async def listen(self, bus: Bus, cache: Cache) -> None:
        """Pass on news, for ever: inboxes are filled in other processes too. The cache tells sooner, the bus surely."""
        await together(self._hear(cache), self._read(bus))

    async def _hear(self, cache: Cache) -> None:
        async with aclosing(cache.listen(CHANNEL)) as news:
            async for user_id in news:
                if user_id is None:
                    self.tell_all()
                else:
                    self.tell(user_id.decode())

    async def _read(self, bus: Bus) -> None:
        """Pass on what user-notifications says."""
        while True:
            try:
                positions = await bus.ends(USER_NOTIFICATIONS)
                self.tell_all()
                async with aclosing(bus.subscribe(USER_NOTIFICATIONS, positions, limits.MAX_READ_RECORDS)) as told:
                    async for records in told:
                        for user_id in {record.key for record in records}:
                            self.tell(user_id)
            except Exception as error:
                log.warning("audience.failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
