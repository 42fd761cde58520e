"""Sessions in memory that read the same ticks with the same artefact at the same place of the log: one step for all.

A lane moves through its partition record by record. A session begins in a lane of its own, where it warms up or
catches up, and joins the others when it has come to where they are. One that is to be sold out leaves them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.compile import Artefact
from algotrade.engine.fleet import Fleet, FleetSessions
from algotrade.engine.records import MARKER, Records
from algotrade.engine.runtime import EXITS_ONLY, GAP, RUNNING, STALE, Sessions, SessionState
from algotrade.forward_test.batch import Batch, Stretch, Turn
from algotrade.forward_test.book import Book
from algotrade.forward_test.changes import Mark
from algotrade.forward_test.member import Member, progress_of, reader_of
from algotrade.forward_test.session import POSITION_LOST, Held, OwnKind, Place, Progress, Status
from algotrade.platform.bus import Bounds
from algotrade.platform.ticks import FeedReader
from algotrade.v1 import types_pb2

Front = tuple[int, int, str, int, int, int]
FEED_STATES: Final[Mapping[int, str]] = {
    types_pb2.FEED_STATE_LIVE: "live",
    types_pb2.FEED_STATE_GAP: "gap",
    types_pb2.FEED_STATE_STALE: "stale",
    types_pb2.FEED_STATE_CLOSED: "closed",
}
_FEED_MODES: Final[Mapping[int, int]] = {
    types_pb2.FEED_STATE_GAP: GAP,
    types_pb2.FEED_STATE_STALE: STALE,
    types_pb2.FEED_STATE_CLOSED: STALE,
}
SESSION_TICKS: Final = 2**17  # sessions times ticks of a step: about a millisecond in the module


class Lane:
    """Sessions of one artefact at one place."""

    def __init__(
        self,
        artefact: Artefact,
        symbol: str,
        place: Place,
        reader: FeedReader,
        fleet: Fleet | None = None,
        witness: Callable[[Records], None] = lambda ticks: None,
    ) -> None:
        """Begin empty, in a fleet where one is given that has room. Records of other symbols are passed over.

        ``witness`` sees the ticks that a lane without a fleet is stepped over.
        """
        self.artefact = artefact
        self.symbol = symbol
        self.partition = place.partition
        self.offset = place.offset
        self.orders_from = place.orders_from
        self.alone_until = 0  # joins no other before this offset: one of its sessions may trap
        self.last_tick = (0, reader.sequence)  # time and sequence of the newest tick that it was stepped over
        self.trapped = False  # one of its sessions has, and left a state half done
        self.members: dict[int, Member] = {}
        self._reader = reader
        self._source = ""  # the provider that the log last named
        self._witness = witness
        self._fleet = fleet
        self._sessions = _sessions(artefact, fleet)

    @property
    def front(self) -> Front | None:
        """What it reads next, where it can be stepped together with others that read the same; else None."""
        if not isinstance(self._sessions, FleetSessions) or not self._settled:
            return None
        read = self._reader
        return (self.partition, self.offset, self.symbol, read.sequence, read.epoch, read.state)

    @property
    def berth(self) -> FleetSessions:
        """Its place in the fleet, if it has a `front`."""
        assert isinstance(self._sessions, FleetSessions)  # noqa: S101  (the caller asked)
        return self._sessions

    @property
    def warming(self) -> bool:
        """Whether what it reads moves indicators only."""
        return self.offset < self.orders_from

    @property
    def stopping(self) -> bool:
        """Whether its one session waits for the tick that sells it out."""
        return len(self.members) == 1 and next(iter(self.members.values())).session.status is Status.STOPPING

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.partition, self.offset, self.orders_from, self._reader.epoch)

    @property
    def reader(self) -> FeedReader:
        """How far it has read its feed."""
        return self._reader

    @property
    def tick_sequence(self) -> int:
        """Sequence of the newest tick it has read."""
        return self._reader.sequence

    def hold(self, held: Held, now_ns: int) -> Member:
        """Take a session in from its row. Raises ValueError where its state is not this artefact's."""
        session = held.session
        slot = self._sessions.add(session.settings, session.parameters)
        if held.state is not None:
            self._sessions.restore(slot, held.state)
        elif self.warming or session.status is Status.PAUSED:
            self._sessions.set_mode(slot, EXITS_ONLY)
        book = Book(held, self.artefact.manifest.nodes)
        member = Member(session, book, slot, now_ns, held.place, held.begin_offset, held.state, self)
        if not self.last_tick[0]:
            self.last_tick = (self._sessions.state(slot).last_ts, self.last_tick[1])
        self.members[slot] = member
        return member

    @property
    def _settled(self) -> bool:
        return self.offset >= self.orders_from and self.offset >= self.alone_until and not self.stopping

    def may_join(self, other: Lane) -> bool:
        """Whether this lane's sessions can go on in another."""
        settled = self._settled and other._settled
        mine = (self.symbol, self.artefact.hash, self.partition, self.offset, self._reader)
        theirs = (other.symbol, other.artefact.hash, other.partition, other.offset, other._reader)
        return settled and mine == theirs

    def accepts(self, held: Held) -> bool:
        """Whether a session can go on here from its row."""
        session, place = held.session, held.place
        mine = (self.symbol, self.artefact.hash, self.place, self._reader)
        theirs = (session.symbol, session.artefact_hash, place, reader_of(held))
        free = not self.stopping and self.offset >= self.alone_until
        return mine == theirs and free and session.status is not Status.STOPPING

    def join(self, other: Lane) -> None:
        """Move every session into another lane."""
        for member in list(self.members.values()):
            self._move(member, other)

    def alone(self, member: Member) -> Lane:
        """Move a session into a new lane at this place."""
        lane = Lane(self.artefact, self.symbol, self.place, self._reader.copy(), self._fleet)
        lane.last_tick = self.last_tick
        self._move(member, lane)
        return lane

    def _move(self, member: Member, other: Lane) -> None:
        raw = self._sessions.snapshot(member.slot)
        self.drop(member)
        member.lane = other
        member.slot = other._sessions.add(member.session.settings, member.session.parameters)
        other._sessions.restore(member.slot, raw)
        other.members[member.slot] = member

    def board(self, fleet: Fleet) -> None:
        """Move every session into another fleet."""
        before, self._fleet = self._sessions, fleet
        self._sessions, members = _sessions(self.artefact, fleet), list(self.members.values())
        self.members.clear()
        for member in members:
            raw = before.snapshot(member.slot)
            member.slot = self._sessions.add(member.session.settings, member.session.parameters)
            self._sessions.restore(member.slot, raw)
            self.members[member.slot] = member

    def leave(self) -> None:
        """Give its place in the fleet back. The lane is of no more use."""
        if self._fleet is not None and isinstance(self._sessions, FleetSessions):
            self._fleet.release(self._sessions, sound=not self.trapped)

    def drop(self, member: Member) -> None:
        """Let a session go."""
        self._sessions.remove(member.slot)
        del self.members[member.slot]

    def flatten(self, member: Member) -> None:
        """Leave a session's position at the next tick; an entry that waits is given up."""
        self._sessions.flatten(member.slot)

    def sell_out(self, member: Member) -> None:
        """Leave a session's position at the next tick, and let it enter no other."""
        self.flatten(member)
        self._sessions.set_mode(member.slot, EXITS_ONLY)

    def pause(self, member: Member) -> None:
        """Let a session enter no position; an entry that waits is given up, exits are not."""
        if not self.state(member).quantity:
            self.flatten(member)
        self._sessions.set_mode(member.slot, EXITS_ONLY)

    def resume(self, member: Member) -> None:
        """Let a session enter positions, or if it warms up, as soon as it has."""
        if not self.warming:
            self._sessions.set_mode(member.slot, self._mode(Status.RUNNING))

    def _mode(self, status: Status) -> int:
        """Return what a session of a status may do on the feed as it is."""
        settled = EXITS_ONLY if status in (Status.PAUSED, Status.STOPPING) else RUNNING
        return _FEED_MODES.get(self._reader.state, settled)

    def advance(self, batch: Batch) -> bool:
        """Move behind a batch that begins here; note what happened. Tell whether the warm-up has just ended.

        Raises TrapError; then the lane is of no more use.
        """
        warming = self.warming
        stretch = batch.stretch(self.symbol, self._reader)
        self.offset = batch.end
        for ticks, turn in stretch.parts():
            if self._step(ticks, warming=warming):
                break
            if turn is not None:
                self._turn(turn, warming=warming)
        self._reader = stretch.reader.copy()
        begun = warming and not self.warming
        if begun:
            self._begin()
        return begun

    def _step(self, ticks: Records, *, warming: bool) -> bool:
        """Step over ticks of a feed in one state; tell whether the one session that was to be sold out now is."""
        stopping = self.stopping and self._reader.state != types_pb2.FEED_STATE_GAP
        if stopping:
            ticks = until_priced(ticks)
        if not len(ticks):
            return False
        self._witness(ticks)
        events = self._sessions.step(ticks)
        self.last_tick = int(ticks["ts"][-1]), int(ticks["seq"][-1])
        if not warming:
            self._note(events)
        return stopping and not ticks["flags"][-1] & MARKER

    def _turn(self, turn: Turn, *, warming: bool) -> None:
        """Let the sessions trade as the feed's new state allows, and note it."""
        self._reader.state = turn.state
        self._source = turn.source or self._source
        for member in () if warming else tuple(self.members.values()):
            if self._sessions.is_halted(member.slot):
                continue
            if turn.state in _FEED_MODES:
                member.happenings += member.book.fold(self._sessions.refuse(member.slot))
            self._sessions.set_mode(member.slot, self._mode(member.session.status))
            if turn.source and turn.state == types_pb2.FEED_STATE_LIVE:
                member.fed_by(turn.source)
            self._tell(member, OwnKind.FEED, FEED_STATES[turn.state], turn.event_ns)

    def _tell(self, member: Member, kind: OwnKind, reason: str, event_ns: int) -> None:
        """Number an event that is not the engine's."""
        cash = self.state(member).cash
        member.happenings.append(member.book.note(kind, reason, event_ns, self.last_tick[1], cash))

    def stepped(self, stretch: Stretch, end: int, events: Records | None) -> None:
        """Take note that it was stepped, with the others of its front, over a stretch in which the feed did not turn.

        ``end``: the offset behind the records that it was read from.
        """
        self._reader, self.offset = stretch.reader.copy(), end
        self.last_tick = stretch.last or self.last_tick
        if events is not None:
            self._note(events)

    def skip_to(self, offset: int) -> bool:
        """Pass over records that are no longer kept, where none of them could have counted; tell whether so.

        That is, of a warm-up, which is as long as what is kept, and of a replay before its first tick.
        """
        if self.warming:
            may = offset <= self.orders_from
        else:
            fresh = all(one.session.from_first_tick and one.state is None for one in self.members.values())
            may = fresh and not self.tick_sequence
        if not may or offset <= self.offset:
            return False
        begun = self.warming and offset == self.orders_from
        self.offset = offset
        for member in self.members.values():
            member.begin_offset = offset
        if begun:
            self._begin()
        return True

    def lose(self, bounds: Bounds) -> list[Progress]:
        """Go on where the log begins now that it no longer holds what follows; return what to store of the sessions.

        What they missed nobody knows, so they enter nothing until they are told to go on.
        """
        if self.warming:
            self.offset = self.orders_from
            self._begin()
        lost_from, self.offset = self.offset, bounds.earliest
        self.orders_from = min(self.orders_from, self.offset)
        found = []
        for member in self.members.values():
            self.pause(member)
            self._tell(member, OwnKind.LOST, POSITION_LOST, self.state(member).last_ts)
            status = Status.STOPPING if member.session.status is Status.STOPPING else Status.PAUSED
            progress = self.progress(member, status)
            session = replace(progress.session, segment=member.session.segment + 1)
            found.append(replace(progress, session=session, lost_from=lost_from))
        return found

    def _begin(self) -> None:
        """End the warm-up: what happens from here on counts, and is numbered from here on."""
        for slot, member in self.members.items():
            member.book.warmup_events = self._sessions.state(slot).last_event
            if self._source:
                member.session = replace(member.session, source=self._source)
            self._sessions.set_mode(slot, self._mode(member.session.status))

    def state(self, member: Member) -> SessionState:
        """Return a session's ledger as it is in memory."""
        return self._sessions.state(member.slot)

    def mark(self, member: Member) -> Mark:
        """Return what a session is worth now."""
        state = self.state(member)
        worth = state.quantity * state.last_price // fixed.SCALE
        gain = worth - state.cost - state.entry_fee
        return Mark(member.last_tick[0], state.last_price, state.equity, gain, state.bars)

    def progress(self, member: Member, status: Status | None = None) -> Progress:
        """Return what to store of a session: its new row, and what has happened since the old one."""
        state, book = self.state(member), member.book
        halted = state.halted or book.halt_reason
        session = replace(
            member.session,
            status=Status.HALTED if halted else status or member.session.status,
            halt_reason=book.halt_reason,
            cash=state.cash,
            equity=state.equity,
            last_price=state.last_price,
            quantity=state.quantity,
            average_price=state.average_price,
            realized_pnl=state.realized_pnl,
            bars=state.bars,
            last_sequence=book.last_sequence,
            last_tick_sequence=member.last_tick[1],
            feed_state=self._reader.state,
        )
        place = replace(self.place, orders_from=min(member.place.orders_from, self.offset))
        return progress_of(session, place, self._sessions.snapshot(member.slot), member)

    def told(self, member: Member, status: Status) -> Progress:
        """Return what to store of a session that was told something. A warm-up leaves nothing but the status."""
        if not self.warming:
            return self.progress(member, status)
        return progress_of(replace(member.session, status=status), member.place, member.state, member)

    def halted(self, member: Member, reason: str) -> Progress:
        """Return what to store of a session that can no longer be stepped: its last stored row, and why."""
        event_ns, sequence = member.last_tick
        member.happenings = [member.book.halt(reason, event_ns, sequence, member.session.cash)]
        session = replace(
            member.session, status=Status.HALTED, halt_reason=reason, last_sequence=member.book.last_sequence
        )
        return progress_of(session, member.place, member.state, member)

    def _note(self, events: Records) -> None:
        """Give each session its events."""
        for slot in np.unique(events["slot"]).tolist():
            if (member := self.members.get(slot)) is not None:
                member.happenings += member.book.fold(events[events["slot"] == slot])


def _sessions(artefact: Artefact, fleet: Fleet | None) -> Sessions:
    if fleet is not None:
        with suppress(MemoryError):  # it is full: then the lane steps alone
            return fleet.sessions(artefact)
    return Sessions(artefact)


def most_ticks(sessions: int) -> int:
    """Return how many ticks these may take at once: what comes of them must fit one transaction, and delay no other."""
    return max(1, SESSION_TICKS // max(1, sessions))


def until_priced(ticks: Records) -> Records:
    """Return ticks up to and including the first that has a price: one order at the market fills there."""
    priced = np.flatnonzero((ticks["flags"] & MARKER) == 0)
    return ticks[: priced[0] + 1] if len(priced) else ticks
