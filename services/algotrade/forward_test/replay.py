"""A session's past once more: the worker's own lane over the same ticks, with the commands where they took effect."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from algotrade.engine.compile import Artefact
from algotrade.engine.records import Records
from algotrade.forward_test.batch import Batch
from algotrade.forward_test.book import Happening
from algotrade.forward_test.lane import Lane, most_ticks
from algotrade.forward_test.member import reader_of
from algotrade.forward_test.obey import act, after
from algotrade.forward_test.session import CommandKind, Held, Past, Progress, Status
from algotrade.platform.bus import Bounds


@dataclass(slots=True)
class Seen:
    """The ticks that were stepped, of one segment or of several: how many, which, and their hash."""

    hash: Any
    ticks: int = 0
    first: tuple[int, int] = (0, 0)  # sequence and time
    last: tuple[int, int] = (0, 0)

    def take(self, ticks: Records) -> None:
        """Take the next ticks."""
        self.hash.update(ticks.tobytes())
        self.ticks += len(ticks)
        ends = [(int(ticks["seq"][index]), int(ticks["ts"][index])) for index in (0, -1)]
        self.first = self.first if self.first[0] else ends[0]
        self.last = ends[1]


def _in_order(commands: Iterable[Past]) -> Iterator[Past]:
    """Yield commands so that none lies before the one that it followed.

    A worker that dies in a session's warm-up is followed by one that warms it up anew: what that one is told may be
    noted at an earlier place than what the first was told. Within a warm-up only the order counts.
    """
    offset = 0
    for past in commands:
        offset = max(offset, past.offset)
        yield replace(past, offset=offset)


class Replay:
    """One stretch of a session's past: from a row as it was, to an offset."""

    def __init__(
        self, artefact: Artefact, base: Held, commands: Sequence[Past], end: int, data_hash: Any = None
    ) -> None:
        """Take the base, and what the session was told in the segment. Raises ValueError for a base unreadable."""
        self.seen = Seen(hashlib.sha256() if data_hash is None else data_hash)
        self._lane = Lane(artefact, base.session.symbol, base.place, reader_of(base), witness=self.seen.take)
        self._member = self._lane.hold(base, 0)
        # The base has begun. Its start is noted where orders begin, and what is told in a warm-up lies before that.
        told = (past for past in commands if past.kind is not CommandKind.START)
        self._commands = deque(_in_order(past for past in told if past.offset >= base.place.offset))
        self._end = end

    @property
    def offset(self) -> int:
        """The next record."""
        return self._lane.offset

    @property
    def done(self) -> bool:
        """Whether there is nothing left to replay."""
        return self.offset >= self._end or self._member.session.status.final

    @property
    def most_records(self) -> int:
        """How many records may be taken before something else is due."""
        bounds = [self._end, *(past.offset for past in self._commands)]
        if self._lane.warming:
            bounds.append(self._lane.orders_from)
        return min(bounds) - self.offset

    @property
    def most_ticks(self) -> int:
        """How many ticks may be taken at once."""
        return most_ticks(1)

    @property
    def bars(self) -> int:
        """How many bars have closed."""
        return self._lane.state(self._member).bars

    def obey(self) -> None:
        """Do what the session was told at this offset."""
        while self._commands and self._commands[0].offset <= self.offset:
            kind = self._commands.popleft().kind
            if (status := after(kind, self._lane, self._member)) is not None:
                act(kind, self._lane, self._member)
                self._become(status)

    def take(self, batch: Batch) -> list[Happening]:
        """Step over a batch that begins here; return what happened. Raises TrapError, RecordError."""
        self._lane.advance(batch)
        if self._member.session.status is Status.STOPPING and not self._lane.state(self._member).quantity:
            self._become(Status.STOPPED)
        return self._drain()

    def lose(self, offset: int) -> tuple[Progress, list[Happening]]:
        """Lose what follows, as the worker did; return the row with which the next segment opens, and what happened."""
        (progress,) = self._lane.lose(Bounds(offset, offset))
        return progress, self._drain()

    def row(self) -> Progress:
        """Return the session's row as it must be."""
        return self._lane.progress(self._member)

    def _become(self, status: Status) -> None:
        self._member.session = replace(self._member.session, status=status)

    def _drain(self) -> list[Happening]:
        found, self._member.happenings = self._member.happenings, []
        return found
