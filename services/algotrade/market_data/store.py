"""The port of the symbol leases: who writes a symbol's feed, and how far the log is.

There is one writer a symbol. Taking a lease raises its epoch; every write proves, in its own transaction, that the
epoch is still the writer's, so one that was passed over, however late it wakes, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


class LeaseStore(Protocol):
    """The port."""

    async def take(self, symbols: Sequence[str]) -> Mapping[str, Resume]:
        """Become the writer of symbols; return for each the new epoch and where its log stands."""
        ...

    async def advance(self, connection: AsyncConnection, advances: Mapping[str, Advance]) -> bool:
        """Move feeds on within the transaction that logs their ticks.

        False, with nothing changed, where an earlier attempt turns out to have done so already; Fenced where another
        writer has taken one of them.
        """
        ...
