"""Proves a session's past: replays it from its ticks and compares all that is stored; the answer is a certificate.

Each segment is replayed from its base. It runs batch by batch, in a thread, so that it can be given up between two and
holds up nobody; how long it may take, and how many run at once, is bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from algotrade.engine.compile import Artefact
from algotrade.engine.native import TrapError
from algotrade.forward_test.batch import RecordError
from algotrade.forward_test.compare import Comparison, Difference, Divergence
from algotrade.forward_test.replay import Replay
from algotrade.forward_test.session import CommandKind, Held, Place, Session, Status, Totals, Trail
from algotrade.forward_test.source import Source
from algotrade.forward_test.store import Proofs
from algotrade.platform.bus import OffsetOutOfRange
from algotrade.platform.errors import NotFound, ResourceExhausted

BEGIN: Final = "begin"


class Verdict(StrEnum):
    """What became of a replay."""

    IDENTICAL = "identical"
    DIVERGED = "diverged"
    INCOMPLETE = "incomplete"  # ticks that it was made from are no longer kept


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a session's past that is replayed from a base: a segment, or the end of one."""

    number: int
    reason: str
    base: Held | None  # None where nothing tells how it began
    end: int
    next: Held | None  # the base of the segment after it


@dataclass(slots=True)
class Report:
    """What was found of a segment. Offsets are of the log, sequences of ticks and of events, times event times."""

    number: int
    reason: str
    begin_offset: int = 0
    end_offset: int = 0
    ticks: int = 0
    first_tick: tuple[int, int] = (0, 0)  # sequence and time
    last_tick: tuple[int, int] = (0, 0)
    bars: int = 0
    events: int = 0
    trades: int = 0
    last_sequence: int = 0
    verdict: Verdict = Verdict.INCOMPLETE


@dataclass(slots=True)
class Certificate:
    """The outcome: what was compared, over which ticks, and the first thing that differs."""

    session: Session
    data_hash: str
    segments: list[Report] = field(default_factory=list)
    divergence: Divergence | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the segments'."""
        found = {segment.verdict for segment in self.segments}
        return next((one for one in (Verdict.DIVERGED, Verdict.INCOMPLETE) if one in found), Verdict.IDENTICAL)


class Verifier:
    """Makes certificates."""

    def __init__(self, proofs: Proofs, source: Source, *, seconds: float, at_once: int) -> None:
        """Take where things are, how long one may take, and how many run at once."""
        self._proofs = proofs
        self._source = source
        self._seconds = seconds
        self._room = asyncio.Semaphore(at_once)

    async def verify(self, session: Session) -> Certificate:
        """Replay and compare all of a session. Raises NotFound; ResourceExhausted where it takes too long."""
        try:
            async with asyncio.timeout(self._seconds), self._room:
                return await self._verify(session)
        except TimeoutError:
            raise ResourceExhausted(
                "LIMIT_REACHED",
                f"a session is verified for at most {self._seconds:g} seconds",
                limit="verify_seconds",
                value=round(self._seconds),
            ) from None

    async def _verify(self, session: Session) -> Certificate:
        trail = await self._trail(session)
        artefact = await self._artefact(session)
        certificate = Certificate(trail.held.session, "")
        data_hash = hashlib.sha256()
        for stretch in stretches_of(trail):
            report = Report(stretch.number, stretch.reason, end_offset=stretch.end)
            certificate.segments.append(report)
            if stretch.base is None:
                continue
            check = Check(self._proofs, self._source, trail, artefact, stretch, data_hash)
            certificate.divergence = await check.run(report)
            if certificate.divergence is not None:
                await self._trail(session)  # one that was deleted meanwhile has not diverged
                break
        certificate.data_hash = data_hash.hexdigest()
        return certificate

    async def _trail(self, session: Session) -> Trail:
        try:
            return await self._proofs.trail(session)
        except KeyError:
            raise NotFound("SESSION_NOT_FOUND", "no such session", session_id=session.session_id) from None

    async def _artefact(self, session: Session) -> Artefact:
        module = await self._proofs.module(session.artefact_hash)
        return await asyncio.to_thread(Artefact.from_wasm, module)


