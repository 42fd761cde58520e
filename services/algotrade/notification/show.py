"""What one screen shows: a snapshot, then what changes, a few times a second at most.

1. The screen joins the hub, so that nothing is missed from here on.
2. Without a cursor, or with one that is too old, it gets a snapshot of what stands; else what lies in the log between
   its cursor and the hub.
3. From then on it gets what the hub hands it. The cursor after each message is the place in each partition up to which
   all was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from algotrade.notification.audience import Audience
from algotrade.notification.hub import LOGGED, PLACES, Hub, Place, Screen, changes_of
from algotrade.notification.messages import notification_message, timestamp
from algotrade.notification.store import InboxStore
from algotrade.notification.upstream import Upstream
from algotrade.platform import limits, paging, tracing
from algotrade.platform.bus import Bus, OffsetOutOfRange
from algotrade.platform.clock import Clock
from algotrade.platform.errors import InvalidArgument, ResourceExhausted
from algotrade.v1 import realtime_service_pb2 as pb
from algotrade.v1 import types_pb2

CALL: Final = "StreamUpdates"
EVENTS_A_MESSAGE: Final = 200
NOTIFICATIONS_A_MESSAGE: Final = 100
READY_SECONDS: Final = 10.0
NO_INBOX: Final = -1  # in a cursor: notifications were not chosen


@dataclass(slots=True)
class Cursor:
    """Up to where all was sent."""

    places: dict[Place, int]
    notification: int = NO_INBOX
    skipped: dict[str, int] = field(default_factory=dict)  # session -> newest event in the snapshot
    told: dict[tuple[str, str], int] = field(default_factory=dict)  # topic and session -> newest event

    def token(self) -> str:
        """Write it for the client."""
        return paging.write_token(CALL, *(self.places[place] for place in PLACES), self.notification)

    @classmethod
    def read(cls, token: str) -> Cursor:
        """Read what `token` has written. Raises InvalidArgument."""
        try:
            keys = paging.read_token(CALL, token, len(PLACES) + 1)
        except InvalidArgument:
            keys = None
        numbers = [key for key in keys or () if isinstance(key, int) and NO_INBOX <= key < 2**63]
        if len(numbers) != len(PLACES) + 1 or min(numbers[:-1]) < 0:
            sentence = "was not made by this call"
            raise InvalidArgument("CURSOR_INVALID", f"the cursor {sentence}", violations=[("cursor", sentence)])
        return cls(dict(zip(PLACES, numbers, strict=False)), numbers[-1])


class _Ring(asyncio.Event):
    """News of an inbox, which is news for the screen too."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def set(self) -> None:
        super().set()
        self._screen.news.set()


