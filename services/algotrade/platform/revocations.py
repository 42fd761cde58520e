"""Access tokens that are good no more before they expire.

A token names its user, the account's token version, and the login or API key it came from. Ending one of these writes a
row here; every process reads the rows again each second, and at once when it is told that there are new ones, so a call
costs no query. News may be lost, rows may not. A token lives for an hour at most,
and so does its row: the whole list is small.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.platform import limits
from algotrade.platform.background import background
from algotrade.platform.cache import Cache
from algotrade.platform.caller import Principal
from algotrade.platform.errors import Unauthenticated, Unavailable
from algotrade.platform.log import logger

log = logger(__name__)

CHANNEL: Final = "revocations"
EVERY_VERSION: Final = 2**63 - 1
KEPT_SECONDS: Final = limits.MAX_ACCESS_TOKEN_SECONDS + 2 * limits.MAX_CLOCK_SKEW_SECONDS


async def revoke(connection: AsyncConnection, subject: str, least_version: int = EVERY_VERSION) -> None:
    """Refuse, from this transaction's end on, tokens of a user, login or API key with a version below the least one."""
    await connection.execute(
        text("DELETE FROM token_revocations WHERE revoke_time < now() - make_interval(secs => :kept)"),
        {"kept": KEPT_SECONDS},
    )
    await connection.execute(
        text("""
            INSERT INTO token_revocations (subject, least_version) VALUES (:subject, :least_version)
            ON CONFLICT (subject) DO UPDATE SET revoke_time = now(),
                least_version = greatest(token_revocations.least_version, excluded.least_version)
        """),
        {"subject": subject, "least_version": least_version},
    )


class Revocations:
    """The list as this process last read it."""

    def __init__(
        self,
        database: AsyncEngine,
        cache: Cache,
        poll_seconds: float,
        stale_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take where the list is, who tells of news, how often it is read and how old it may be where it cannot be."""
        self._database = database
        self._cache = cache
        self._news = asyncio.Event()
        self._poll_seconds = poll_seconds
        self._stale_seconds = stale_seconds
        self._monotonic = monotonic
        self._reading = asyncio.Lock()
        self._read_at = -float("inf")
        self._least: Mapping[str, int] = {}
        self._told: dict[object, tuple[Principal, Callable[[], None]]] = {}

    def check(self, caller: Principal) -> None:
        """Raise Unauthenticated where the caller's token was revoked; Unavailable where the list is too old to tell."""
        if self._monotonic() - self._read_at > self._stale_seconds:
            raise Unavailable("DEPENDENCY_UNAVAILABLE", "cannot tell which tokens are good", dependency="database")
        if self._is_revoked(caller):
            raise Unauthenticated("TOKEN_REVOKED", "the token was revoked; log in again")

    @contextmanager
    def told(self, caller: Principal, end: Callable[[], None]) -> Iterator[None]:
        """While open, call `end` when the caller's token turns out to be revoked, maybe more than once."""
        key = object()
        self._told[key] = (caller, end)
        try:
            yield
        finally:
            del self._told[key]

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """While open, read the list again and again; it has been read once when this returns, if it can be."""
        await self.catch_up()
        async with background(self._poll(), "revocations"), background(self._listen(), "revocations-news"):
            yield

    async def announce(self) -> None:
        """Read the list now, and have other processes read it; for who has just revoked something."""
        await self.catch_up()
        await self._cache.publish(CHANNEL, b"")

    async def catch_up(self) -> None:
        """Read the list now, and tell whom it concerns. What goes wrong is logged."""
        try:
            async with self._reading:  # else an older answer could come last
                await self._read()
        except Exception as error:  # whatever it is: the list grows old, and then no token is good
            log.warning("revocations.not_read", error=repr(error))
        for caller, end in tuple(self._told.values()):
            if self._is_revoked(caller):
                end()

    async def _read(self) -> None:
        began = self._monotonic()
        query = text("SELECT subject, least_version FROM token_revocations")
        async with self._database.connect() as connection:
            self._least = {row.subject: row.least_version for row in await connection.execute(query)}
        self._read_at = began

    async def _poll(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._news.wait()
            self._news.clear()
            await self.catch_up()

    async def _listen(self) -> None:
        async with aclosing(self._cache.listen(CHANNEL)) as news:
            async for _ in news:
                self._news.set()

    def _is_revoked(self, caller: Principal) -> bool:
        subjects = (caller.user_id, caller.login_id, caller.api_key_id)
        return any(caller.token_version < self._least.get(subject, 0) for subject in subjects)
