"""The nouns of the service: what goes into an inbox, where it may be sent, and what of it is.

Amounts are decimal strings, as they come and as they go; event times nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum


class Kind(IntEnum):
    """What a notification tells. Numbered as the API numbers them."""

    ENTRY = 1
    EXIT = 2
    STOP = 3
    REJECTION = 4
    HALT = 5
    SESSION_ENDED = 6
    COMPILATION_SUCCEEDED = 7
    COMPILATION_FAILED = 8
    NOTICE = 9
    TICKS_LOST = 10
    SILENT = 11
    HEARD_AGAIN = 12

    @property
    def counted(self) -> bool:
        """Whether what says the same is one entry for a while, which counts it."""
        return self in (Kind.REJECTION, Kind.NOTICE)


class Severity(IntEnum):
    """How much it matters. Numbered as the API numbers them."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


SEVERITIES = {
    Kind.ENTRY: Severity.INFO,
    Kind.EXIT: Severity.INFO,
    Kind.STOP: Severity.WARNING,
    Kind.REJECTION: Severity.WARNING,
    Kind.HALT: Severity.CRITICAL,
    Kind.SESSION_ENDED: Severity.INFO,
    Kind.COMPILATION_SUCCEEDED: Severity.INFO,
    Kind.COMPILATION_FAILED: Severity.WARNING,
    Kind.NOTICE: Severity.INFO,
    Kind.TICKS_LOST: Severity.CRITICAL,
    Kind.SILENT: Severity.CRITICAL,
    Kind.HEARD_AGAIN: Severity.INFO,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """What an event says to its owner, before it has a place in the inbox."""

    notification_id: str  # made of what it tells, so the same however often that is delivered
    user_id: str
    kind: Kind
    title: str
    body: str
    event_sequence: int  # in its session; of a compilation the version, of a silence its number
    session_id: str = ""
    strategy_id: str = ""
    symbol: str = ""
    node_id: str = ""
    reason: str = ""
    price: str = ""
    quantity: str = ""
    pnl: str = ""
    event_ns: int = 0
    correlation_id: str = field(default="", compare=False)  # of the call that led to it; passed on, not stored

    @property
    def severity(self) -> Severity:
        """How much it matters, by its kind."""
        return SEVERITIES[self.kind]


@dataclass(frozen=True, slots=True)
class Notification:
    """A notice in its place. ``count``: how many events it stands for, the newest being ``last_event_sequence``."""

    notice: Notice
    sequence: int
    create_time: datetime
    count: int = 1
    last_event_sequence: int = 0
    read_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """An address outside. What it is in full is sealed."""

    channel_id: str
    user_id: str
    name: str
    sealed_url: str
    service: str
    masked_url: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """Which notifications a rule sends: those that fit every part. An empty part fits all."""

    kinds: frozenset[Kind] = frozenset()
    session_ids: frozenset[str] = frozenset()
    strategy_ids: frozenset[str] = frozenset()
    min_severity: int = 0
    throttle_seconds: int = 0
    digest_seconds: int = 0

    def fits(self, notice: Notice) -> bool:
        """Whether a notice is chosen, were there no throttle."""
        return (
            (not self.kinds or notice.kind in self.kinds)
            and (not self.session_ids or notice.session_id in self.session_ids)
            and (not self.strategy_ids or notice.strategy_id in self.strategy_ids)
            and notice.severity >= self.min_severity
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """Sends what it chooses to a channel. ``send_time``: when it last chose something that was sent."""

    rule_id: str
    user_id: str
    channel_id: str
    choice: Choice
    create_time: datetime
    disabled: bool = False
    held_back: int = 0
    send_time: datetime | None = None


class State(IntEnum):
    """How a delivery stands. Numbered as the API numbers them."""

    PENDING = 1
    SENT = 2
    FAILED = 3
    DROPPED = 4


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification on its way to a channel."""

    notification_id: str
    sequence: int
    channel_id: str
    rule_id: str
    state: State
    attempts: int
    failure: str
    create_time: datetime
    end_time: datetime | None
    entries: tuple[int, ...] = ()  # sequences of what a digest holds


@dataclass(frozen=True, slots=True)
class Digest:
    """One that waits to be sent and may be added to. ``sequence``: of its first entry, by which it is known."""

    user_id: str
    rule_id: str
    channel_id: str
    sequence: int
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a digest says of one notification."""

    title: str
    severity: Severity
    count: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery that was taken up to be sent. ``entries``: of a digest; then the rest is its first entry's."""

    user_id: str
    sequence: int
    channel_id: str
    sealed_url: str
    title: str
    body: str
    severity: Severity
    held_back: int
    attempts: int  # this one included
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Inbox:
    """What there is of an inbox: sequences from ``first`` to ``last``, both 0 before anything came."""

    first: int = 0
    last: int = 0
    unread: int = 0


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What to change of a rule: the parts that are not None."""

    channel_id: str | None = None
    choice: Choice | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """What to change of a channel: the parts that are not None; ``address`` is (sealed, service, masked)."""

    name: str | None = None
    address: tuple[str, str, str] | None = field(default=None, repr=False)
