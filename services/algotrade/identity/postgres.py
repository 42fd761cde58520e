"""Accounts in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.identity.postgres_accounts import USERS, as_account, record
from algotrade.identity.postgres_logins import end_logins, insert_login
from algotrade.identity.store import Account, NewLogin
from algotrade.platform import audit
from algotrade.platform.errors import Aborted
from algotrade.platform.revocations import revoke


class PostgresAccountStore:
    """The table `users`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def add(self, account: Account, login: NewLogin) -> bool:
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
            if (await connection.execute(statement)).first() is None:
                return False
            await insert_login(connection, account.user_id, login)
            await record(connection, account.create_time, account.user_id, "registered", login_id=login.login_id)
        return True

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

    async def rename(self, user_id: str, display_name: str) -> Account | None:
        """Update by primary key."""
        mine = USERS.c.user_id == UUID(user_id)
        statement = update(USERS).where(mine).values(display_name=display_name).returning(USERS)
        async with self._engine.begin() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else as_account(row)

    async def change_password(self, account: Account, new_hash: str, kept_login: str, now: datetime) -> int:
        """Update where the hash is still the one that was checked."""
        same = (USERS.c.user_id == UUID(account.user_id)) & (USERS.c.password_hash == account.password_hash)
        statement = (
            update(USERS)
            .where(same)
            .values(password_hash=new_hash, token_version=USERS.c.token_version + 1)
            .returning(USERS.c.token_version)
        )
        async with self._engine.begin() as connection:
            version: int | None = (await connection.execute(statement)).scalar_one_or_none()
            if version is None:
                raise _changed()
            ended = await end_logins(connection, account.user_id, now, but=kept_login)
            await revoke(connection, account.user_id, version)
            await record(connection, now, account.user_id, "password_changed", logins_ended=str(ended))
        return version

    async def delete(self, account: Account, now: datetime) -> None:
        """Delete where the hash is still the one that was checked; what belongs to the account goes by cascade."""
        same = (USERS.c.user_id == UUID(account.user_id)) & (USERS.c.password_hash == account.password_hash)
        async with self._engine.begin() as connection:
            gone = await connection.execute(delete(USERS).where(same).returning(USERS.c.audit_actor))
            actor: UUID | None = gone.scalar_one_or_none()
            if actor is None:
                raise _changed()
            await revoke(connection, account.user_id)
            await audit.record(connection, now, actor, "account_deleted")

    async def _one(self, condition: ColumnElement[bool]) -> Account | None:
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(USERS).where(condition))).first()
        return None if row is None else as_account(row)


def _changed() -> Aborted:
    return Aborted("ACCOUNT_CHANGED", "the account was changed meanwhile; try again")
