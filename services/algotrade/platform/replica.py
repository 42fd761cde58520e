"""Reads that are long and change nothing: on a replica of PostgreSQL where there is one, else on the database itself.

A replica is behind by nature. One that is so by more than is allowed, is away, or has not got what is asked for, is
not waited for: the database answers. So an answer is a few seconds old at most, and never a wrong "none".
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.platform.database import is_away, open_engine
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import Settings

log = logger(__name__)

REST_SECONDS: Final = 5.0  # a replica that did not answer is not asked for so long
# NULL on a server that has replayed nothing yet, and on one that is no replica any more: it may have been left behind.
_AGE: Final = text("SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())")

Found = TypeVar("Found")
Read = Callable[[AsyncConnection], Awaitable[Found | None]]


class Reader:
    """Reads from wherever it is best to."""

    def __init__(
        self, database: AsyncEngine, metrics: Metrics, replica: AsyncEngine | None = None, lag_seconds: float = 0.0
    ) -> None:
        """Take the database, maybe a replica, and how old its newest transaction may be."""
        self._database = database
        self._metrics = metrics
        self._replica = replica
        self._lag_seconds = lag_seconds
        self._rests_until = 0.0

    async def read(self, read: Read[Found]) -> Found | None:
        """Return what ``read`` finds in a transaction. It may be called twice; None says that nothing is there."""
        if self._replica is not None and time.monotonic() >= self._rests_until:
            try:
                found = await self._read_replica(self._replica, read)
            except Exception as error:
                if not is_away(error):
                    raise
                self._rests_until = time.monotonic() + REST_SECONDS
                log.warning("replica.away", error=type(error).__name__)
                found = None
            if found is not None:
                self._metrics.replica_reads.labels("replica").inc()
                return found
        async with self._database.connect() as connection:
            found = await read(connection)
        if self._replica is not None:
            self._metrics.replica_reads.labels("database").inc()
        return found

    async def _read_replica(self, replica: AsyncEngine, read: Read[Found]) -> Found | None:
        async with replica.connect() as connection:
            age = await connection.scalar(_AGE)
            await connection.rollback()  # ``read`` begins a transaction of its own
            self._metrics.replica_seconds.set(float(age or 0))
            if age is None or age > self._lag_seconds:
                return None
            return await read(connection)


@asynccontextmanager
async def open_replica(settings: Settings) -> AsyncIterator[AsyncEngine | None]:
    """Yield a pool of connections to the replica that the settings name, if they do. It need not be there."""
    if settings.database_replica_dsn is None:
        yield None
        return
    async with open_engine(make_url(settings.database_replica_dsn.get_secret_value()), settings) as engine:
        yield engine
