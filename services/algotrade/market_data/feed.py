"""The port of a feed: somewhere ticks come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from algotrade.engine.records import Records


class FeedState(IntEnum):
    """What a symbol's feed is worth: the numbers of FeedState on the wire."""

    LIVE = 1
    GAP = 2  # ticks are missing, or may be
    STALE = 3  # nothing has come for longer than the symbol allows
    CLOSED = 4  # its exchange is


@dataclass(frozen=True, slots=True)
class FeedSymbol:
    """A symbol of a feed."""

    name: str
    provider: str
    bars: bool = False  # whole bars, each as four ticks, that close by themselves
    on_demand: bool = False  # runs only while somebody is subscribed
    live: bool = True  # its time is the clock's: ticks of the future are wrong, and silence is time that passes
    tells: bool = False  # it says itself how far time has come and in which state it is
    exchange: str = ""  # whose hours it has, by its code; none: it is traded around the clock
    band: float = 0.0  # a price further from the last than this fraction is believed when others confirm it; 0: always


@dataclass(frozen=True, slots=True)
class FeedTicks:
    """Ticks (dtype TICK, ``seq`` not set yet) as they came together, with the venue's trade ids where it has them."""

    ticks: Records
    trade_ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class FeedTime:
    """Everything up to a time (ns) has been told: silence was silence."""

    ts: int


@dataclass(frozen=True, slots=True)
class FeedChange:
    """The feed is in a state from here on: noticed when (ns), why in words, and whose ticks follow if that changes.

    ``filled``: of one that ends a gap, that nothing of it is missing any more.
    """

    state: FeedState
    event_ns: int
    detail: str = ""
    source: str = ""
    filled: bool = False


FeedItem = FeedTicks | FeedTime | FeedChange


@dataclass(frozen=True, slots=True)
class Resume:
    """Where the log stands: a feed goes on after this."""

    epoch: int = 0  # of the writer that takes over now, from 1
    sequence: int = 0
    event_ns: int = 0
    price: int = 0  # of the last tick, in units of 1e-8; 0 before the first
    state: FeedState = FeedState.LIVE  # as it was last logged
    trade_id: str = ""  # of the last trade, where the feed has ids


class Feed(Protocol):
    """Somewhere ticks come from."""

    @property
    def symbols(self) -> Sequence[FeedSymbol]:
        """The symbols it can deliver."""
        ...

    def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        """Yield a symbol's ticks after a point, as they come, until there are no more.

        A symbol that `tells` yields times and states between them; of any other only ticks are expected.
        """
        ...