class Check:
    """Replays one stretch and compares it."""

    def __init__(
        self, proofs: Proofs, source: Source, trail: Trail, artefact: Artefact, stretch: Stretch, data_hash: Any
    ) -> None:
        """Take where stored things and ticks are, and what is to be replayed."""
        self._proofs = proofs
        self._source = source
        self._trail = trail
        self._artefact = artefact
        self._stretch = stretch
        self._hash = data_hash

    async def run(self, report: Report) -> Divergence | None:
        """Return the first thing that differs, if anything does; fill the report in."""
        stretch, base = self._stretch, self._stretch.base
        assert base is not None  # noqa: S101  (the caller asked)
        report.begin_offset = base.place.offset
        comparison = Comparison(self._proofs, self._trail.held, stretch.number, base)
        try:
            divergence = await self._follow(comparison, base, report)
        except OffsetOutOfRange:
            return None
        except (TrapError, RecordError, ValueError, MemoryError) as error:
            divergence = _broken(stretch.number, self._trail.held.session, error)
        report.events, report.trades = comparison.events, comparison.trades
        report.last_sequence = comparison.sequence
        report.verdict = Verdict.IDENTICAL if divergence is None else Verdict.DIVERGED
        return divergence

    async def _follow(self, comparison: Comparison, base: Held, report: Report) -> Divergence | None:
        replay = await asyncio.to_thread(self._replay, base)
        bars = replay.bars
        divergence = None
        while divergence is None:
            await asyncio.to_thread(replay.obey)
            if replay.done:
                break
            divergence = await self._step(replay, comparison)
        report.bars = replay.bars - bars
        report.ticks, report.first_tick, report.last_tick = replay.seen.ticks, replay.seen.first, replay.seen.last
        return divergence or await self._end(replay, comparison)

    def _replay(self, base: Held) -> Replay:
        commands = [
            past
            for past in self._trail.commands
            if past.segment == self._stretch.number and past.kind is not CommandKind.HALT  # it comes from outside
        ]
        return Replay(self._artefact, base, commands, self._stretch.end, self._hash)

    async def _step(self, replay: Replay, comparison: Comparison) -> Divergence | None:
        session, place = self._trail.held.session, self._trail.held.place
        batch = await self._source.batch(
            session.symbol, place.partition, replay.offset, replay.most_records, replay.most_ticks
        )
        if batch is None:
            raise RecordError(f"the log ends at {replay.offset}, before the session's place")
        return await comparison.take(await asyncio.to_thread(replay.take, batch))

    async def _end(self, replay: Replay, comparison: Comparison) -> Divergence | None:
        """Compare what is stored at the end of the stretch: the next base, or the row as it is."""
        stored = self._stretch.next or self._trail.held
        if self._stretch.next is not None:
            row, happenings = await asyncio.to_thread(replay.lose, self._stretch.next.place.offset)
        else:
            row, happenings = await asyncio.to_thread(replay.row), []
        if found := await comparison.take(happenings):
            return found
        last_sequence = stored.session.last_sequence
        halted = stored.session.status is Status.HALTED and row.session.status is not Status.HALTED
        if halted and (found := await comparison.halted(stored)):
            return found
        if found := await comparison.finish(last_sequence):
            return found
        if stored.state is None:  # it has not begun: there is nothing to compare yet
            return None
        return comparison.state(self._artefact, row, stored, base=self._stretch.next is not None)


def stretches_of(trail: Trail) -> list[Stretch]:
    """Return a session's segments with their bases."""
    held = trail.held
    if held.session.status is Status.CREATED:
        return []
    opened = {base.held.session.segment: base for base in trail.bases if base.opens}
    numbers = range(1, held.session.segment + 1)
    found = []
    for number, following in pairwise([*numbers, 0]):
        base = _first(trail) if number == 1 else opened[number].held if number in opened else None
        after = opened.get(following)
        end = held.place.offset if after is None or after.ended_offset is None else after.ended_offset
        reason = BEGIN if number == 1 else opened[number].reason if number in opened else ""
        found.append(Stretch(number, reason, base, end, after.held if after else None))
    return found


def _first(trail: Trail) -> Held | None:
    """Return the row with which a session began; None where nobody noted where."""
    held = trail.held
    starts = [past.offset for past in trail.commands if past.kind is CommandKind.START]
    if held.begin_offset is None or not starts:
        return None
    session = held.session
    fresh = replace(
        session,
        status=Status.RUNNING,
        feed_state=1,
        segment=1,
        last_sequence=0,
        last_tick_sequence=0,
    )
    place = Place(held.place.partition, held.begin_offset, starts[0])
    cash = session.settings.initial_cash
    return Held(fresh, place, held.begin_offset, None, 0, Totals(peak_balance=cash), None, None)


def _broken(segment: int, session: Session, error: Exception) -> Divergence:
    differences = (Difference("replay", "", f"{type(error).__name__}: {error}"),)
    return Divergence(segment, "state", session.last_sequence, 0, 0, session.last_tick_sequence, "", differences)
