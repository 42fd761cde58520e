"""Accounts in PostgreSQL."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import TIMESTAMP, Column, ColumnElement, MetaData, Table, Text, Uuid, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.identity.store import Account

USERS = Table(
    "users",
    MetaData(),
    Column("user_id", Uuid, primary_key=True),
    Column("email", Text, unique=True),
    Column("display_name", Text),
    Column("password_hash", Text),
    Column("create_time", TIMESTAMP(timezone=True)),
)


class PostgresAccountStore:
    """The table `users`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def add(self, account: Account) -> bool:
        """Insert; the unique index on the address decides between two that come together."""
        statement = (
            insert(USERS)
            .values(
                user_id=UUID(account.user_id),
                email=account.email,
                display_name=account.display_name,
                password_hash=account.password_hash,
                create_time=account.create_time,
            )
            .on_conflict_do_nothing(index_elements=[USERS.c.email])
            .returning(USERS.c.user_id)
        )
        async with self._engine.begin() as connection:
            return (await connection.execute(statement)).first() is not None

    async def by_email(self, email: str) -> Account | None:
        """Select by the unique address."""
        return await self._one(USERS.c.email == email)

    async def by_id(self, user_id: str) -> Account | None:
        """Select by primary key."""
        return await self._one(USERS.c.user_id == UUID(user_id))

    async def replace_hash(self, user_id: str, old: str, new: str) -> None:
        """Update, unless the password was changed meanwhile."""
        same = (USERS.c.user_id == UUID(user_id)) & (USERS.c.password_hash == old)
        async with self._engine.begin() as connection:
            await connection.execute(update(USERS).where(same).values(password_hash=new))

    async def _one(self, condition: ColumnElement[bool]) -> Account | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(USERS).where(condition))).first()
        if row is None:
            return None
        return Account(str(row.user_id), row.email, row.display_name, row.password_hash, row.create_time)
