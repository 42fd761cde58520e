"""Messages that wait in the table bus_outbox for the commit of what they tell of, and then go out.

They are stored in the transaction of their cause, sent by one process at a time in the order in which they were stored,
and deleted after that: one that dies between the two sends them again. Readers know what they have seen by what is in a
message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import groupby
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.platform import limits
from algotrade.platform.background import background
from algotrade.platform.bus import Message
from algotrade.platform.log import logger
from algotrade.platform.topics import TOPICS, Topic

log = logger(__name__)

Publish = Callable[[Topic, Sequence[Message]], Awaitable[Any]]

LOCK: Final = 0x6275736F  # one process sends at a time
RETRY_SECONDS: Final = 1.0
_TOPICS: Final = {topic.name: topic for topic in TOPICS}
_ADD: Final = text("""
    INSERT INTO bus_outbox (topic, partitions, key, payload, headers)
    SELECT :topic, :partitions, message.key, message.payload, message.headers::jsonb
    FROM unnest(CAST(:keys AS text[]), CAST(:payloads AS bytea[]), CAST(:headers AS text[]))
        WITH ORDINALITY AS message (key, payload, headers, place)
    ORDER BY message.place
""")
_OLDEST: Final = text("""
    SELECT position, topic, partitions, key, payload, headers::text AS headers
    FROM bus_outbox ORDER BY position LIMIT :limit
""")
_DELETE: Final = text("DELETE FROM bus_outbox WHERE position = ANY(CAST(:positions AS bigint[]))")


class BusOutbox:
    """The table, and who sends what is in it."""

    def __init__(self, engine: AsyncEngine, poll_seconds: float) -> None:
        """Take the database, and how often to look without being woken: for what another process has left behind."""
        self._engine = engine
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()

    async def add(self, connection: AsyncConnection, topic: Topic, messages: Sequence[Message]) -> None:
        """Store messages in the caller's transaction, in order."""
        await connection.execute(
            _ADD,
            {
                "topic": topic.name,
                "partitions": topic.partitions,
                "keys": [message.key for message in messages],
                "payloads": [message.payload for message in messages],
                "headers": [orjson.dumps(dict(message.headers)).decode() for message in messages],
            },
        )

    def wake(self) -> None:
        """Say that something waits."""
        self._wake.set()

    async def drain(self, publish: Publish) -> int:
        """Send the oldest messages and delete them; return how many went out, none where another process sends."""
        async with self._engine.begin() as connection:
            if not await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}):
                return 0
            rows = (await connection.execute(_OLDEST, {"limit": limits.MAX_OUTBOX_MESSAGES})).all()
            for (name, partitions), group in groupby(rows, key=lambda row: (row.topic, row.partitions)):
                topic = _TOPICS.get(name) or Topic(name, partitions, 0)
                messages = [Message(row.key, bytes(row.payload), orjson.loads(row.headers)) for row in group]
                await publish(topic, messages)
            if rows:
                await connection.execute(_DELETE, {"positions": [row.position for row in rows]})
            return len(rows)

    @asynccontextmanager
    async def sending(self, publish: Publish) -> AsyncIterator[None]:
        """Send what waits while the context is open, and what is left at its end."""
        try:
            async with background(self._send_for_ever(publish), "bus-outbox"):
                yield
        finally:
            with suppress(Exception):  # what is not sent now is sent by the next process that runs
                await self.drain(publish)

    async def _send_for_ever(self, publish: Publish) -> None:
        while True:
            self._wake.clear()
            try:
                sent = await self.drain(publish)
            except Exception as error:
                log.warning("bus_outbox.failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not sent:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._wake.wait()
