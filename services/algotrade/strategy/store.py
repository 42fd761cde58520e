"""Where strategies and artefacts are kept. Everything is asked for on behalf of a user, who sees nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from algotrade.platform.bus import Message
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


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version without its graph."""

    version: int
    artefact_hash: str | None
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of a strategy: the parts that are not None.

    ``artefact`` is what the new graph compiles to, None where it has errors.
    """

    name: str | None = None
    description: str | None = None
    graph: str | None = None
    artefact: StoredArtefact | None = None


class StrategyStore(Protocol):
    """Keeps strategies with their versions; an artefact is kept once, whoever compiled it."""

    async def create(
        self,
        user_id: str,
        strategy: StoredStrategy,
        artefact: StoredArtefact | None,
        once: Once | None,
        told: Message,
    ) -> bytes | None:
        """Keep a new strategy and tell strategy-compilations of it, both or neither.

        Where the request was answered before, change nothing and return that answer. Raises AlreadyExists for a
        request_id with another body, ResourceExhausted for one strategy too many, NotFound where the account is gone.
        """
        ...

    async def get(self, user_id: str, strategy_id: str, version: int) -> StoredStrategy:
        """Find a version, 0 being the newest. Raises NotFound for a strategy or a version that is not there."""
        ...

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[StoredStrategy]:
        """List strategies in their newest version: those before a (create_time, strategy_id), the newest first."""
        ...

    async def versions(self, user_id: str, strategy_id: str, before: int | None, count: int) -> list[StoredVersion]:
        """List versions below a number, the newest first. Raises NotFound for a strategy that is not there."""
        ...

    async def change(
        self,
        user_id: str,
        strategy_id: str,
        change: Change,
        now: datetime,
        once: Callable[[StoredStrategy], Once | None],
        told: Callable[[StoredStrategy], Message],
    ) -> StoredStrategy | bytes:
        """Change a strategy and return its newest version, without the graph; a graph becomes the next version.

        Of that strategy-compilations is told what ``told`` makes of it.

        ``once`` makes the request's record from what came of it. Where the request was answered before, change nothing
        and return that answer. Raises NotFound, AlreadyExists for a request_id with another body, ResourceExhausted
        for one version too many.
        """
        ...

    async def delete(self, user_id: str, strategy_id: str) -> None:
        """Delete a strategy with its versions. Raises NotFound. Artefacts stay: others may have compiled to them."""
        ...

    async def keep_artefact(
        self, user_id: str, strategy_id: str, version: int, artefact: StoredArtefact, told: Message
    ) -> str:
        """Keep what a version compiled to, tell of it, and return the version's hash: the first one, for ever."""
        ...

    async def tell(self, told: Message) -> None:
        """Tell strategy-compilations of a version of which there is nothing new to keep."""
        ...

    async def owns_artefact(self, user_id: str, artefact_hash: str) -> bool:
        """Tell whether one of the user's strategies compiled to an artefact."""
        ...

    async def artefact(self, artefact_hash: str) -> StoredArtefact | None:
        """Find an artefact, whoever compiled it."""
        ...
