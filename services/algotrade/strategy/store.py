"""Where strategies and artefacts are kept. Everything is asked for on behalf of a user, who sees nobody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from algotrade.platform.once import Once


@dataclass(frozen=True, slots=True)
class StoredArtefact:
    """A module, the SHA-256 of its bytes in hexadecimal, and the compiler's report on it."""

    hash: str
    module: bytes
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredStrategy:
    """One version of a strategy. ``graph`` is its JSON text as it was saved, empty in lists.

    ``artefact_hash`` is None while the version has errors. ``update_time`` is when the version was saved.
    """

    strategy_id: str
    name: str
    description: str
    version: int
    graph: str
    artefact_hash: str | None
    create_time: datetime
    update_time: datetime


class StrategyStore(Protocol):
    """Keeps strategies with their versions; an artefact is kept once, whoever compiled it."""

    async def create(
        self, user_id: str, strategy: StoredStrategy, artefact: StoredArtefact | None, once: Once | None
    ) -> bytes | None:
        """Keep a new strategy. Where the request was answered before, change nothing and return that answer.

        Raises AlreadyExists for a request_id with another body, ResourceExhausted for one strategy too many, NotFound
        where the account is gone.
        """
        ...

    async def get(self, user_id: str, strategy_id: str, version: int) -> StoredStrategy:
        """Find a version, 0 being the newest. Raises NotFound for a strategy or a version that is not there."""
        ...

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[StoredStrategy]:
        """List strategies in their newest version: those before a (create_time, strategy_id), the newest first."""
        ...

    async def keep_artefact(self, user_id: str, strategy_id: str, version: int, artefact: StoredArtefact) -> str:
        """Keep what a version compiled to, and return the hash that the version has: the first one, for ever."""
        ...

    async def artefact(self, user_id: str, artefact_hash: str) -> StoredArtefact | None:
        """Find an artefact that one of the user's strategies compiled to."""
        ...
