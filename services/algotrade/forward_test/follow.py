"""The worker: follows the log of ticks, steps sessions over it, stores what they did.

1. It takes its shards, which raises their epochs, and restores every running session from its row, at its own place.
2. A round: apply commands; each lane reads what follows its place and steps; one transaction stores what happened,
   and the rows of sessions that have not been stored for a while; lanes that have come to one place become one.
3. Memory is never ahead of the rows in anything that counts: when a commit fails, or nobody knows whether it did, all
   that is in memory is thrown away and the rows are read again. What happens twice happens alike: the same ticks give
   the same events with the same numbers.
4. A session whose artefact traps is found by stepping its lane's sessions one by one from their rows, and halted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from algotrade.engine.native import TrapError
from algotrade.forward_test.batch import Batch, Reading, RecordError
from algotrade.forward_test.changes import Changes
from algotrade.forward_test.lane import Lane, Member, unreadable
from algotrade.forward_test.lanes import Lanes, Unreadable
from algotrade.forward_test.session import (
    Applied,
    Command,
    CommandKind,
    Commit,
    Held,
    Place,
    Progress,
    Session,
    Status,
)
from algotrade.forward_test.store import Fenced, Ledger
from algotrade.platform import limits
from algotrade.platform.bus import Bus, OffsetOutOfRange, partition_of
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import FORWARD_TEST_EVENTS, MARKET_DATA_UPDATES, Topic

log = logger(__name__)

SHARDS: Final = range(FORWARD_TEST_EVENTS.partitions)
CHECKPOINTS_A_ROUND: Final = 500
EVENTS_A_COMMIT: Final = 10_000  # or a little more: as many as one lane's step gave
MAX_FAILURES: Final = 20  # in a row, while nothing works
RETRY_SECONDS: Final = (0.05, 2.0)


class Worker:
    """Holds the sessions of some shards. One task; nothing else touches its lanes."""

    def __init__(
        self,
        ledger: Ledger,
        bus: Bus,
        changes: Changes,
        clock: Clock,
        metrics: Metrics,
        *,
        checkpoint_seconds: float,
        poll_seconds: float,
        stored: Callable[[], None] = lambda: None,
    ) -> None:
        """Take where things are; ``stored`` is called when there is something to send."""
        self._ledger = ledger
        self._bus = bus
        self._changes = changes
        self._clock = clock
        self._metrics = metrics
        self._checkpoint_ns = round(checkpoint_seconds * SECOND_NS)
        self._checkpoint_due_ns = 0
        self._poll_seconds = poll_seconds
        self._stored = stored
        self._epochs: dict[int, int] = {}
        self._lanes = Lanes(ledger, clock, metrics)
        self._wake = asyncio.Event()
        self._told = True
        self._looked_ns = 0  # when it last looked for commands
        self._stopping = False
        self.failure: BaseException | None = None  # why it does not get on just now

    def stop(self) -> None:
        """Ask `run` to finish its round, store everything and return."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`, or until other workers have taken every shard.

        Raises what it cannot get past, after many tries.
        """
        watching = [
            asyncio.create_task(self._watch(MARKET_DATA_UPDATES, told=False)),
            asyncio.create_task(self._watch(FORWARD_TEST_EVENTS, told=True)),
        ]
        try:
            await self._work()
        finally:
            for task in watching:
                task.cancel()
            for task in watching:
                with suppress(asyncio.CancelledError):
                    await task

    async def _work(self) -> None:
        failures = 0
        fresh = False  # whether the lanes are what the rows say
        while not self._stopping:
            try:
                if not self._epochs:
                    self._epochs = dict(await self._ledger.take(SHARDS))
                if not fresh:
                    await self._restore()
                    fresh = True
                moved = await self._round()
                failures, self.failure = 0, None
                if not moved:
                    await self._wait()
            except Fenced as fenced:
                fresh = False
                if not self._lose(fenced):
                    return
            except Exception as error:
                fresh = False
                self.failure = error
                failures += 1
                # A database that fails is an event; anything else is a fault of ours, so its place is of interest.
                at_fault = None if isinstance(error, SQLAlchemyError) else error
                log.warning("worker.failed", failures=failures, error=_kind(error), exc_info=at_fault)
                if failures >= MAX_FAILURES:
                    raise
                await asyncio.sleep(min(RETRY_SECONDS[0] * 2**failures, RETRY_SECONDS[1]))
        if fresh:
            await self._store_all()

    def _lose(self, fenced: Fenced) -> bool:
        """Forget shards that another worker has taken; tell whether any are left."""
        log.error("worker.fenced", shards=fenced.shards)
        self._lanes.clear()
        for shard in fenced.shards:
            self._epochs.pop(shard, None)
        return bool(self._epochs)

    # ------------------------------------------------------------------ waking

    async def _watch(self, topic: Topic, *, told: bool) -> None:
        """Wake the worker when something is written to a topic. What is missed is found at the next poll."""
        while True:
            try:
                ends = {p: (await self._bus.bounds(topic, p)).end for p in range(topic.partitions)}
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

    # ------------------------------------------------------------------ restoring

    async def _restore(self) -> None:
        self._lanes.clear()
        self._told = True
        found = await self._ledger.held(list(self._epochs))
        for held in found:
            await self._hold(held)
        log.info("worker.restored", sessions=len(found), epochs=self._epochs)

    async def _hold(self, held: Held, alone_until: int = 0) -> None:
        """Take a session in. One that cannot be brought back is halted."""
        try:
            await self._lanes.hold(held, alone_until)
        except Unreadable as error:
            log.exception("session.unreadable", session_id=held.session.session_id, exc_info=error)
            await self._commit([unreadable(held, "state_unreadable")])

    # ------------------------------------------------------------------ a round

    async def _round(self) -> bool:
        """Move every lane a batch further and store what happened; tell whether any moved."""
        self._wake.clear()
        now_ns = self._clock.now_ns()
        if self._told or now_ns - self._looked_ns >= self._poll_seconds * SECOND_NS:  # messages may be late, or lost
            self._told, self._looked_ns = False, now_ns
            for command in await self._ledger.waiting(list(self._epochs)):
                await self._obey(command)
        reads: dict[tuple[int, int, int], Reading] = {}
        progress: list[Progress] = []
        moved = False
        for lane in self._lanes:
            try:
                batch = await self._read(lane, reads)
            except OffsetOutOfRange as error:
                if lane.skip_to(error.bounds.earliest):
                    moved = True
                else:
                    log.error("lane.lost", symbol=lane.symbol, error=str(error))  # noqa: TRY400
                    progress += [lane.halted(member, "position_lost") for member in lane.members.values()]
                continue
            if batch is not None:
                moved = True
                progress += await self._advance(lane, batch)
            if sum(len(one.events) for one in progress) >= EVENTS_A_COMMIT:
                await self._commit(progress)
                progress = []
        if progress:
            await self._commit(progress)
        await self._checkpoint()
        self._lanes.tidy()
        return moved

    async def _read(self, lane: Lane, reads: dict[tuple[int, int, int], Reading]) -> Batch | None:
        """Return what follows a lane's place: as much as it may take at once; None at the end of the log."""
        limit = limits.MAX_READ_RECORDS
        if lane.warming:
            limit = min(limit, lane.orders_from - lane.offset)
        key = (lane.partition, lane.offset, limit)
        if key not in reads:
            reads[key] = Reading(await self._bus.read(MARKET_DATA_UPDATES, *key))
        return reads[key].batch(lane.most_ticks)

    async def _advance(self, lane: Lane, batch: Batch) -> list[Progress]:
        """Step a lane; return what must be stored of it now."""
        try:
            with self._metrics.session_step_seconds.time():
                begun = lane.advance(batch)
        except (TrapError, MemoryError) as error:
            return await self._trapped(lane, batch.end, error)
        except RecordError as error:
            log.error("lane.lost", symbol=lane.symbol, error=str(error))  # noqa: TRY400
            return [lane.halted(member, "record_unreadable") for member in lane.members.values()]
        for member in lane.members.values():
            if not lane.warming and self._changes.is_watched(member.session.session_id):
                self._changes.marked(member.session.session_id, lane.mark(member))
        due = [member for member in lane.members.values() if begun or member.happenings]
        return [lane.progress(member, _sold_out(lane, member)) for member in due]

    async def _trapped(self, lane: Lane, end: int, error: Exception) -> list[Progress]:
        """Find the session that traps: halt the only one there is, or try each alone from its row."""
        members = list(lane.members.values())
        log.error(
            "lane.trapped", symbol=lane.symbol, artefact=lane.artefact.hash, sessions=len(members), exc_info=error
        )
        if len(members) == 1:
            return [lane.halted(members[0], "trap")]
        self._lanes.remove(lane)
        for held in await self._ledger.held(list(self._epochs), [m.session.session_id for m in members]):
            await self._hold(held, alone_until=end)
        return []

    # ------------------------------------------------------------------ storing

    async def _checkpoint(self) -> None:
        """Store rows that are due, not all at once: with many sessions that would hold up the ticks."""
        now_ns = self._clock.now_ns()
        if now_ns >= self._checkpoint_due_ns:
            self._checkpoint_due_ns = now_ns + self._checkpoint_ns // 4
            if due := self._lanes.due(now_ns - self._checkpoint_ns, CHECKPOINTS_A_ROUND):
                await self._commit(due)

    async def _store_all(self) -> None:
        """Store every row before the end, so that who comes next has nothing to do twice."""
        while due := self._lanes.due(self._clock.now_ns(), CHECKPOINTS_A_ROUND):
            await self._commit(due)

    async def _commit(self, progress: Sequence[Progress], applied: Sequence[Applied] = ()) -> None:
        """Store in one transaction; then, and only then, say so."""
        with self._metrics.session_commit_seconds.time():
            await self._ledger.commit(self._epochs, Commit(progress=tuple(progress), applied=tuple(applied)))
        members = self._lanes.members()
        for one in progress:
            session = one.session
            if (found := members.get(session.session_id)) is not None:
                lane, member = found
                member.keep(one, self._clock.now_ns())
                if session.status.final:
                    lane.drop(member)
            if session.status.final:
                log.info("session.ended", session_id=session.session_id, status=session.status, why=session.halt_reason)
            self._changes.stored(session.session_id, session.last_sequence, session.status)
        if any(one.outgoing for one in progress):
            self._stored()

    # ------------------------------------------------------------------ commands

    async def _obey(self, command: Command) -> None:
        """Apply a command between two batches and store the place at which it took effect."""
        with structlog.contextvars.bound_contextvars(correlation_id=command.correlation_id):
            if command.kind is CommandKind.START:
                await self._start(command)
            elif command.kind in (CommandKind.STOP_FLATTEN, CommandKind.STOP_KEEP):
                await self._stop(command)
            else:
                await self._steer(command)
            log.info("command.applied", session_id=command.session_id, kind=command.kind)
        self._changes.touched(command.session_id)

    async def _start(self, command: Command) -> None:
        session = await self._ledger.session(command.session_id)
        if session is None or session.status is not Status.CREATED:
            await self._pass(command)
            return
        session = replace(session, correlation_id=command.correlation_id)
        place = await self._first_place(session)
        applied = Applied(command.session_id, command.command_id, place.partition, place.orders_from)
        await self._ledger.commit(self._epochs, Commit(starts=((session, place),), applied=(applied,)))
        for held in await self._ledger.held(list(self._epochs), [session.session_id]):
            await self._hold(held)
            self._changes.stored(session.session_id, held.session.last_sequence, held.session.status)

    async def _first_place(self, session: Session) -> Place:
        """Where a session begins: a replay at its oldest record; else at the end, after a warm-up on what is kept."""
        partition = partition_of(session.symbol, MARKET_DATA_UPDATES.partitions)
        bounds = await self._bus.bounds(MARKET_DATA_UPDATES, partition)
        if session.from_first_tick:
            return Place(partition, bounds.earliest, bounds.earliest)
        return Place(partition, max(bounds.earliest, bounds.end - limits.MAX_WARMUP_RECORDS), bounds.end)

    async def _stop(self, command: Command) -> None:
        found = self._lanes.members().get(command.session_id)
        if found is None:
            await self._pass(command)
            return
        lane, member = found
        status = Status.STOPPED
        if command.kind is CommandKind.STOP_FLATTEN and lane.state(member).quantity:
            if member.session.status is Status.STOPPING:
                await self._pass(command)
                return
            if len(lane.members) > 1:
                lane = lane.alone(member)
                self._lanes.add(lane)
            lane.sell_out(member)
            status = Status.STOPPING
        await self._commit([lane.progress(member, status)], [_applied(command, lane)])

    async def _steer(self, command: Command) -> None:
        """Pause, resume or flatten a session that goes on; where it is so already, change nothing."""
        found = self._lanes.members().get(command.session_id)
        if found is None or (step := _STEPS.get((command.kind, found[1].session.status))) is None:
            await self._pass(command)
            return
        lane, member = found
        act, status = step
        act(lane, member)
        await self._commit([lane.told(member, status)], [_applied(command, lane)])

    async def _pass(self, command: Command) -> None:
        """Note a command that has come too late to change anything."""
        await self._ledger.commit(self._epochs, Commit(applied=(Applied(command.session_id, command.command_id),)))


# What a command does to a session by its status, and its status afterwards; any other pair changes nothing.
_STEPS: Final = {
    (CommandKind.PAUSE, Status.RUNNING): (Lane.pause, Status.PAUSED),
    (CommandKind.RESUME, Status.PAUSED): (Lane.resume, Status.RUNNING),
    (CommandKind.FLATTEN, Status.RUNNING): (Lane.flatten, Status.RUNNING),
    (CommandKind.FLATTEN, Status.PAUSED): (Lane.flatten, Status.PAUSED),
}


def _applied(command: Command, lane: Lane) -> Applied:
    return Applied(command.session_id, command.command_id, lane.partition, lane.offset, lane.tick_sequence)


def _kind(error: Exception) -> str:
    """Name an error without the statement and its parameters."""
    return f"{type(error).__name__}: {getattr(error, 'orig', None) or ''}"


def _sold_out(lane: Lane, member: Member) -> Status | None:
    """Return STOPPED for a session that waited to be sold out and now is."""
    waiting = member.session.status is Status.STOPPING
    return Status.STOPPED if waiting and not lane.state(member).quantity else None
