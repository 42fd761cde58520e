"""Accounts in PostgreSQL."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.identity.store import Account

_COLUMNS = "user_id, email, display_name, password_hash, create_time"
_ADD = text(
    f"INSERT INTO users ({_COLUMNS}) VALUES (:user_id, :email, :display_name, :password_hash, :create_time)"
    " ON CONFLICT (email) DO NOTHING RETURNING user_id"
)
_BY_EMAIL = text(f"SELECT {_COLUMNS} FROM users WHERE email = :email")  # noqa: S608  (a constant)
_BY_ID = text(f"SELECT {_COLUMNS} FROM users WHERE user_id = :user_id")  # noqa: S608  (a constant)
_REPLACE_HASH = text("UPDATE users SET password_hash = :new WHERE user_id = :user_id AND password_hash = :old")


class PostgresAccountStore:
    """The table `users`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def add(self, account: Account) -> bool:
        """Insert; the unique index on the address decides between two that come together."""
        values = {
            "user_id": UUID(account.user_id),
            "email": account.email,
            "display_name": account.display_name,
            "password_hash": account.password_hash,
            "create_time": account.create_time,
        }
        async with self._engine.begin() as connection:
            return (await connection.execute(_ADD, values)).first() is not None

    async def by_email(self, email: str) -> Account | None:
        """Select by the unique address."""
        async with self._engine.connect() as connection:
            return _account((await connection.execute(_BY_EMAIL, {"email": email})).first())

    async def by_id(self, user_id: str) -> Account | None:
        """Select by primary key."""
        async with self._engine.connect() as connection:
            return _account((await connection.execute(_BY_ID, {"user_id": UUID(user_id)})).first())

    async def replace_hash(self, user_id: str, old: str, new: str) -> None:
        """Update, unless the password was changed meanwhile."""
        async with self._engine.begin() as connection:
            await connection.execute(_REPLACE_HASH, {"user_id": UUID(user_id), "old": old, "new": new})


def _account(row: Row[tuple[UUID, str, str, str, object]] | None) -> Account | None:
    if row is None:
        return None
    return Account(str(row.user_id), row.email, row.display_name, row.password_hash, row.create_time)
