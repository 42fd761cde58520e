"""The end of clients of the database that froze between two messages of a statement, and hold their locks meanwhile.

PostgreSQL's idle_in_transaction_session_timeout passes over them, since a statement is on its way, and so does its
statement_timeout, since nothing runs. Such a client is stopped, or its machine is: nobody else waits for it for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.background import background
from algotrade.platform.log import logger

log = logger(__name__)

APPLICATION: Final = "algotrade"  # what the platform's connections call themselves: of others nothing is known
_END: Final = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = :application
        AND state = 'active' AND wait_event = 'ClientRead'
        AND state_change < clock_timestamp() - make_interval(secs => :seconds)
""")


@asynccontextmanager
async def ending_silent(engine: AsyncEngine, seconds: float) -> AsyncIterator[None]:
    """While open, have whoever has been silent for so long lose its connection."""
    async with background(_end_for_ever(engine, seconds), "database-silent"):
        yield


async def _end_for_ever(engine: AsyncEngine, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            async with engine.connect() as connection:
                ended = (await connection.scalars(_END, {"application": APPLICATION, "seconds": seconds})).all()
        except Exception as error:
            log.debug("database.silent_not_ended", error=type(error).__name__)  # whether it answers, health says
            continue
        if ended:
            log.warning("database.silent_ended", connections=len(ended))
