"""News of sessions within this process: what was stored, and what a session is worth just now.

News is kept by session and replaced by newer news, so nobody can fall behind on it. Of events that were stored the last
few are kept for each reader, who finds all others in the store. What arises in another process is heard of through the
bus (`elsewhere.py`); who misses it all the same finds it in the store at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from algotrade.forward_test.session import Event, Status
from algotrade.platform import limits


@dataclass(frozen=True, slots=True)
class Mark:
    """What a session is worth at a tick."""

    event_ns: int
    last_price: int
    equity: int
    unrealized_pnl: int
    bars: int


@dataclass(slots=True, eq=False)
class Watch:
    """What one reader knows of a session."""

    user_id: str = ""
    missed: bool = False  # something may have been stored that nobody here has heard of
    sequence: int = 0  # of the newest event that was stored
    status: Status | None = None
    mark: Mark | None = None
    shown: Mark | None = None  # the mark that the reader has sent last
    marked: int = 0  # sequence of the tick that the newest mark is of
    due_ns: int = 0  # when it may send the next
    cause: str = ""  # the traceparent of what was stored last, where it has one
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _told: dict[int, Event] = field(default_factory=dict)

    def tell(self, event: Event) -> None:
        """Keep an event that was stored; of too many that nobody takes none is kept, and the store has them all."""
        if len(self._told) >= limits.MAX_TOLD_EVENTS:
            self._told.clear()
        self._told[event.sequence] = event

    def take(self, after: int) -> list[Event]:
        """Return the events that follow a cursor as far as they are known without a hole; forget them."""
        self._told = {sequence: event for sequence, event in self._told.items() if sequence > after}
        found: list[Event] = []
        while (event := self._told.pop(after + len(found) + 1, None)) is not None:
            found.append(event)
        return found

    async def wait(self, seconds: float) -> bool:
        """Wait for news; False where none came for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True


class Changes:
    """Who watches what."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._watches: dict[str, set[Watch]] = {}
        self.joined = asyncio.Event()  # set when somebody begins to watch

    @contextmanager
    def watching(self, session_id: str, user_id: str = "") -> Iterator[Watch]:
        """Get the news of a session while the context is open; for its marks, say whose it is."""
        watch = Watch(user_id)
        self._watches.setdefault(session_id, set()).add(watch)
        self.joined.set()
        try:
            yield watch
        finally:
            self._watches[session_id].discard(watch)
            if not self._watches[session_id]:
                del self._watches[session_id]

    @property
    def watched(self) -> list[str]:
        """The sessions of which somebody would hear."""
        return list(self._watches)

    def watchers(self, session_id: str) -> list[Watch]:
        """Those who watch a session."""
        return list(self._watches.get(session_id, ()))

    def stored(
        self, session_id: str, sequence: int, status: Status, cause: str = "", events: Sequence[Event] = ()
    ) -> None:
        """Say that a session's row was stored, and with it events; ``cause``: in which trace."""
        for watch in self._watches.get(session_id, ()):
            if watch.status is not status:
                watch.status = status
                watch.changed.set()
        self.happened(session_id, sequence, cause, events)

    def happened(self, session_id: str, sequence: int, cause: str = "", events: Sequence[Event] = ()) -> None:
        """Say that events were stored, by whomever, up to a sequence; ``cause``: in which trace."""
        for watch in self._watches.get(session_id, ()):
            for event in events:
                watch.tell(event)
            if sequence > watch.sequence:
                watch.sequence, watch.cause = sequence, cause
                watch.changed.set()

    def missed(self, session_id: str) -> None:
        """Say that something may have been stored unheard of."""
        for watch in self._watches.get(session_id, ()):
            watch.missed = True
            watch.changed.set()

    def mark_due(self, session_id: str, tick: int) -> int | None:
        """Return since when somebody may be sent a mark of a session; ``tick``: sequence of the newest it has seen.

        None where nobody waits for one, since the newest is of that tick.
        """
        return min((one.due_ns for one in self._watches.get(session_id, ()) if one.marked != tick), default=None)

    def marked(self, session_id: str, mark: Mark, tick: int = 0) -> None:
        """Say what a session is worth, and at which tick where that is asked for here.

        A reader that waits for a mark's time to come will send this one then.
        """
        for watch in self._watches.get(session_id, ()):
            waits = watch.mark is not watch.shown
            watch.mark, watch.marked = mark, tick
            if not waits:
                watch.changed.set()

    def touched(self, session_id: str) -> None:
        """Say that something of a session was dealt with, though its row did not change."""
        for watch in self._watches.get(session_id, ()):
            watch.changed.set()
