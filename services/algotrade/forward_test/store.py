"""Where sessions are kept: three ports, for those who ask, for the worker that steps, and for what is sent on.

What the API asks for is asked on behalf of a user, who sees nobody else's. What the worker writes it writes under the
fence: a shard has an epoch, taking it raises the epoch, and every transaction of a worker first proves that the epoch
is still its own, so a worker that was passed over, however late it wakes, changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.forward_test.session import (
    Command,
    Commit,
    Event,
    Held,
    Outgoing,
    Session,
    SessionTrade,
    Status,
    Trail,
)
from algotrade.platform.once import Once


class Fenced(Exception):  # noqa: N818  (an outcome)
    """Another worker has taken shards; nothing was stored."""

    def __init__(self, shards: Sequence[int]) -> None:
        """Name the shards."""
        super().__init__(f"another worker has taken the shards {', '.join(map(str, shards))}")
        self.shards = tuple(shards)


@dataclass(frozen=True, slots=True)
class Draft:
    """A new session with all that it keeps: the strategy as it was, and the module that runs."""

    session: Session
    snapshot: Mapping[str, Any]
    module: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A session with all that it has traded, in order, and how often its orders were refused, by reason."""

    session: Session
    state: bytes | None
    closed: list[SessionTrade]
    open: SessionTrade | None
    rejections: Mapping[str, int]


class SessionStore(Protocol):
    """What the API asks and tells."""

    async def create(self, draft: Draft, once: Once | None) -> bytes | None:
        """Keep a new session. Where the request was answered before, change nothing and return that answer.

        Raises AlreadyExists for a request_id with another body, ResourceExhausted for one session too many, NotFound
        where the account is gone.
        """
        ...

    async def answered(self, once: Once) -> bytes | None:
        """Return what a request was answered before. Raises AlreadyExists for a request_id with another body."""
        ...

    async def get(self, user_id: str, session_id: str) -> Session | None:
        """Find a session of a user."""
        ...

    async def delete(self, session: Session, once: Once | None) -> bool:
        """Delete a session with all that is its own, unless it runs; tell whether it was, now or by this request."""
        ...

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Session]:
        """List sessions: those before a (create_time, session_id), the newest first."""
        ...

    async def going(self, user_id: str) -> list[Session]:
        """List sessions that have begun and not ended."""
        ...

    async def positions(
        self, user_id: str, before: tuple[datetime, str] | None, count: int
    ) -> list[tuple[Session, SessionTrade]]:
        """List sessions that hold something with what they hold, in the order of `newest`."""
        ...

    async def record(self, session: Session, most: int) -> Record:
        """Return a session with its closed trades, ``most`` at most, the open one and the count of rejections.

        All as of one moment.
        Raises KeyError where the session has gone meanwhile.
        """
        ...

    async def trades(self, session: Session, after: int, count: int) -> tuple[list[SessionTrade], SessionTrade | None]:
        """List closed trades behind a sequence, in order, and name the open one, both as of one moment."""
        ...

    async def events(self, session: Session, after: int, count: int) -> list[Event]:
        """List events behind a sequence, in order."""
        ...

    async def tell(self, session: Session, command: Command, outgoing: Outgoing, once: Once | None) -> bool:
        """Keep a command for the worker; False, and nothing changed, where this request was made before."""
        ...

    async def counts(self) -> Mapping[Status, int]:
        """Count everybody's sessions by status; none is left out."""
        ...

    async def is_applied(self, command: Command) -> bool:
        """Tell whether the worker has done it."""
        ...


class Ledger(Protocol):
    """What the worker reads and writes."""

    async def held(self, shards: Sequence[int], session_ids: Sequence[str] | None = None) -> list[Held]:
        """Return the sessions of shards that have begun and not ended, or of those only these, as last stored."""
        ...

    async def sessions(self, session_ids: Collection[str]) -> list[Session]:
        """Find sessions in any status."""
        ...

    async def module(self, artefact_hash: str) -> bytes:
        """Return the bytes of an artefact that a session runs. Raises KeyError."""
        ...

    async def waiting(self, shards: Sequence[int], count: int) -> list[Command]:
        """Return the first commands that were not applied yet, in order."""
        ...

    async def commit(self, epochs: Mapping[int, int], commit: Commit) -> None:
        """Store everything or nothing. Raises Fenced where an epoch {shard: epoch} is no longer the newest."""
        ...


class Proofs(Protocol):
    """What a replay of a session's past is made from, and what it is compared with."""

    async def trail(self, session: Session) -> Trail:
        """Return a session's row, commands and bases as of one moment. Raises KeyError where it has gone."""
        ...

    async def module(self, artefact_hash: str) -> bytes:
        """Return the bytes of an artefact that a session runs. Raises KeyError."""
        ...

    async def events(self, session: Session, after: int, count: int) -> list[Event]:
        """List events behind a sequence, in order."""
        ...

    async def closed(self, session: Session, after: int, count: int) -> list[SessionTrade]:
        """List closed trades behind a sequence, in order."""
        ...


Send = Callable[[AsyncConnection, Sequence[Outgoing]], Awaitable[None]]


class Outbox(Protocol):
    """What is stored and not sent yet."""

    async def drain(self, shards: Collection[int], send: Send, limit: int, *, wait: bool) -> int:
        """Hand the oldest messages of some shards, in order, to ``send`` and forget them; return how many.

        Only one caller at a time sends a shard's messages; others wait, or leave that shard out. What ``send`` writes
        by the connection it is given is there when they are forgotten, and only then: so a message goes out once,
        whatever fails between.
        """
        ...

    async def oldest_seconds(self) -> float:
        """Return the age of the oldest unsent message; 0 where there is none."""
        ...
