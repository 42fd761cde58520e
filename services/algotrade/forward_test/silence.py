"""Tells when a session that goes on is stepped over no ticks any more, and when it is again.

1. It looks at the rows, not at the worker: a worker that hangs, or is gone, cannot say so. Every process looks at all
   sessions, so those of another that has died are seen too; who notices first tells, and nobody tells it again.
2. A session is silent when its newest tick has been the same for a while and its feed is neither closed nor a replay. A
   quiet market is no silence: its feed sends marks of time, which are stepped over as ticks are.
3. What was not watched does not count: after a failure, or a long time without a look, waiting begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from algotrade.forward_test.session import shard_of
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.v1 import types_pb2

log = logger(__name__)

SESSIONS_A_LOOK: Final = 2_000
LOOKS: Final = 10  # in the time that makes a silence


@dataclass(frozen=True, slots=True)
class Glance:
    """How far a session that goes on has come. ``silent_at``: the tick after which it was told to be silent."""

    session_id: str
    tick_sequence: int
    feed_state: int
    silent_at: int | None

    @property
    def heard(self) -> bool:
        """Whether it was silent and is no more, which nobody has told yet."""
        return self.silent_at is not None and self.silent_at != self.tick_sequence


@dataclass(frozen=True, slots=True)
class Silence:
    """What was noticed of a session at a time. ``since_ns``: when its newest tick was seen first."""

    session_id: str
    tick_sequence: int
    since_ns: int
    event_ns: int


class SilenceStore(Protocol):
    """The port: how far sessions have come, and which of them are silent."""

    async def glances(self, after: str | None, count: int) -> list[Glance]:
        """List sessions that go on, in the order of their ids, behind one."""
        ...

    async def begin(self, silence: Silence) -> bool:
        """Note and tell that a session is silent; False where somebody has, or it has moved or ended meanwhile."""
        ...

    async def end(self, silence: Silence) -> bool:
        """Note and tell that a session is heard again; False where somebody has, or it has ended meanwhile."""
        ...


class Watch:
    """Watches all sessions."""

    def __init__(
        self,
        store: SilenceStore,
        clock: Clock,
        metrics: Metrics,
        *,
        seconds: float,
        told: Callable[[Collection[int]], None] = lambda _shards: None,
    ) -> None:
        """Take where sessions are, a steady clock, how long a silence is, and who hears what shards have to send."""
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._seconds = seconds
        self._told = told
        self._since: dict[str, tuple[int, int]] = {}  # by session: its newest tick, and when that was seen first
        self._looked_ns = 0

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(self._seconds / LOOKS)
            try:
                await self.look()
            except Exception as error:
                self._since.clear()
                log.warning("silence.failed", error=repr(error))

    async def look(self) -> int:
        """Look at every session once; return of how many something was told."""
        now_ns = self._clock.now_ns()
        since: dict[str, tuple[int, int]] = {}
        told: list[str] = []
        after: str | None = None
        if now_ns - self._looked_ns > self._seconds * SECOND_NS / 2:
            self._since.clear()
        self._looked_ns = now_ns
        while glances := await self._store.glances(after, SESSIONS_A_LOOK):
            for glance in glances:
                since[glance.session_id] = self._moved(glance, now_ns)
            told += await self._tell(glances, since, now_ns)
            after = glances[-1].session_id
        self._since = since
        if told:
            self._told({shard_of(session_id) for session_id in told})
        return len(told)

    def _moved(self, glance: Glance, now_ns: int) -> tuple[int, int]:
        """Return a session's newest tick and since when that is so; while its feed is closed, since now."""
        before = self._since.get(glance.session_id)
        still = before is not None and before[0] == glance.tick_sequence
        if before is None or not still or glance.feed_state == types_pb2.FEED_STATE_CLOSED:
            return glance.tick_sequence, now_ns
        return before

    async def _tell(self, glances: Sequence[Glance], since: dict[str, tuple[int, int]], now_ns: int) -> list[str]:
        """Tell what there is to tell; return of which sessions."""
        told = []
        for glance in glances:
            since_ns = since[glance.session_id][1]
            silence = Silence(glance.session_id, glance.tick_sequence, since_ns, now_ns)
            if glance.heard:
                if await self._store.end(silence):
                    told.append(glance.session_id)
            elif glance.silent_at is not None or now_ns - since_ns < self._seconds * SECOND_NS:
                continue
            elif await self._store.begin(silence):
                log.warning("session.silent", session_id=glance.session_id, tick_sequence=glance.tick_sequence)
                self._metrics.session_silences.inc()
                told.append(glance.session_id)
        return told
