"""A session in a lane, and what is stored of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from algotrade.forward_test.book import Book, Happening
from algotrade.forward_test.session import Command, Held, Place, Progress, Session, Status
from algotrade.forward_test.tell import outgoing_of, outgoing_status
from algotrade.platform.ticks import FeedReader

if TYPE_CHECKING:
    from algotrade.forward_test.lane import Lane


@dataclass(slots=True, eq=False)
class Member:
    """A session in a lane."""

    session: Session  # as in its row, or as the next commit will have it
    book: Book
    slot: int
    stored_ns: int  # when its row was last written
    place: Place  # as in its row
    begin_offset: int | None
    state: bytes | None  # as in its row
    lane: Lane | None = None  # None only for one that could not be brought back
    happenings: list[Happening] = field(default_factory=list)  # since the last commit

    def caused_by(self, command: Command) -> None:
        """Let what happens from here on carry a command's correlation id."""
        self.session = replace(self.session, correlation_id=command.correlation_id)

    def fed_by(self, source: str) -> None:
        """Note whose ticks come from here on."""
        known = self.session.source.split("+") if self.session.source else []
        if source not in known:
            self.session = replace(self.session, source="+".join([*known, source]))

    def keep(self, stored: Progress, now_ns: int) -> None:
        """Take note of what was committed."""
        self.session, self.place, self.state, self.stored_ns = stored.session, stored.place, stored.state, now_ns
        self.happenings.clear()

    @property
    def last_tick(self) -> tuple[int, int]:
        """Time and sequence of the newest tick it has seen."""
        return self.lane.last_tick if self.lane else (0, 0)


def progress_of(session: Session, place: Place, state: bytes | None, member: Member) -> Progress:
    """Return what to store of a session with a row, and what has happened since the old one."""
    trades = {one.trade.sequence: one.trade for one in member.happenings if one.trade is not None}
    outgoing = outgoing_of(session, member.happenings)
    if session.status is not member.session.status:
        outgoing.append(outgoing_status(session, member.last_tick[0]))
    return Progress(
        session=session,
        place=place,
        begin_offset=member.begin_offset,
        state=state,
        warmup_events=member.book.warmup_events,
        totals=member.book.totals,
        open=member.book.open,
        last_trade=member.book.last_trade,
        events=tuple(one.event for one in member.happenings),
        trades=tuple(trades.values()),
        outgoing=tuple(outgoing),
    )


def unreadable(held: Held, reason: str) -> Progress:
    """Return what to store of a session that cannot be brought back from its row."""
    book = Book(held, ())
    member = Member(held.session, book, -1, 0, held.place, held.begin_offset, held.state)
    member.happenings = [book.halt(reason, 0, held.session.last_tick_sequence, held.session.cash)]
    session = replace(held.session, status=Status.HALTED, halt_reason=reason, last_sequence=book.last_sequence)
    return progress_of(session, held.place, held.state, member)


def reader_of(held: Held) -> FeedReader:
    """Return the reader of a session's feed as its row left it."""
    session = held.session
    return FeedReader(session.last_tick_sequence, held.place.feed_epoch, session.feed_state)
