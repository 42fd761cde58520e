"""Checks sessions that go on, again and again: each is replayed from a copy of its row to where it now is.

1. The copy is a second base beside the row. What the ticks and commands since make of it must be what is stored:
   events, trades, the row, and the engine's state byte by byte. Then the next check begins at a copy of that row.
2. A session that differs has gone on from something that nobody can account for, so it is halted, and it is said.
3. One at a time, whose last check is longest ago; between two it rests so long that checks take a small share of the
   time, however many sessions there are. A replay that takes too long, or lacks ticks, is given up and counted, and the
   next check begins at the row.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Collection
from dataclasses import asdict
from enum import StrEnum
from typing import Final, Protocol

from algotrade.engine.compile import Artefact
from algotrade.forward_test.compare import Divergence
from algotrade.forward_test.session import Base, Command, CommandKind, Held, Session, Trail
from algotrade.forward_test.shards import SHARDS
from algotrade.forward_test.source import Source
from algotrade.forward_test.store import Proofs, SessionStore
from algotrade.forward_test.tell import outgoing_command
from algotrade.forward_test.verify import Check, Report, Stretch, Verdict
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics

log = logger(__name__)

SESSIONS_A_TURN: Final = 20
REST: Final = 19  # times as long as a check took: five per cent of the time go into checks
RETRY_SECONDS: Final = 5.0


class Outcome(StrEnum):
    """What became of a check."""

    BEGUN = "begun"  # it has a base now
    IDENTICAL = "identical"
    DIVERGED = "diverged"
    INCOMPLETE = "incomplete"  # ticks since the base are no longer kept
    SLOW = "slow"  # it was given up
    GONE = "gone"  # it has ended meanwhile, or was deleted


class CheckStore(Protocol):
    """The port: which sessions are to be checked, and from where."""

    async def due(self, seconds: float, most: int, shards: Collection[int] = SHARDS) -> list[Session]:
        """Return sessions of shards that go on and whose base is so old, or that have none; the oldest first."""
        ...

    async def keep(self, held: Held) -> None:
        """Keep a row as the base of the next check."""
        ...


class Checker:
    """Checks sessions."""

    def __init__(
        self,
        checks: CheckStore,
        proofs: Proofs,
        source: Source,
        store: SessionStore,
        clock: Clock,
        metrics: Metrics,
        *,
        every_seconds: float,
        replay_seconds: float,
        shards: Callable[[], Collection[int]] = lambda: SHARDS,
    ) -> None:
        """Take where things are, how old a base is that is checked, how long a replay may take, and whose sessions."""
        self._shards = shards
        self._checks = checks
        self._proofs = proofs
        self._source = source
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._every_seconds = every_seconds
        self._replay_seconds = replay_seconds

    async def run(self) -> None:
        """Work for ever."""
        while True:
            await asyncio.sleep(self._every_seconds / 10)
            try:
                await self.turn()
            except Exception as error:
                log.warning("checks.failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def turn(self) -> None:
        """Check some sessions whose time has come, and rest after each."""
        for session in await self._checks.due(self._every_seconds, SESSIONS_A_TURN, self._shards()):
            began_ns = self._clock.now_ns()
            try:
                await self.check(session)
            except Exception:
                log.exception("check.failed", session_id=session.session_id)
            await asyncio.sleep(REST * (self._clock.now_ns() - began_ns) / SECOND_NS)

    async def check(self, session: Session) -> Outcome:
        """Check a session as it is now; halt one that differs."""
        outcome = await self._check(session)
        self._metrics.session_checks.labels(outcome).inc()
        return outcome

    async def _check(self, session: Session) -> Outcome:
        try:
            trail = await self._proofs.trail(session)
        except KeyError:
            return Outcome.GONE
        held, base = trail.held, _base(trail)
        if held.session.status.final or held.state is None:
            return Outcome.GONE
        if base is None:
            await self._checks.keep(held)
            return Outcome.BEGUN
        try:
            async with asyncio.timeout(self._replay_seconds):
                report, divergence = await self._replay(trail, base)
        except TimeoutError:
            log.warning("check.slow", session_id=session.session_id, seconds=self._replay_seconds)
            await self._checks.keep(held)
            return Outcome.SLOW
        if divergence is not None:
            return await self._diverged(held.session, divergence)
        await self._checks.keep(held)
        return Outcome.INCOMPLETE if report.verdict is Verdict.INCOMPLETE else Outcome.IDENTICAL

    async def _replay(self, trail: Trail, base: Base) -> tuple[Report, Divergence | None]:
        held = trail.held
        artefact = await asyncio.to_thread(Artefact.from_wasm, await self._proofs.module(held.session.artefact_hash))
        stretch = Stretch(held.session.segment, base.reason, base.held, held.place.offset, None)
        report = Report(stretch.number, stretch.reason, end_offset=stretch.end)
        check = Check(self._proofs, self._source, trail, artefact, stretch, hashlib.sha256())
        return report, await check.run(report)

    async def _diverged(self, session: Session, divergence: Divergence) -> Outcome:
        if await self._store.get(session.user_id, session.session_id) is None:
            return Outcome.GONE  # it was deleted while its events were compared
        log.error("session.diverged", session_id=session.session_id, divergence=asdict(divergence))
        command = Command(str(uuid.uuid4()), session.session_id, CommandKind.HALT, session.correlation_id)
        await self._store.tell(session, command, outgoing_command(session, command, self._clock.now_ns()), None)
        return Outcome.DIVERGED


def _base(trail: Trail) -> Base | None:
    """Return the newest base of the segment that the session is in: that of the last check, or what opened it."""
    found = [base for base in trail.bases if base.held.session.segment == trail.held.session.segment]
    return min(found, key=lambda base: base.opens, default=None)
