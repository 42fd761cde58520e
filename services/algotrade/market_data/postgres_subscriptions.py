"""Subscriptions in the table subscriptions, each change with its record on symbol-subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.market_data.store import Subscription
from algotrade.platform import limits
from algotrade.platform.bus import Message, Receipt, TransactionalBus
from algotrade.platform.once import lock_user
from algotrade.platform.quotas import check_room
from algotrade.platform.topics import SYMBOL_SUBSCRIPTIONS
from algotrade.v1.events_pb2 import SymbolSubscriptionChange

# Until the transaction ends: counts of one symbol are taken one after the other, as their records are written.
_LOCK_SYMBOL: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('subscriptions:' || :symbol, 0))")
_FIND: Final = text("SELECT create_time FROM subscriptions WHERE user_id = :user_id AND symbol = :symbol")
_COUNT_USER: Final = text("SELECT count(*) FROM subscriptions WHERE user_id = :user_id")
_COUNT_SYMBOL: Final = text("SELECT count(*) FROM subscriptions WHERE symbol = :symbol")
_INSERT: Final = text("INSERT INTO subscriptions (user_id, symbol, create_time) VALUES (:user_id, :symbol, :now)")
_DELETE: Final = text("DELETE FROM subscriptions WHERE user_id = :user_id AND symbol = :symbol RETURNING symbol")
_OF_USER: Final = text("""
    SELECT mine.symbol, mine.create_time,
        (SELECT count(*) FROM subscriptions AS theirs WHERE theirs.symbol = mine.symbol) AS subscribers
    FROM subscriptions AS mine WHERE mine.user_id = :user_id AND mine.symbol COLLATE "C" > :after
    ORDER BY mine.symbol COLLATE "C" LIMIT :count
""")
_COUNTS: Final = text("""
    SELECT symbol, count(*) AS wanting FROM (
        SELECT symbol FROM subscriptions UNION ALL SELECT symbol FROM session_subscriptions
    ) AS wanted GROUP BY symbol
""")
_SIZES: Final = text("SELECT symbol, ticks FROM symbol_windows")
_KEEP_SIZE: Final = text("""
    INSERT INTO symbol_windows (symbol, ticks) VALUES (:symbol, :ticks)
    ON CONFLICT (symbol) DO UPDATE SET ticks = greatest(symbol_windows.ticks, excluded.ticks)
""")


class PostgresSubscriptions:
    """The ports `SubscriptionStore` and `WindowSizeStore`."""

    def __init__(self, engine: AsyncEngine, bus: TransactionalBus) -> None:
        """Take the database, and where changes are told."""
        self._engine = engine
        self._bus = bus

    async def add(self, user_id: str, symbol: str, now: datetime) -> Subscription:
        """Insert and tell in one transaction, under locks on the account and the symbol."""
        keys = {"user_id": UUID(user_id), "symbol": symbol}
        receipt = None
        async with self._engine.begin() as connection:
            await lock_user(connection, user_id)
            await connection.execute(_LOCK_SYMBOL, {"symbol": symbol})
            since = (await connection.execute(_FIND, keys)).scalar_one_or_none()
            if since is None:
                await _check_room(connection, user_id)
                await connection.execute(_INSERT, {**keys, "now": now})
                receipt = await self._tell(connection, user_id, symbol, now, subscribed=True)
            subscribers = await _subscribers(connection, symbol)
        if receipt is not None:
            self._bus.announce(receipt)
        return Subscription(symbol, since or now, subscribers)

    async def remove(self, user_id: str, symbol: str, now: datetime) -> None:
        """Delete and tell in one transaction, under a lock on the symbol."""
        async with self._engine.begin() as connection:
            await connection.execute(_LOCK_SYMBOL, {"symbol": symbol})
            found = await connection.execute(_DELETE, {"user_id": UUID(user_id), "symbol": symbol})
            if found.first() is None:
                return
            receipt = await self._tell(connection, user_id, symbol, now, subscribed=False)
        self._bus.announce(receipt)

    async def of_user(self, user_id: str, after: str, count: int) -> list[Subscription]:
        """Select by user, in the order of code points, as symbols are listed."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(_OF_USER, {"user_id": UUID(user_id), "after": after, "count": count})
            return [Subscription(row.symbol, row.create_time, row.subscribers) for row in rows]

    async def counts(self) -> Mapping[str, int]:
        """Count the rows of each symbol, of users and of sessions."""
        async with self._engine.connect() as connection:
            return {row.symbol: row.wanting for row in await connection.execute(_COUNTS)}

    async def sizes(self) -> Mapping[str, int]:
        """Select from symbol_windows."""
        async with self._engine.connect() as connection:
            return {row.symbol: row.ticks for row in await connection.execute(_SIZES)}

    async def keep_size(self, symbol: str, ticks: int) -> None:
        """Insert into symbol_windows, or raise what is there."""
        async with self._engine.begin() as connection:
            await connection.execute(_KEEP_SIZE, {"symbol": symbol, "ticks": ticks})

    async def _tell(
        self, connection: AsyncConnection, user_id: str, symbol: str, now: datetime, *, subscribed: bool
    ) -> Receipt:
        create_time = Timestamp()
        create_time.FromDatetime(now)
        change = SymbolSubscriptionChange(
            symbol=symbol,
            user_id=user_id,
            subscribed=subscribed,
            subscribers=await _subscribers(connection, symbol),
            create_time=create_time,
        )
        message = Message(symbol, change.SerializeToString())
        return await self._bus.publish_in(connection, SYMBOL_SUBSCRIPTIONS, [message])


async def _subscribers(connection: AsyncConnection, symbol: str) -> int:
    count: int = (await connection.execute(_COUNT_SYMBOL, {"symbol": symbol})).scalar_one()
    return count


async def _check_room(connection: AsyncConnection, user_id: str) -> None:
    count: int = (await connection.execute(_COUNT_USER, {"user_id": UUID(user_id)})).scalar_one()
    check_room("subscriptions", count + 1, limits.MAX_SUBSCRIPTIONS)
