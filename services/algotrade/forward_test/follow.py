"""The worker: follows the log of ticks, steps sessions over it, stores what they did.

1. It takes its shards (`roster.py`), which raises their epochs, and brings every running session of them back from its
   row, at its own place. Between two rounds it may take more of them, or give some away.
2. A round: apply commands; each lane reads what follows its place and steps, those that read the same in one call; one
   transaction stores what happened, and the rows of sessions that have not been stored for a while; lanes that have
   come to one place become one.
3. Memory is never ahead of the rows in anything that counts: when a commit fails, or nobody knows whether it did, all
   that is in memory is thrown away and the rows are read again. What happens twice happens alike: the same ticks give
   the same events with the same numbers.
4. A session whose artefact traps is found by stepping its lane's sessions one by one from their rows, and halted. The
   other lanes of the call have memories of their own: to them nothing has happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import aclosing, suppress
from heapq import nsmallest
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from algotrade.engine.native import TrapError
from algotrade.forward_test.batch import Batch, Reading, RecordError
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.lane import Lane, most_ticks
from algotrade.forward_test.member import Member
from algotrade.forward_test.obey import Obedience
from algotrade.forward_test.roster import Membership, Roster
from algotrade.forward_test.session import EVENT_LIMIT, Progress, Status
from algotrade.forward_test.shards import Shards
from algotrade.forward_test.source import Source
from algotrade.forward_test.store import Fenced, Ledger
from algotrade.platform import failpoints, limits
from algotrade.platform.background import end
from algotrade.platform.bus import Bus, OffsetOutOfRange
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import FORWARD_TEST_EVENTS, MARKET_DATA_UPDATES, Topic

log = logger(__name__)

EVENTS_A_COMMIT: Final = 10_000  # or a little more: as many as one lane's step gave
MAX_FAILURES: Final = 20  # in a row, while nothing works
RETRY_SECONDS: Final = (0.05, 2.0)


class Worker:
    """Holds the sessions of some shards. One task; nothing else touches its lanes."""

    def __init__(
        self,
        ledger: Ledger,
        roster: Roster,
        bus: Bus,
        changes: Changes,
        clock: Clock,
        metrics: Metrics,
        *,
        checkpoint_seconds: float,
        poll_seconds: float,
        lease_seconds: float = 4.0,
        stored: Callable[[Collection[int]], None] = lambda _shards: None,
        moved: Callable[[Iterable[Lane]], None] = lambda _lanes: None,
        source: Source | None = None,
    ) -> None:
        """Take where things are.

        ``stored`` is told of which shards there is something to send, ``moved`` is called after each round; ``source``
        has what the bus no longer does.
        """
        self._bus = bus
        self._source = source
        self._changes = changes
        self._clock = clock
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._roster = roster
        self._shards = Shards(
            ledger, roster, changes, clock, metrics, checkpoint_seconds=checkpoint_seconds, stored=stored
        )
        self._lanes = self._shards.lanes
        self._commands = Obedience(self._shards, bus, changes)
        self._moved = moved
        self._wake = asyncio.Event()
        self._told = True
        self._looked_ns = 0  # when it last looked for commands
        self._marks_ns = 0  # when it may next say what sessions are worth
        self._stopping = False
        self._fresh = False  # whether the lanes are what the rows say
        self._membership = Membership(roster, clock, lease_seconds=lease_seconds, looked=self._wake.set)
        self.failure: BaseException | None = None  # why it does not get on just now

    def stop(self) -> None:
        """Ask `run` to finish its round, store everything and return."""
        self._stopping = True
        self._wake.set()

    @property
    def shards(self) -> Collection[int]:
        """The shards whose sessions it steps."""
        return self._shards.held

    def places(self) -> dict[int, int]:
        """Return where its furthest session is, {partition of market data: offset of the next record}."""
        places: dict[int, int] = {}
        for lane in self._shards.lanes:
            places[lane.partition] = min(lane.offset, places.get(lane.partition, lane.offset))
        return places

    async def run(self) -> None:
        """Work until `stop`, or until another process works under the same name.

        Raises what it cannot get past, after many tries.
        """
        watching = [
            asyncio.create_task(self._membership.run(), name="worker-membership"),
            asyncio.create_task(self._watch(MARKET_DATA_UPDATES, told=False), name="worker-ticks"),
            asyncio.create_task(self._watch(FORWARD_TEST_EVENTS, told=True), name="worker-commands"),
        ]
        try:
            await self._work()
        finally:
            await end(*watching)
        if not self._membership.replaced:
            if self._fresh:  # who comes next has nothing to do twice
                await self._shards.give(dict(self._shards.held))
            await self._roster.leave()

    async def _work(self) -> None:
        failures = 0
        while not (self._stopping or self._membership.replaced):
            try:
                taken = await self._shards.settle(view) if (view := self._membership.news()) else []
                if not self.shards:  # there are enough others, or it has not looked yet
                    await self._wait()
                    continue
                if taken or not self._fresh:
                    self._told = True
                    await (self._shards.bring(taken) if self._fresh else self._shards.restore())
                    self._fresh = True
                moved = await self._round()
                failures, self.failure = 0, None
                if not moved:
                    await self._wait()
            except Fenced as fenced:
                self._fresh = False
                self._shards.lose(fenced)
            except Exception as error:
                self._fresh = False
                self.failure = error
                failures += 1
                # A database that fails is an event; anything else is a fault of ours, so its place is of interest.
                at_fault = None if isinstance(error, SQLAlchemyError) else error
                log.warning("worker.failed", failures=failures, error=_kind(error), exc_info=at_fault)
                if failures >= MAX_FAILURES:
                    raise
                await asyncio.sleep(min(RETRY_SECONDS[0] * 2**failures, RETRY_SECONDS[1]))

    # ------------------------------------------------------------------ waking

    async def _watch(self, topic: Topic, *, told: bool) -> None:
        """Wake the worker when something is written to a topic. What is missed is found at the next poll."""
        while True:
            try:
                ends = await self._bus.ends(topic)
                async with aclosing(self._bus.subscribe(topic, ends, limits.MAX_READ_RECORDS)) as written:
                    async for _ in written:
                        self._told |= told
                        self._wake.set()
            except Exception as error:
                log.warning("worker.watch_failed", topic=topic.name, error=_kind(error))
                await asyncio.sleep(RETRY_SECONDS[1])

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
        self._wake.clear()

    # ------------------------------------------------------------------ a round

    async def _round(self) -> bool:
        """Move every lane a batch further and store what happened; tell whether any moved."""
        now_ns = self._clock.now_ns()
        if self._told or now_ns - self._looked_ns >= self._poll_seconds * SECOND_NS:  # messages may be late, or lost
            self._told, self._looked_ns = False, now_ns
            if commands := await self._shards.waiting():
                await self._commands.obey(commands)
                self._told = True  # there may be more
        reads: dict[tuple[int, int, int], Reading] = {}
        progress: list[Progress] = []
        moved: list[Lane] = []
        for front in self._lanes.fronts():
            try:
                batch = await self._read(front, reads)
            except OffsetOutOfRange as error:
                for lane in front:
                    moved.append(lane)
                    if not lane.skip_to(error.bounds.earliest):
                        log.error("lane.lost", symbol=lane.symbol, error=str(error))  # noqa: TRY400
                        progress += lane.lose(error.bounds)
                continue
            if batch is not None:
                moved += front
                failpoints.reached("worker.before_step")
                progress += await (self._advance(front[0], batch) if len(front) == 1 else self._step(front, batch))
                failpoints.reached("worker.stepped")
            if sum(len(one.events) for one in progress) >= EVENTS_A_COMMIT:
                await self._store(progress)
                progress = []
        if progress:
            await self._store(progress)
        self._mark()
        await self._shards.checkpoint()
        self._lanes.tidy()
        self._moved(self._lanes)
        return bool(moved) or self._told

    async def _store(self, progress: Sequence[Progress]) -> None:
        """Commit, and halt the sessions that have come to as many events as one may have."""
        await self._shards.commit(progress)
        full = [
            lane.halted(member, EVENT_LIMIT)
            for session in (one.session for one in progress)
            if session.last_sequence >= limits.MAX_SESSION_EVENTS and (found := self._lanes.find(session.session_id))
            for lane, member in [found]
        ]
        if full:
            await self._shards.commit(full)

    async def _read(self, front: Sequence[Lane], reads: dict[tuple[int, int, int], Reading]) -> Batch | None:
        """Return what follows a front's place: as much as it may take at once; None at the end of the log."""
        lane, limit = front[0], limits.MAX_READ_RECORDS
        if lane.warming:
            limit = min(limit, lane.orders_from - lane.offset)
        key = (lane.partition, lane.offset, limit)
        ticks = most_ticks(sum(len(lane.members) for lane in front))
        if key not in reads:
            try:
                reads[key] = Reading(await self._bus.read(MARKET_DATA_UPDATES, *key))
            except OffsetOutOfRange as missing:
                if self._source and (found := await self._source.archived(missing, lane.symbol, limit, ticks)):
                    return found
                raise
        return reads[key].batch(ticks)

    async def _advance(self, lane: Lane, batch: Batch) -> list[Progress]:
        """Step a lane; return what must be stored of it now."""
        try:
            with self._metrics.session_step_seconds.time():
                begun = lane.advance(batch)
        except (TrapError, MemoryError) as error:
            return await self._trapped(lane, batch.end, error)
        except RecordError as error:
            return _unreadable([lane], error)
        due = [member for member in lane.members.values() if begun or member.happenings]
        return [lane.progress(member, _sold_out(lane, member)) for member in due]

    async def _step(self, front: Sequence[Lane], batch: Batch) -> list[Progress]:
        """Step the lanes of a front in one call; return what must be stored of them now."""
        try:
            stretch = batch.stretch(front[0].symbol, front[0].reader)
        except RecordError as error:
            return _unreadable(front, error)
        if stretch.turns:
            return [one for lane in front for one in await self._advance(lane, batch)]
        with self._metrics.session_step_seconds.time():
            done = self._lanes.fleet.step([lane.berth for lane in front], stretch.ticks)
        progress: list[Progress] = []
        for index, lane in enumerate(front):
            if index in done.trapped:
                lane.trapped = True
                await self._alone(lane, batch.end, done.trapped[index])
                continue
            events = done.events.get(index)
            lane.stepped(stretch, batch.end, events)
            if events is not None:
                progress += [lane.progress(member) for member in lane.members.values() if member.happenings]
        return progress

    async def _trapped(self, lane: Lane, end: int, error: Exception) -> list[Progress]:
        """Find the session that traps: halt the only one there is, or try each alone from its row."""
        lane.trapped = True
        if len(lane.members) == 1:
            log.error("session.trapped", symbol=lane.symbol, artefact=lane.artefact.hash, exc_info=error)
            return [lane.halted(member, "trap") for member in lane.members.values()]
        await self._alone(lane, end, error)
        return []

    async def _alone(self, lane: Lane, end: int, error: Exception) -> None:
        """Have each session of a lane go on from its row by itself, up to an offset: the one that traps is found so."""
        session_ids = [member.session.session_id for member in lane.members.values()]
        log.error(
            "lane.trapped", symbol=lane.symbol, artefact=lane.artefact.hash, sessions=len(session_ids), exc_info=error
        )
        self._lanes.remove(lane)
        for held in await self._shards.rows(session_ids):
            await self._shards.hold(held, alone_until=end)

    def _mark(self) -> None:
        """Say what some sessions are worth now of which somebody may be sent that: those that are due for longest."""
        if (now_ns := self._clock.now_ns()) < self._marks_ns:
            return
        waiting: list[tuple[int, str]] = []
        for session_id in self._changes.watched:
            if (found := self._lanes.find(session_id)) is not None and found[0].last_tick[0] and not found[0].warming:
                due = self._changes.mark_due(session_id, found[0].last_tick[1])
                if due is not None and due <= now_ns:
                    waiting.append((due, session_id))
        marks = nsmallest(limits.MAX_MARKS_A_ROUND, waiting)
        for _, session_id in marks:
            if (found := self._lanes.find(session_id)) is not None:
                self._changes.marked(session_id, found[0].mark(found[1]), found[0].last_tick[1])
        self._marks_ns = now_ns + len(marks) * SECOND_NS // limits.MAX_MARKS_A_SECOND


def _unreadable(lanes: Sequence[Lane], error: RecordError) -> list[Progress]:
    log.error("lane.lost", symbol=lanes[0].symbol, lanes=len(lanes), error=str(error))
    return [lane.halted(member, "record_unreadable") for lane in lanes for member in lane.members.values()]


def _kind(error: Exception) -> str:
    """Name an error without the statement and its parameters."""
    return f"{type(error).__name__}: {getattr(error, 'orig', None) or ''}"


def _sold_out(lane: Lane, member: Member) -> Status | None:
    """Return STOPPED for a session that waited to be sold out and now is."""
    waiting = member.session.status is Status.STOPPING
    return Status.STOPPED if waiting and not lane.state(member).quantity else None
