"""Follow one inbox.

Nothing is queued for a reader: its place is its cursor, and what follows is read from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from algotrade.notification.audience import Audience
from algotrade.notification.notice import Notification
from algotrade.notification.store import InboxStore
from algotrade.platform.clock import Clock
from algotrade.platform.errors import OutOfRange

NOTIFICATIONS_A_READ: Final = 100


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing came for a while."""

    sequence: int
    time_ns: int


class Streamer:
    """Makes the streams of inboxes of one process."""

    def __init__(self, store: InboxStore, audience: Audience, clock: Clock, *, heartbeat_seconds: float) -> None:
        """Take where inboxes are, who hears of news, and how long silence may be."""
        self._store = store
        self._audience = audience
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds

    async def follow(self, user_id: str, after: int | None) -> AsyncGenerator[Notification | Heartbeat, None]:
        """Yield what follows a sequence (None: from now on; 0: from the oldest kept), each once and in order.

        OutOfRange for a cursor before what is kept, be it since the reader is that slow, or after the newest.
        """
        with self._audience.waiting(user_id) as news:
            inbox = await self._store.inbox(user_id)
            cursor = inbox.last if after is None else after
            if cursor > inbox.last:
                sentence = f"the newest notification is {inbox.last}"
                raise OutOfRange("CURSOR_AHEAD", sentence, last_sequence=inbox.last)
            from_oldest = cursor == 0
            while True:
                news.clear()
                found = await self._store.after(user_id, cursor, NOTIFICATIONS_A_READ)
                for notification in found:
                    if notification.sequence != cursor + 1 and not from_oldest:
                        sentence = f"what follows {cursor} is no longer kept"
                        raise OutOfRange("CURSOR_EXPIRED", sentence, first_sequence=notification.sequence)
                    cursor, from_oldest = notification.sequence, False
                    yield notification
                if len(found) < NOTIFICATIONS_A_READ and not await _set(news, self._heartbeat_seconds):
                    yield Heartbeat(cursor, self._clock.now_ns())


async def _set(news: asyncio.Event, seconds: float) -> bool:
    """Wait for news; False where none came for so long."""
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return False
    return True
