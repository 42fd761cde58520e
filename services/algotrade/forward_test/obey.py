"""What the worker does when a session is told something: between two batches, at a place that is stored with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import structlog

from algotrade.forward_test.changes import Changes
from algotrade.forward_test.lane import Lane
from algotrade.forward_test.session import Applied, Command, CommandKind, Commit, Place, Session, Status
from algotrade.forward_test.shards import Shards
from algotrade.platform import limits
from algotrade.platform.bus import Bus, partition_of
from algotrade.platform.log import logger
from algotrade.platform.topics import MARKET_DATA_UPDATES

log = logger(__name__)


class Obedience:
    """Applies commands to the sessions of a worker."""

    def __init__(self, shards: Shards, bus: Bus, changes: Changes) -> None:
        """Take what the worker holds, the log in which sessions begin, and who is told."""
        self._shards = shards
        self._bus = bus
        self._changes = changes

    async def obey(self, command: Command) -> None:
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
        session = await self._shards.session(command.session_id)
        if session is None or session.status is not Status.CREATED:
            await self._pass(command)
            return
        session = replace(session, correlation_id=command.correlation_id)
        place = await self._first_place(session)
        applied = Applied(command.session_id, command.command_id, place.partition, place.orders_from)
        await self._shards.write(Commit(starts=((session, place),), applied=(applied,)))
        for held in await self._shards.rows([session.session_id]):
            await self._shards.hold(held)
            self._changes.stored(session.session_id, held.session.last_sequence, held.session.status)

    async def _first_place(self, session: Session) -> Place:
        """Where a session begins: a replay at its oldest record; else at the end, after a warm-up on what is kept."""
        partition = partition_of(session.symbol, MARKET_DATA_UPDATES.partitions)
        bounds = await self._bus.bounds(MARKET_DATA_UPDATES, partition)
        if session.from_first_tick:
            return Place(partition, bounds.earliest, bounds.earliest)
        return Place(partition, max(bounds.earliest, bounds.end - limits.MAX_WARMUP_RECORDS), bounds.end)

    async def _stop(self, command: Command) -> None:
        found = self._shards.lanes.find(command.session_id)
        if found is None:
            await self._pass(command)
            return
        lane, member = found
        status = Status.STOPPED
        if command.kind is CommandKind.STOP_FLATTEN and lane.state(member).quantity:
            if member.session.status is Status.STOPPING:
                await self._pass(command)
                return
            member.caused_by(command)
            if len(lane.members) > 1:
                lane = lane.alone(member)
                self._shards.lanes.add(lane)
            lane.sell_out(member)
            status = Status.STOPPING
        await self._shards.commit([lane.progress(member, status)], [_applied(command, lane)])

    async def _steer(self, command: Command) -> None:
        """Pause, resume or flatten a session that goes on; where it is so already, change nothing."""
        found = self._shards.lanes.find(command.session_id)
        if found is None or (step := _STEPS.get((command.kind, found[1].session.status))) is None:
            await self._pass(command)
            return
        lane, member = found
        act, status = step
        member.caused_by(command)
        act(lane, member)
        await self._shards.commit([lane.told(member, status)], [_applied(command, lane)])

    async def _pass(self, command: Command) -> None:
        """Note a command that has come too late to change anything."""
        await self._shards.write(Commit(applied=(Applied(command.session_id, command.command_id),)))


# What a command does to a session by its status, and its status afterwards; any other pair changes nothing.
_STEPS: Final = {
    (CommandKind.PAUSE, Status.RUNNING): (Lane.pause, Status.PAUSED),
    (CommandKind.RESUME, Status.PAUSED): (Lane.resume, Status.RUNNING),
    (CommandKind.FLATTEN, Status.RUNNING): (Lane.flatten, Status.RUNNING),
    (CommandKind.FLATTEN, Status.PAUSED): (Lane.flatten, Status.PAUSED),
}


def _applied(command: Command, lane: Lane) -> Applied:
    return Applied(command.session_id, command.command_id, lane.partition, lane.offset, lane.tick_sequence)
