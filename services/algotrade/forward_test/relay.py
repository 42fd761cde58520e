"""Sends what was stored: the outbox onto the bus, in the order of each session's events.

A message is published within the transaction that takes it out of the outbox. Where the log is in the database no
crash parts the two: each is told once. Where it is not, a crash between the two has it told again, after the same
messages as before: readers know a session's event by its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.forward_test.session import Outgoing
from algotrade.forward_test.store import Outbox
from algotrade.platform.bus import Message, Receipt, TransactionalBus
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import TOPICS

log = logger(__name__)

MESSAGES_A_TURN: Final = 500
RETRY_SECONDS: Final = 1.0
_TOPICS: Final = {topic.name: topic for topic in TOPICS}


class Relay:
    """The relay of some shards."""

    def __init__(
        self, outbox: Outbox, bus: TransactionalBus, metrics: Metrics, shards: Sequence[int], *, poll_seconds: float
    ) -> None:
        """Take what to send, where, and how often to look without being woken."""
        self._outbox = outbox
        self._bus = bus
        self._metrics = metrics
        self._shards = shards
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self._wake.clear()
            try:
                sent = await self.drain()
                self._metrics.outbox_seconds.set(await self._outbox.oldest_seconds())
            except Exception as error:
                log.warning("relay.failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not sent:
                try:
                    async with asyncio.timeout(self._poll_seconds):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def drain(self) -> int:
        """Send a turn of each shard; return how many messages went out."""
        return sum([await self._turn(shard) for shard in self._shards])

    async def _turn(self, shard: int) -> int:
        receipts: list[Receipt] = []

        async def send(connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
            by_topic: dict[str, list[Message]] = {}
            for message in messages:
                by_topic.setdefault(message.topic, []).append(Message(message.key, message.payload, message.headers))
            for name in sorted(by_topic):  # all in one order, so that no two relays wait for each other
                receipts.append(await self._bus.publish_ahead(connection, _TOPICS[name], by_topic[name]))

        sent = await self._outbox.drain(shard, send, MESSAGES_A_TURN)
        for receipt in receipts:
            self._bus.announce(receipt)
        return sent
