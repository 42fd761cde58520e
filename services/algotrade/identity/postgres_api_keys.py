"""API keys in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.identity.postgres_accounts import as_account, record
from algotrade.identity.store import Account, ApiKey
from algotrade.platform import limits
from algotrade.platform.errors import NotFound
from algotrade.platform.once import Once, earlier_answer, lock_user
from algotrade.platform.policy import Scope
from algotrade.platform.quotas import check_room
from algotrade.platform.revocations import revoke

_COUNT: Final = text("SELECT count(*) FROM api_keys WHERE user_id = :user_id")
_INSERT: Final = text("""
    INSERT INTO api_keys (api_key_id, user_id, name, secret_hash, create_time, expire_time, scope)
    VALUES (:api_key_id, :user_id, :name, :secret_hash, :create_time, :expire_time, :scope)
""")
_NEWEST: Final = text("""
    SELECT api_key_id, name, create_time, expire_time, last_use_time, scope FROM api_keys
    WHERE user_id = :user_id
        AND (CAST(:time AS timestamptz) IS NULL OR (create_time, api_key_id) < (:time, CAST(:api_key_id AS uuid)))
    ORDER BY create_time DESC, api_key_id DESC
    LIMIT :count
""")
_DELETE: Final = text("DELETE FROM api_keys WHERE api_key_id = :api_key_id AND user_id = :user_id RETURNING api_key_id")
_USE: Final = text("""
    UPDATE api_keys AS k SET last_use_time = :now FROM users AS u
    WHERE k.secret_hash = :secret_hash AND k.user_id = u.user_id AND (k.expire_time IS NULL OR k.expire_time > :now)
    RETURNING u.*, k.api_key_id, k.name, k.create_time AS key_create_time, k.expire_time, k.last_use_time, k.scope
""")


class PostgresApiKeyStore:
    """The table `api_keys`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def create(self, user_id: str, key: ApiKey, secret_hash: bytes, once: Once | None) -> bytes | None:
        """Insert, under a lock on the account."""
        async with self._engine.begin() as connection:
            await lock_user(connection, user_id)
            if once is not None and (earlier := await earlier_answer(connection, once)) is not None:
                return earlier
            await _check_room(connection, user_id)
            await connection.execute(
                _INSERT,
                {
                    "api_key_id": UUID(key.api_key_id),
                    "user_id": UUID(user_id),
                    "name": key.name,
                    "secret_hash": secret_hash,
                    "create_time": key.create_time,
                    "expire_time": key.expire_time,
                    "scope": key.scope.value,
                },
            )
            facts = {"api_key_id": key.api_key_id, "scope": key.scope.value}
            await record(connection, key.create_time, user_id, "api_key_created", **facts)
        return None

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[ApiKey]:
        """Select along the index of each user's newest."""
        time, api_key_id = before if before else (None, None)
        keys = {
            "user_id": UUID(user_id),
            "time": time,
            "api_key_id": UUID(api_key_id) if api_key_id else None,
            "count": count,
        }
        async with self._engine.connect() as connection:
            return [_key(row, row.create_time) for row in await connection.execute(_NEWEST, keys)]

    async def delete(self, user_id: str, api_key_id: str, now: datetime) -> None:
        """Delete by primary key and owner."""
        async with self._engine.begin() as connection:
            keys = {"api_key_id": UUID(api_key_id), "user_id": UUID(user_id)}
            if (await connection.execute(_DELETE, keys)).first() is None:
                raise NotFound("API_KEY_NOT_FOUND", "no such API key", api_key_id=api_key_id)
            await revoke(connection, api_key_id)
            await record(connection, now, user_id, "api_key_deleted", api_key_id=api_key_id)

    async def use(self, secret_hash: bytes, now: datetime) -> tuple[Account, ApiKey] | None:
        """Find by the unique hash, and note the time."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(_USE, {"secret_hash": secret_hash, "now": now})).first()
        return None if row is None else (as_account(row), _key(row, row.key_create_time))


async def _check_room(connection: AsyncConnection, user_id: str) -> None:
    count: int = (await connection.execute(_COUNT, {"user_id": UUID(user_id)})).scalar_one()
    check_room("api_keys", count + 1, limits.MAX_API_KEYS)


def _key(row: Row[Any], create_time: datetime) -> ApiKey:
    scope = Scope(row.scope)
    return ApiKey(str(row.api_key_id), row.name, create_time, row.expire_time, row.last_use_time, scope)
