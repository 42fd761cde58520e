"""Sends what was stored: the outbox onto the bus, in the order of each session's events.

A message is published within the transaction that takes it out of the outbox. Where the log is in the database no
crash parts the two: each is told once. Where it is not, a crash between the two has it told again, after the same
messages as before: readers know a session's event by its number.

Each process sends what it has stored itself, at once; what another has left behind is found at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.forward_test.session import Outgoing
from algotrade.forward_test.store import Outbox
from algotrade.platform.bus import Message, Receipt, TransactionalBus
from algotrade.platform.log import logger
from algotrade.platform.topics import TOPICS, Topic

log = logger(__name__)

MESSAGES_A_TURN: Final = 500
RETRY_SECONDS: Final = 1.0
_TOPICS: Final = {topic.name: topic for topic in TOPICS}


class Relay:
    """The relay of some shards."""

    def __init__(self, outbox: Outbox, bus: TransactionalBus, shards: Sequence[int], *, poll_seconds: float) -> None:
        """Take what to send, where, and how often to look without being woken."""
        self._outbox = outbox
        self._bus = bus
        self._shards = frozenset(shards)
        self._poll_seconds = poll_seconds
        self._due: set[int] = set()
        self._wake = asyncio.Event()

    def wake(self, shards: Collection[int]) -> None:
        """Say that there is something to send of some shards."""
        self._due.update(shards)
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            due, self._due = self._due, set()
            self._wake.clear()
            try:
                sent = await (self._turn(due, wait=True) if due else self.drain())
            except Exception as error:
                self._due |= due
                log.warning("relay.failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if sent == MESSAGES_A_TURN:
                self._due |= due or self._shards
            elif not self._due:
                try:
                    async with asyncio.timeout(self._poll_seconds):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def drain(self) -> int:
        """Send a turn of what nobody else sends just now; return how many messages went out."""
        return await self._turn(self._shards, wait=False)

    async def _turn(self, shards: Collection[int], *, wait: bool) -> int:
        receipts: list[Receipt] = []

        async def send(connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
            by_topic: dict[str, list[Message]] = {}
            for message in messages:
                by_topic.setdefault(message.topic, []).append(Message(message.key, message.payload, message.headers))
            receipts.extend(
                await self._publish(connection, {_TOPICS[name]: by_topic[name] for name in sorted(by_topic)})
            )

        sent = await self._outbox.drain(shards, send, MESSAGES_A_TURN, wait=wait)
        for receipt in receipts:
            self._bus.announce(receipt)
        return sent

    async def _publish(self, connection: AsyncConnection, messages: dict[Topic, list[Message]]) -> list[Receipt]:
        """Publish to several topics, at once where the log is not behind the one connection."""
        if self._bus.in_database:  # all in one order, so that no two relays wait for each other
            return [await self._bus.publish_ahead(connection, topic, of) for topic, of in messages.items()]
        sending = (self._bus.publish_ahead(connection, topic, of) for topic, of in messages.items())
        done = await asyncio.gather(*sending, return_exceptions=True)  # all have ended before one is given up
        receipts: list[Receipt] = []
        for one in done:
            if isinstance(one, BaseException):
                raise one
            receipts.append(one)
        return receipts
