"""Tells realtime-updates what sessions are worth: of users who watch, what has changed, a few times a second at most.

Who watches says so on the same topic, again and again while it does; nobody else's sessions cost anything. The sessions
are gone through in turns of a bounded size, so many sessions of watching users slow the marks down and nothing else.
Marks are transient: what could not be sent is not sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

from google.protobuf.message import DecodeError

from algotrade.engine import fixed
from algotrade.forward_test.lane import Lane
from algotrade.forward_test.member import Member
from algotrade.forward_test.messages import STATUSES, mark_message
from algotrade.platform import limits
from algotrade.platform.background import together
from algotrade.platform.bus import Bus, Message
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.topics import REALTIME_UPDATES
from algotrade.v1 import events_pb2

log = logger(__name__)

KEY: Final = "marks"
TURNS: Final = 5  # in the time that lies between two marks of a session
INTEREST_SECONDS: Final = 20.0  # so long after it was last told that somebody watches, nobody does
RETRY_SECONDS: Final = 1.0


class Marks:
    """The marks of one worker."""

    def __init__(self, bus: Bus, clock: Clock, *, every_seconds: float) -> None:
        """Take where marks are told, and how far apart those of a session are at least."""
        self._bus = bus
        self._clock = clock
        self._every_ns = round(every_seconds * SECOND_NS)
        self._turn_ns = self._pass_ns = 0  # when the next one is due
        self._watched: dict[str, int] = {}  # user -> until when
        self._told: dict[str, tuple[int, int]] = {}  # session -> of which tick
        self._pass: deque[tuple[Lane, Member]] = deque()  # whose turn is to come
        self._waiting: events_pb2.RealtimeUpdate | None = None
        self._collected = asyncio.Event()

    def collect(self, lanes: Iterable[Lane]) -> None:
        """Take the marks that are due. The worker calls this between two rounds, when its lanes are at rest."""
        now_ns = self._clock.now_ns()
        if not self._watched or self._waiting is not None or now_ns < self._turn_ns:
            return
        self._turn_ns = now_ns + self._every_ns // TURNS
        if not self._pass and now_ns >= self._pass_ns:
            self._begin(lanes, now_ns)
        marks: list[events_pb2.SessionMarkUpdate] = []
        while self._pass and len(marks) < limits.MAX_MARKS_A_TURN:
            lane, member = self._pass.popleft()
            session_id, tick = member.session.session_id, member.last_tick
            if lane.members.get(member.slot) is member and self._told.get(session_id) != tick:
                self._told[session_id] = tick
                marks.append(_mark(lane, member))
        if marks:
            self._waiting = events_pb2.RealtimeUpdate(marks=events_pb2.SessionMarks(marks=marks))
            self._collected.set()

    def _begin(self, lanes: Iterable[Lane], now_ns: int) -> None:
        """Begin a pass through all sessions of users who watch."""
        self._pass_ns = now_ns + self._every_ns
        self._watched = {user_id: until for user_id, until in self._watched.items() if until > now_ns}
        self._pass.extend(
            (lane, member)
            for lane in lanes
            if not lane.warming
            for member in lane.members.values()
            if member.session.user_id in self._watched
        )
        told = self._told
        passed = (member.session.session_id for _, member in self._pass)
        self._told = {session_id: told[session_id] for session_id in passed if session_id in told}

    async def run(self) -> None:
        """Send what was collected and learn who watches, for ever."""
        await together(self._send(), self._learn())

    async def _send(self) -> None:
        while True:
            await self._collected.wait()
            self._collected.clear()
            if (update := self._waiting) is not None:
                try:
                    await self._bus.publish(REALTIME_UPDATES, [Message(KEY, update.SerializeToString())])
                except Exception as error:
                    log.warning("marks.lost", error=type(error).__name__)
                self._waiting = None

    async def _learn(self) -> None:
        while True:
            try:
                ends = await self._bus.ends(REALTIME_UPDATES)
                updates = self._bus.subscribe(REALTIME_UPDATES, ends, limits.MAX_READ_RECORDS)
                async with aclosing(updates) as batches:
                    async for records in batches:
                        for record in records:
                            if record.key != KEY:
                                self._hear(record.payload)
            except Exception as error:
                log.warning("marks.watch_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, payload: bytes) -> None:
        try:
            update = events_pb2.RealtimeUpdate.FromString(payload)
        except DecodeError:
            return
        if update.HasField("interest"):
            self._watched[update.interest.user_id] = self._clock.now_ns() + round(INTEREST_SECONDS * SECOND_NS)


def _mark(lane: Lane, member: Member) -> events_pb2.SessionMarkUpdate:
    state = lane.state(member)
    return events_pb2.SessionMarkUpdate(
        session_id=member.session.session_id,
        user_id=member.session.user_id,
        status=STATUSES[member.session.status],
        mark=mark_message(lane.mark(member)),
        cash=fixed.text(state.cash),
        quantity=fixed.text(state.quantity),
        realized_pnl=fixed.text(state.realized_pnl),
    )
