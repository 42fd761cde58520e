"""What the worker does when a session is told something: between two batches, at a place that is stored with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby
from typing import Final

import structlog

from algotrade.forward_test.changes import Changes
from algotrade.forward_test.lane import Lane
from algotrade.forward_test.member import Member
from algotrade.forward_test.session import (
    REPLAY_DIVERGED,
    Applied,
    Command,
    CommandKind,
    Commit,
    Place,
    Session,
    Status,
)
from algotrade.forward_test.shards import Shards
from algotrade.platform import failpoints, limits, tracing
from algotrade.platform.bus import Bus, partition_of
from algotrade.platform.caller import TRACEPARENT_KEY
from algotrade.platform.log import logger
from algotrade.platform.topics import FORWARD_TEST_EVENTS, MARKET_DATA_UPDATES

log = logger(__name__)


class Obedience:
    """Applies commands to the sessions of a worker."""

    def __init__(self, shards: Shards, bus: Bus, changes: Changes) -> None:
        """Take what the worker holds, the log in which sessions begin, and who is told."""
        self._shards = shards
        self._bus = bus
        self._changes = changes

    async def obey(self, commands: Sequence[Command]) -> None:
        """Apply commands, in order, between two batches, and store the place at which each took effect.

        Sessions that are started one after another are stored together.
        """
        for starting, run in groupby(commands, lambda command: command.kind is CommandKind.START):
            if starting:
                together = list(run)
                with _traced(together):
                    await self._start(together)
            else:
                for command in run:
                    bound = structlog.contextvars.bound_contextvars(correlation_id=command.correlation_id)
                    with bound, _traced([command]):
                        await self._steer(command)
        for command in commands:
            log.info(
                "command.applied",
                session_id=command.session_id,
                kind=command.kind,
                correlation_id=command.correlation_id,
            )
            self._changes.touched(command.session_id)

    async def _start(self, commands: Sequence[Command]) -> None:
        sessions = await self._shards.sessions({command.session_id for command in commands})
        starts: list[tuple[Session, Place]] = []
        applied: list[Applied] = []
        for command in commands:
            session = sessions.pop(command.session_id, None)  # of two that start one session the second is late
            if session is None or session.status is not Status.CREATED:
                applied.append(Applied(command.session_id, command.command_id))
                continue
            place = await self._first_place(session)
            starts.append((replace(session, correlation_id=command.correlation_id), place))
            applied.append(Applied(command.session_id, command.command_id, place.partition, place.orders_from, None, 1))
        await self._shards.write(Commit(starts=tuple(starts), applied=tuple(applied)))
        if starts:
            await self._shards.hold_all(await self._shards.rows([session.session_id for session, _ in starts]))

    async def _first_place(self, session: Session) -> Place:
        """Where a session begins: a replay at its oldest record; else at the end, after a warm-up on what is kept."""
        partition = partition_of(session.symbol, MARKET_DATA_UPDATES.partitions)
        bounds = await self._bus.bounds(MARKET_DATA_UPDATES, partition)
        if session.from_first_tick:
            return Place(partition, bounds.earliest, bounds.earliest)
        return Place(partition, max(bounds.earliest, bounds.end - limits.MAX_WARMUP_RECORDS), bounds.end)

    async def _steer(self, command: Command) -> None:
        """Do what a session that goes on is told; where that changes nothing, change nothing."""
        found = self._shards.lanes.find(command.session_id)
        status = None if found is None else after(command.kind, *found)
        if found is None or status is None:
            await self._pass(command)
            return
        lane, member = found
        if command.kind is CommandKind.HALT:
            await self._shards.commit([lane.halted(member, REPLAY_DIVERGED)], [_applied(command, lane, member)])
            return
        if status is Status.STOPPING and len(lane.members) > 1:
            lane = lane.alone(member)
            self._shards.lanes.add(lane)
        member.caused_by(command)
        act(command.kind, lane, member)
        progress = lane.progress(member, status) if status.ending else lane.told(member, status)
        failpoints.reached("command.applied")
        await self._shards.commit([progress], [_applied(command, lane, member)])

    async def _pass(self, command: Command) -> None:
        """Note a command that has come too late to change anything."""
        await self._shards.write(Commit(applied=(Applied(command.session_id, command.command_id),)))


def _traced(commands: Sequence[Command]) -> AbstractContextManager[object]:
    """Return a span in the trace of each call that gave a command."""
    headers = ({TRACEPARENT_KEY: command.traceparent} for command in commands if command.traceparent)
    return tracing.messages(tracing.Kind.CONSUMER, FORWARD_TEST_EVENTS.name, headers)


# What becomes of a session that goes on, by its status; any other pair changes nothing.
_AFTER: Final = {
    (CommandKind.PAUSE, Status.RUNNING): Status.PAUSED,
    (CommandKind.RESUME, Status.PAUSED): Status.RUNNING,
    (CommandKind.FLATTEN, Status.RUNNING): Status.RUNNING,
    (CommandKind.FLATTEN, Status.PAUSED): Status.PAUSED,
}


def after(kind: CommandKind, lane: Lane, member: Member) -> Status | None:
    """Return a session's status after a command; None where the command changes nothing."""
    if kind is CommandKind.HALT:
        return Status.HALTED
    if kind is CommandKind.STOP_KEEP:
        return Status.STOPPED
    if kind is CommandKind.STOP_FLATTEN:
        if not lane.state(member).quantity:
            return Status.STOPPED
        return None if member.session.status is Status.STOPPING else Status.STOPPING
    return _AFTER.get((kind, member.session.status))


def act(kind: CommandKind, lane: Lane, member: Member) -> None:
    """Do to a session in memory what a command says that changes something."""
    match kind:
        case CommandKind.PAUSE:
            lane.pause(member)
        case CommandKind.RESUME:
            lane.resume(member)
        case CommandKind.FLATTEN:
            lane.flatten(member)
        case CommandKind.STOP_FLATTEN if lane.state(member).quantity:
            lane.sell_out(member)


def _applied(command: Command, lane: Lane, member: Member) -> Applied:
    segment = member.session.segment
    return Applied(command.session_id, command.command_id, lane.partition, lane.offset, lane.tick_sequence, segment)
