"""Follow one session: a snapshot, every event after a cursor, and in between what it is worth.

A reader's place is its cursor: the events behind it are those it was told of since, or else they are read from the
store; of marks it gets the newest. A slow one costs little memory and misses no event. Events that are news are taken
within the trace of what stored them, so that one trace leads from a session's commit to those who watch it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final

from algotrade.forward_test.changes import Changes, Mark, Watch
from algotrade.forward_test.session import Event, Session
from algotrade.forward_test.store import SessionStore
from algotrade.platform import tracing
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.errors import NotFound, OutOfRange

EVENTS_A_READ: Final = 500


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing came for a while."""

    time_ns: int


@dataclass(frozen=True, slots=True)
class Item:
    """A message of the stream, with the cursor after it."""

    sequence: int
    payload: Session | Event | Mark | Heartbeat


class Streamer:
    """Makes the streams of sessions of one process."""

    def __init__(
        self, store: SessionStore, changes: Changes, clock: Clock, *, heartbeat_seconds: float, mark_seconds: float
    ) -> None:
        """Take where sessions are, how long silence may be, and how far apart marks are at least."""
        self._store = store
        self._changes = changes
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._mark_ns = round(mark_seconds * SECOND_NS)

    async def follow(self, user_id: str, session_id: str, after: int | None) -> AsyncGenerator[Item, None]:
        """Yield a snapshot, then what follows a cursor (None: the snapshot; 0: the beginning), each event once.

        A session whose status changes is sent again, and the stream of one that has ended ends behind its last event.
        NotFound for a session of somebody else; OutOfRange for a cursor after the newest event.
        """
        with self._changes.watching(session_id, user_id) as watch:
            session = await self._get(user_id, session_id)
            cursor = session.last_sequence if after is None else after
            if cursor > session.last_sequence:
                raise OutOfRange(
                    "CURSOR_AHEAD",
                    f"the newest event is {session.last_sequence}",
                    last_sequence=session.last_sequence,
                )
            yield Item(cursor, session)
            while True:
                async for event in self._events(session, cursor, watch):
                    cursor = event.sequence
                    yield Item(cursor, event)
                if session.status.final:
                    return
                now_ns = self._clock.now_ns()
                if (mark := watch.mark) is not None and mark is not watch.shown and now_ns >= watch.due_ns:
                    watch.shown, watch.due_ns = mark, now_ns + self._mark_ns
                    yield Item(cursor, mark)
                if not await self._news(watch):
                    if watch.mark is not watch.shown:
                        continue  # what ended the wait is a mark whose time has come
                    yield Item(cursor, Heartbeat(self._clock.now_ns()))
                    fresh = await self._get(user_id, session_id)
                elif watch.missed or watch.status not in (None, session.status):
                    watch.missed = False
                    fresh = await self._get(user_id, session_id)
                else:
                    session = replace(session, last_sequence=max(session.last_sequence, watch.sequence))
                    continue
                if fresh.status is not session.status:
                    async for event in self._events(fresh, cursor, watch):
                        cursor = event.sequence
                        yield Item(cursor, event)
                    yield Item(cursor, fresh)
                session = fresh

    async def _events(self, session: Session, cursor: int, watch: Watch) -> AsyncGenerator[Event, None]:
        """Yield events behind a cursor up to the session's newest."""
        while cursor < session.last_sequence:
            cause, watch.cause = watch.cause, ""
            with tracing.span("session.stream", cause) if cause else nullcontext():
                found = watch.take(cursor) or await self._store.events(session, cursor, EVENTS_A_READ)
            for event in found:
                yield event
                cursor = event.sequence

    async def _news(self, watch: Watch) -> bool:
        """Wait for news, no longer than to the next heartbeat or until a mark that waits may be sent."""
        seconds = self._heartbeat_seconds
        if watch.mark is not watch.shown:
            seconds = min(seconds, max(0.0, (watch.due_ns - self._clock.now_ns()) / SECOND_NS))
        return await watch.wait(seconds)

    async def _get(self, user_id: str, session_id: str) -> Session:
        session = await self._store.get(user_id, session_id)
        if session is None:
            raise NotFound("SESSION_NOT_FOUND", "no such session", session_id=session_id)
        return session
