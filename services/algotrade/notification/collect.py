"""Collects what the bus tells into inboxes: reads topics from stored places, stores what they say, tells of it.

Places and notifications are stored together, so a crash loses and repeats nothing. What is told afterwards only wakes
who waits; where it is lost they find the notification at their next look. A record that cannot be read is counted, put
among the dead letters and passed over. A place that is no longer in the log, or not yet, is given up for the oldest
that is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from algotrade.notification.audience import CHANNEL, Audience
from algotrade.notification.compose import TOPICS, Unreadable, notice_of
from algotrade.notification.messages import notification_message
from algotrade.notification.notice import Notice
from algotrade.notification.store import Batch, Intake, Moved, Taken
from algotrade.platform import tracing
from algotrade.platform.background import together
from algotrade.platform.bus import CORRELATION, Bus, Message, OffsetOutOfRange, Record, caused_by
from algotrade.platform.cache import Cache
from algotrade.platform.dead_letters import bury
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import USER_NOTIFICATIONS, Topic
from algotrade.v1.events_pb2 import UserNotification

log = logger(__name__)

READER: Final = "notification"
RECORDS_A_TURN: Final = 500
RETRY_SECONDS: Final = 1.0
REST: Final = 4  # times as long as the last turn took: many small turns would cost more than what they bring
MAX_REST_SECONDS: Final = 0.1


class Collector:
    """The reader of every topic that inboxes are filled from."""

    def __init__(
        self, intake: Intake, bus: Bus, cache: Cache, audience: Audience, metrics: Metrics, wanted: Callable[[], None]
    ) -> None:
        """Take where things go; ``wanted`` is called when there is something to send outside."""
        self._cache = cache
        self._intake = intake
        self._bus = bus
        self._audience = audience
        self._metrics = metrics
        self._wanted = wanted
        self._failures: dict[str, BaseException] = {}

    @property
    def failure(self) -> BaseException | None:
        """Why a topic is not read just now."""
        return next(iter(self._failures.values()), None)

    async def run(self) -> None:
        """Read every topic, for ever."""
        await together(*map(self._follow, TOPICS))

    async def _follow(self, topic: Topic) -> None:
        while True:
            try:
                places = await self._places(topic)
                self._failures.pop(topic.name, None)
                async with aclosing(self._bus.subscribe(topic, places, RECORDS_A_TURN)) as batches:
                    async for records in batches:
                        with tracing.messages(
                            tracing.Kind.CONSUMER, topic.name, (record.headers for record in records)
                        ):
                            begun = time.monotonic()
                            await self.take(topic, records)
                        if len(records) < RECORDS_A_TURN:
                            await asyncio.sleep(min(MAX_REST_SECONDS, REST * (time.monotonic() - begun)))
            except OffsetOutOfRange as error:
                lost = max(0, error.bounds.earliest - error.offset)
                log.error("collect.place_lost", topic=topic.name, partition=error.partition, lost=lost)  # noqa: TRY400
                self._metrics.notification_places_lost.labels(topic.name).inc()
                await self._intake.jump(topic.name, error.partition, error.offset, error.bounds.earliest)
            except Moved as moved:
                log.info("collect.moved", why=str(moved))  # another process has read on
            except Exception as error:
                self._failures[topic.name] = error
                log.warning("collect.failed", topic=topic.name, error=type(error).__name__, exc_info=error)
                await asyncio.sleep(RETRY_SECONDS)

    async def measure(self) -> None:
        """Say how far behind the ends of its topics it is."""
        for topic in TOPICS:
            ends = await self._bus.ends(topic)
            places = await self._intake.positions(topic.name)
            behind = [ends[partition] - offset for partition, offset in places.items()]
            self._metrics.bus_behind.labels(topic.name, READER).set(max(behind, default=0))

    async def _places(self, topic: Topic) -> Mapping[int, int]:
        found = dict(await self._intake.positions(topic.name))
        for partition in range(topic.partitions):
            if partition not in found:
                found[partition] = (await self._bus.bounds(topic, partition)).earliest
                await self._intake.begin(topic.name, partition, found[partition])
        return found

    async def take(self, topic: Topic, records: Sequence[Record]) -> None:
        """Store what consecutive records of a partition say, then tell of it. Raises Moved."""
        notices: list[tuple[int, Notice]] = []
        for record in records:
            try:
                notice = notice_of(topic.name, record.payload)
            except Unreadable as error:
                log.error("collect.unreadable", topic=topic.name, offset=record.offset, error=str(error))  # noqa: TRY400
                self._metrics.notification_records_unreadable.labels(topic.name).inc()
                await bury(self._bus, record, READER, str(error))
                continue
            if notice is not None:
                cause = record.headers.get(CORRELATION, "")
                notices.append((record.offset, replace(notice, correlation_id=cause)))
        first, after = records[0].offset, records[-1].offset + 1
        taken = await self._intake.take(Batch(topic.name, records[0].partition, first, after, tuple(notices)))
        if taken.deliveries:
            self._wanted()
        if taken.notifications:
            await self._tell(taken)

    async def _tell(self, taken: Taken) -> None:
        for notification in taken.notifications:
            self._metrics.notifications.labels(notification.notice.kind.name.lower()).inc()
            self._audience.tell(notification.notice.user_id)
        for user_id in {one.notice.user_id for one in taken.notifications}:
            await self._cache.publish(CHANNEL, user_id.encode())
        messages = [
            Message(
                one.notice.user_id,
                UserNotification(
                    user_id=one.notice.user_id, notification=notification_message(one)
                ).SerializeToString(),
                caused_by(one.notice.correlation_id),
            )
            for one in taken.notifications
        ]
        try:
            await self._bus.publish(USER_NOTIFICATIONS, messages)
        except Exception as error:
            log.warning("collect.not_told", error=type(error).__name__)