class Shower:
    """Makes the streams of the screens of one process."""

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        inboxes: InboxStore,
        audience: Audience,
        upstream: Upstream,
        clock: Clock,
        *,
        heartbeat_seconds: float,
        every_seconds: float,
    ) -> None:
        """Take where everything comes from, how long silence may be, and how far apart messages are at least."""
        self._hub = hub
        self._bus = bus
        self._inboxes = inboxes
        self._audience = audience
        self._upstream = upstream
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._every_seconds = every_seconds

    async def show(
        self, user_id: str, request: pb.StreamUpdatesRequest
    ) -> AsyncGenerator[pb.StreamUpdatesResponse, None]:
        """Yield what a screen shows. Raises NotFound, InvalidArgument, ResourceExhausted for a reader too slow."""
        cursor = Cursor.read(request.cursor) if request.HasField("cursor") else None
        chosen = None if request.all_sessions else frozenset(request.session_ids)
        screen = Screen(user_id, chosen, frozenset(request.symbols))
        async with asyncio.timeout(READY_SECONDS):
            await self._hub.ready.wait()
        sequence = 0
        with self._hub.showing(screen), self._audience.waiting(user_id, ring := _Ring(screen)):
            at = {place: self._hub.places[place] for place in PLACES}
            snapshot = await self._snapshot(user_id, request)  # also tells whether all of it is the caller's
            resumed = cursor is not None and await self._resume(screen, cursor, at, snapshot.last_notification)
            if cursor is None or not resumed:
                too_old = cursor is not None
                snapshot.message.cause = pb.SNAPSHOT_CAUSE_CURSOR_TOO_OLD if too_old else pb.SNAPSHOT_CAUSE_BEGIN
                cursor = Cursor(at, snapshot.last_notification, snapshot.sequences)
                sequence += 1
                yield pb.StreamUpdatesResponse(sequence=sequence, cursor=cursor.token(), snapshot=snapshot.message)
            elif request.notifications and cursor.notification == NO_INBOX:
                cursor.notification = snapshot.last_notification
            ring.set()
            async with aclosing(self._follow(screen, cursor, ring, inbox=request.notifications)) as responses:
                async for response in responses:
                    sequence += 1
                    response.sequence = sequence
                    yield response

    async def _follow(
        self, screen: Screen, cursor: Cursor, ring: asyncio.Event, *, inbox: bool
    ) -> AsyncGenerator[pb.StreamUpdatesResponse, None]:
        loop = asyncio.get_running_loop()
        spoken, due = loop.time(), 0.0
        while True:
            silence = self._heartbeat_seconds - (loop.time() - spoken)
            if not await _set(screen.news, max(0.0, silence)):
                beat = types_pb2.Heartbeat(time=timestamp(self._clock.now_ns()))
                self._catch_up(screen, cursor)
                yield pb.StreamUpdatesResponse(cursor=cursor.token(), heartbeat=beat)
                spoken = loop.time()
                ring.set()  # what another process has stored without telling is found now
                continue
            await asyncio.sleep(max(0.0, due - loop.time()))
            screen.news.clear()
            if screen.overrun:
                sentence = f"more than {limits.MAX_EVENTS_A_SCREEN} events wait; come back with the cursor"
                raise ResourceExhausted("CONSUMER_TOO_SLOW", sentence)
            changes = pb.RealtimeChanges()
            if inbox and ring.is_set():
                ring.clear()
                await self._notifications(screen, cursor, ring, changes)
            self._take(screen, cursor, changes)
            if changes.ListFields():
                yield pb.StreamUpdatesResponse(cursor=cursor.token(), changes=changes)
                spoken = loop.time()
                due = spoken + self._every_seconds

    async def _notifications(
        self, screen: Screen, cursor: Cursor, ring: asyncio.Event, changes: pb.RealtimeChanges
    ) -> None:
        found = await self._inboxes.after(screen.user_id, cursor.notification, NOTIFICATIONS_A_MESSAGE)
        changes.notifications.extend(notification_message(one) for one in found)
        if found:
            cursor.notification = found[-1].sequence
        if len(found) == NOTIFICATIONS_A_MESSAGE:
            ring.set()  # there may be more

    def _take(self, screen: Screen, cursor: Cursor, changes: pb.RealtimeChanges) -> None:
        """Move what has come for the screen into a message; no step of it waits, so the cursor is exact."""
        causes: list[str] = []
        while screen.events and len(changes.events) < EVENTS_A_MESSAGE:
            waiting = screen.events.popleft()
            place, event = waiting.place, waiting.update
            if waiting.offset < cursor.places[place]:
                continue  # sent before: the cursor comes from a process that was further
            cursor.places[place] = waiting.offset + 1
            told = (place[0], event.session_id)  # in its order; what a relay tells again has come before
            if event.event.sequence > max(cursor.skipped.get(event.session_id, 0), cursor.told.get(told, 0)):
                cursor.told[told] = event.event.sequence
                changes.events.append(event)
                causes.append(waiting.cause)
        _trace(causes)
        changes.events.sort(key=lambda one: (one.session_id, one.event.sequence))
        if screen.events:
            screen.news.set()
        changes.sessions.extend(screen.sessions.values())
        changes.symbols.extend(screen.prices.values())
        screen.sessions.clear()
        screen.prices.clear()
        self._catch_up(screen, cursor)

    def _catch_up(self, screen: Screen, cursor: Cursor) -> None:
        """Where nothing waits for the screen, all up to where the hub is has been sent."""
        if not screen.events and not screen.sessions and not screen.overrun:
            for place in PLACES:
                cursor.places[place] = max(cursor.places[place], self._hub.places[place])

    async def _resume(self, screen: Screen, cursor: Cursor, at: Mapping[Place, int], last_notification: int) -> bool:
        """Put what lies between a cursor and a place before what has come since; False where that is not to be had."""
        behind = [max(0, at[place] - cursor.places[place]) for place in PLACES]
        if sum(behind) > limits.MAX_RESUMED_RECORDS or cursor.notification > last_notification >= 0:
            return False
        if cursor.notification >= 0:
            first = (await self._inboxes.inbox(screen.user_id)).first
            if cursor.notification + 1 < first:
                return False
        earlier = Screen(screen.user_id, screen.session_ids, screen.symbols)
        for topic in LOGGED if screen.of_sessions else ():
            for partition in range(topic.partitions):
                place = (topic.name, partition)
                offset = cursor.places[place]
                try:
                    while offset < at[place] or offset == cursor.places[place]:
                        records = await self._bus.read(topic, partition, offset, limits.MAX_READ_RECORDS)
                        for record in records:
                            if record.offset < at[place]:
                                for user_id, change in changes_of(topic, record.payload):
                                    earlier.offer(user_id, change, record)
                        if not records:
                            break
                        offset = records[-1].offset + 1
                except OffsetOutOfRange:
                    return False
        if earlier.overrun:
            return False
        screen.events.extendleft(reversed(earlier.events))
        for session_id, update in earlier.sessions.items():
            update.MergeFrom(screen.sessions.get(session_id, pb.SessionUpdate()))
            screen.sessions[session_id] = update
        screen.news.set()
        return True

    async def _snapshot(self, user_id: str, request: pb.StreamUpdatesRequest) -> _Snapshot:
        sessions = await self._upstream.sessions(None if request.all_sessions else request.session_ids)
        symbols = await self._upstream.symbols(request.symbols) if request.symbols else []
        message = pb.RealtimeSnapshot(sessions=sessions, symbols=symbols)
        last = NO_INBOX
        if request.notifications:
            inbox = await self._inboxes.inbox(user_id)
            message.unread_count, last = inbox.unread, inbox.last
        return _Snapshot(message, last, {one.session_id: one.last_sequence for one in sessions})


@dataclass(frozen=True, slots=True)
class _Snapshot:
    message: pb.RealtimeSnapshot
    last_notification: int
    sequences: dict[str, int]


def _trace(causes: Sequence[str]) -> None:
    """Have a span in each trace of which a message tells, so that it leads from a session's commit to the screen."""
    for cause in [cause for cause in dict.fromkeys(causes) if cause][: tracing.MAX_TRACES]:
        with tracing.span("updates.send", cause):
            pass


async def _set(news: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return False
    return True
