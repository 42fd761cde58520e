"""The nouns of the service: a session, what happened in it, what it holds, what it is told.

Amounts are integers in units of 1e-8, event times nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum
from uuid import UUID, uuid5

from algotrade.engine.settings import RunSettings
from algotrade.platform.bus import partition_of
from algotrade.platform.topics import FORWARD_TEST_EVENTS
from algotrade.v1 import types_pb2


class Status(StrEnum):
    """Where a session stands."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"  # running, without entries
    STOPPING = "stopping"
    STOPPED = "stopped"
    HALTED = "halted"

    @property
    def final(self) -> bool:
        """Whether nothing can happen any more."""
        return self in (Status.STOPPED, Status.HALTED)

    @property
    def ending(self) -> bool:
        """Whether it has ended, or will with the tick it waits for."""
        return self.final or self is Status.STOPPING


class CommandKind(StrEnum):
    """What a session can be told."""

    START = "start"
    STOP_FLATTEN = "stop_flatten"
    STOP_KEEP = "stop_keep"
    PAUSE = "pause"
    RESUME = "resume"
    FLATTEN = "flatten"
    HALT = "halt"  # nobody asks for it: its past is not what its ticks make of it


POSITION_LOST = "position_lost"  # why a segment ends: the log no longer holds what follows
EVENT_LIMIT = "event_limit"  # why a session halts: it has come to as many events as one may have
REPLAY_DIVERGED = "replay_diverged"  # why a session halts: a replay of its past gives something else than is stored


class OwnKind(IntEnum):
    """Events that the engine does not report, numbered beside its `EventKind`."""

    FEED = 20  # the feed is live, stale, has a gap or its exchange is closed; the reason says which
    LOST = 21  # ticks were lost to the session


@dataclass(frozen=True, slots=True)
class Session:
    """A session as people see it."""

    session_id: str
    user_id: str
    name: str
    strategy_id: str
    strategy_version: int
    artefact_hash: str
    symbol: str
    settings: RunSettings
    parameters: Mapping[str, str]  # every parameter's value as a decimal
    from_first_tick: bool  # its feed is a replay: it begins with the oldest tick kept instead of the next one
    create_time: datetime
    warmup_bars: int
    cash: int
    equity: int
    status: Status = Status.CREATED
    halt_reason: str = ""
    quantity: int = 0
    average_price: int = 0
    last_price: int = 0
    realized_pnl: int = 0
    total_trades: int = 0
    winning_trades: int = 0
    bars: int = 0
    last_sequence: int = 0
    last_tick_sequence: int = 0
    feed_state: int = types_pb2.FEED_STATE_LIVE  # what the feed was last said to be
    source: str = ""  # the provider whose ticks it is fed; several are joined by a plus
    segment: int = 1  # rises where ticks were lost to it: from there on it is replayed from a new beginning
    correlation_id: str = ""  # of the call that last told it something: what it does carries it
    start_time: datetime | None = None
    stop_time: datetime | None = None

    @property
    def shard(self) -> int:
        """Which worker it belongs to: the partition of its commands."""
        return shard_of(self.session_id)

    @property
    def unrealized_pnl(self) -> int:
        """What leaving the open position at the last price would gain, less its entry's fees and before the exit's."""
        return self.equity - self.settings.initial_cash - self.realized_pnl

    @property
    def month(self) -> date:
        """The partition of its events and trades: the month of its making, the same however old the data are."""
        return self.create_time.date().replace(day=1)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for good. ``sequence`` counts from 1 in its session, without holes.

    ``reason`` of a notice is its message. ``quantity`` is never negative: ``side`` tells what it is of.
    """

    session_id: str
    sequence: int
    kind: int  # engine.records.EventKind or OwnKind
    event_ns: int
    tick_sequence: int
    node_id: str
    reason: str
    side: str
    price: int
    quantity: int
    amount: int
    fee: int
    pnl: int | None
    cash: int


@dataclass(frozen=True, slots=True)
class SessionTrade:
    """A closed trade, or with exit fields of None the open one. ``sequence``: of the exit, or else of the entry.

    ``quantity`` is never negative.
    """

    session_id: str
    sequence: int
    side: str
    quantity: int
    entry_ns: int
    entry_price: int
    exit_ns: int | None
    exit_price: int | None
    fees: int
    pnl: int | None
    exit_reason: str | None
    ambiguous: bool

    @property
    def signed_quantity(self) -> int:
        """Negative when short."""
        return -self.quantity if self.side == "short" else self.quantity

    @property
    def trade_id(self) -> str:
        """The same however often the session is replayed."""
        return str(uuid5(UUID(self.session_id), str(self.sequence)))


@dataclass(frozen=True, slots=True)
class Totals:
    """What a session's exits add up to. The drawdown is that of the balance after each exit, as an amount."""

    trades: int = 0
    winning: int = 0
    realized_pnl: int = 0
    peak_balance: int = 0
    max_drawdown: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """What a session was told. Commands of a session take effect in the order in which they were stored."""

    command_id: str
    session_id: str
    kind: CommandKind
    correlation_id: str
    traceparent: str = ""  # of the call that gave it


@dataclass(frozen=True, slots=True)
class Applied:
    """A command with the place in the log at which it took effect: before the record at ``offset``."""

    session_id: str
    command_id: str
    partition: int | None = None
    offset: int | None = None
    tick_sequence: int | None = None
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session is in the log: the next record to read, and the highest feed epoch it has seen.

    Records before ``orders_from`` warm it up: they move indicators and nothing else.
    """

    partition: int
    offset: int
    orders_from: int
    feed_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A session as its worker finds it: everything needed to go on where the last commit left it.

    ``state`` is None until the first checkpoint: then the session begins at its place anew.
    ``begin_offset``: the first record it read, warm-up included; None where nobody noted it.
    ``warmup_events``: what the engine's event numbers are ahead of the session's: how many it gave before the first
    that counts, less the session's own events (`OwnKind`) since.
    """

    session: Session
    place: Place
    begin_offset: int | None
    state: bytes | None
    warmup_events: int
    totals: Totals
    open: SessionTrade | None
    last_trade: SessionTrade | None


@dataclass(frozen=True, slots=True)
class Base:
    """A row as it was. One that opens a segment says why, and where the segment before it had ended."""

    held: Held
    opens: bool
    reason: str
    ended_offset: int | None


@dataclass(frozen=True, slots=True)
class Past:
    """A command that was applied: in a segment, before the record at an offset."""

    kind: CommandKind
    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Trail:
    """All that a session's past is replayed from, as of one moment; ``held`` is its row in whatever status."""

    held: Held
    commands: tuple[Past, ...]
    bases: tuple[Base, ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for the bus, to be sent after the commit."""

    shard: int
    topic: str
    key: str
    payload: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Progress:
    """One session's step forward: its new row, and what happened since the old one.

    ``lost_from``: the offset from which on records were lost to it, where with this step a new segment begins.
    """

    session: Session
    place: Place
    begin_offset: int | None
    state: bytes | None
    warmup_events: int
    totals: Totals
    open: SessionTrade | None
    last_trade: SessionTrade | None = None
    lost_from: int | None = None
    events: tuple[Event, ...] = ()
    trades: tuple[SessionTrade, ...] = ()  # closed, or marked ambiguous since
    outgoing: tuple[Outgoing, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction stores."""

    starts: tuple[tuple[Session, Place], ...] = ()
    progress: tuple[Progress, ...] = ()
    applied: tuple[Applied, ...] = ()


def shard_of(session_id: str) -> int:
    """Return the shard of a session, for ever."""
    return partition_of(session_id, FORWARD_TEST_EVENTS.partitions)
