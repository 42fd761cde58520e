"""The port of the symbol leases: who writes a symbol's feed, and how far the log is.

There is one writer a symbol. Taking a lease raises its epoch; every write proves, in its own transaction, that the
epoch is still the writer's, so one that was passed over, however late it wakes, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.market_data.feed import Resume


class Fenced(Exception):  # noqa: N818  (an outcome)
    """Another writer has taken the symbol."""

    def __init__(self, symbol: str) -> None:
        """Name the symbol."""
        super().__init__(f"another writer has taken {symbol}")
        self.symbol = symbol


@dataclass(frozen=True, slots=True)
class Advance:
    """A symbol's feed moves on: from sequence ``before`` to what `Resume` says."""

    before: int
    after: Resume


@dataclass(frozen=True, slots=True)
class Subscription:
    """A user's wish for a symbol's feed, and how many users share it."""

    symbol: str
    create_time: datetime
    subscribers: int


class SubscriptionStore(Protocol):
    """Keeps who wants which feed, and says every change on symbol-subscriptions in the order in which they happen."""

    async def add(self, user_id: str, symbol: str, now: datetime) -> Subscription:
        """Subscribe a user; one who is subscribed already stays so.

        Raises ResourceExhausted for one subscription too many, NotFound where the account is gone.
        """
        ...

    async def remove(self, user_id: str, symbol: str, now: datetime) -> None:
        """End a user's subscription, if there is one."""
        ...

    async def of_user(self, user_id: str, after: str, count: int) -> list[Subscription]:
        """List a user's subscriptions by symbol, those after one."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """Return how many users and sessions want each symbol; those that nobody wants may be missing."""
        ...


class WindowSizeStore(Protocol):
    """Keeps how long symbols' windows were made."""

    async def sizes(self) -> Mapping[str, int]:
        """Return the ticks of each window that was made longer."""
        ...

    async def keep_size(self, symbol: str, ticks: int) -> None:
        """Keep a window's length, unless a greater one is kept."""
        ...


class LeaseStore(Protocol):
    """The port."""

    async def take(self, symbols: Sequence[str]) -> Mapping[str, Resume]:
        """Become the writer of symbols; return for each the new epoch and where its log stands."""
        ...

    async def advance(self, connection: AsyncConnection, advances: Mapping[str, Advance]) -> bool:
        """Move feeds on within the transaction that logs their ticks.

        False, with nothing changed, where an earlier attempt turns out to have done so already, or where nothing is
        to change; Fenced where another writer has taken one of them.
        """
        ...
