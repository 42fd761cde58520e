"""How many passwords were tried in a row for an address, in PostgreSQL."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# One statement: of tries that come together each takes a number of its own, and none beyond the last.
_TAKE: Final = text("""
    INSERT INTO password_guesses AS g (address_hash, count, last_time) VALUES (:address_hash, 1, :now)
    ON CONFLICT (address_hash) DO UPDATE
        SET count = CASE WHEN g.last_time <= :since THEN 1 ELSE g.count + 1 END, last_time = :now
        WHERE g.count < :most OR g.last_time <= :since
    RETURNING count
""")
_LAST: Final = text("SELECT last_time FROM password_guesses WHERE address_hash = :address_hash")
_FORGET: Final = text("DELETE FROM password_guesses WHERE address_hash = :address_hash")
_FORGET_OLD: Final = text("""
    DELETE FROM password_guesses WHERE address_hash IN (
        SELECT address_hash FROM password_guesses WHERE last_time <= :since ORDER BY last_time LIMIT 100
    )
""")


class PostgresGuesses:
    """The table `password_guesses`."""

    def __init__(self, engine: AsyncEngine, most: int, rest: timedelta) -> None:
        """Take how many tries there are in a row, and how long none is looked at afterwards."""
        self._engine = engine
        self._most = most
        self._rest = rest

    async def take(self, address: str, now: datetime) -> timedelta:
        """Count a try before it is looked at; how long there is to wait where too many came before, else zero."""
        where = {"address_hash": _hash(address), "now": now, "since": now - self._rest, "most": self._most}
        async with self._engine.begin() as connection:
            await connection.execute(_FORGET_OLD, {"since": where["since"]})
            if (await connection.execute(_TAKE, where)).first() is not None:
                return timedelta(0)
            last: datetime | None = (
                await connection.execute(_LAST, {"address_hash": where["address_hash"]})
            ).scalar_one_or_none()
        return last + self._rest - now if last else timedelta(0)

    async def forget(self, address: str) -> None:
        """Begin anew: the password was right."""
        async with self._engine.begin() as connection:
            await connection.execute(_FORGET, {"address_hash": _hash(address)})


def _hash(address: str) -> bytes:
    return hashlib.sha256(address.encode()).digest()
