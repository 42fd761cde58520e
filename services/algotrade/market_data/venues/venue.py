"""The ports of a venue: how its frames are written and read, and where its past trades are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from algotrade.market_data.feed import FeedItem
from algotrade.market_data.venues.said import Fill, Heard, Said


class VenueError(Exception):
    """The venue is away, too busy, or answers what nobody can read: it may do better later."""

    def __init__(self, cause: str, retry_after_seconds: float | None = None) -> None:
        """Say what went wrong, and for how long the venue asks to be left alone."""
        super().__init__(cause)
        self.retry_after_seconds = retry_after_seconds


class VenueRefused(Exception):  # noqa: N818  (an outcome)
    """The venue does not want us: a wrong key, or a plan that does not include this. Trying again does not help."""

    def __init__(self, cause: str, status: int | None = None) -> None:
        """Say what it answered, and over HTTP with which status."""
        super().__init__(cause)
        self.status = status


class BadFrameError(ValueError):
    """A frame is not what the venue's protocol says."""


class Dialect(Protocol):
    """How a venue's WebSocket is spoken. One object a connection: it may remember numbers of frames."""

    @property
    def url(self) -> str:
        """Where to connect."""
        ...

    @property
    def opening(self) -> Sequence[str]:
        """The frames that come before all others."""
        ...

    def subscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """Return the frames that ask for symbols."""
        ...

    def unsubscribe(self, symbols: Sequence[str]) -> Sequence[str]:
        """Return the frames that ask for symbols no longer."""
        ...

    def read(self, frame: str | bytes) -> Sequence[Said]:
        """Return what a frame says. BadFrameError for one that cannot be read.

        VenueError or VenueRefused where it says that the connection is of no use, for now or for good.
        """
        ...


class SymbolTape(Protocol):
    """What becomes of what is heard of one symbol. Pure: it is told the time."""

    counts: Counter[str]  # what happened since somebody last took it away
    joins: bool  # whether trades of several frames may be handed over as if they were of one

    def begin(self, now_ns: int) -> list[FeedItem]:
        """Return what is to be logged before anything is heard."""
        ...

    def hear(self, heard: Heard | None, now_ns: int) -> list[FeedItem]:
        """Take what was heard, or None where time has passed; return what to log, in order."""
        ...

    def due_ns(self) -> int:
        """Return when something is to be decided even if nothing comes."""
        ...

    def fetch(self, now_ns: int) -> int | None:
        """Return the number after which trades are to be fetched now, once; None where none are."""
        ...


class TradeHistory(Protocol):
    """Where a venue's past trades are."""

    async def trades_after(self, symbol: str, number: int) -> Fill:
        """Fetch the trades that follow a number. VenueError or VenueRefused where they cannot be had."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...
