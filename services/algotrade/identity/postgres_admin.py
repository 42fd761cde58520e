"""What administrators see and do, in PostgreSQL; each in one transaction with its entry in the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.identity.postgres_accounts import USERS, as_account
from algotrade.identity.postgres_logins import end_logins, raise_version
from algotrade.identity.store import Account
from algotrade.platform.audit import Entry, newest, record_act

_ADMINS: Final = select(USERS).where(USERS.c.is_admin).order_by(USERS.c.email)


class PostgresAdminStore:
    """The port `AdminStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def users(self, admin: str, prefix: str, after: str, count: int) -> list[Account]:
        """Select along the index of addresses."""
        query = select(USERS).where(USERS.c.email > after, func.starts_with(USERS.c.email, prefix))
        async with self._engine.begin() as connection:
            rows = await connection.execute(query.order_by(USERS.c.email).limit(count))
            found = [as_account(row) for row in rows]
            await record_act(connection, admin, "users_listed")  # an address is in no entry
        return found

    async def user(self, admin: str, user_id: str) -> Account | None:
        """Select by primary key."""
        async with self._engine.begin() as connection:
            found = await _account(connection, user_id)
            if found is not None:
                await record_act(connection, admin, "user_read", account=found.actor)
        return found

    async def disable(self, admin: str, user_id: str, reason: str, now: datetime) -> Account | None:
        """Update where it is enabled, end the logins, raise the version of tokens."""
        enabled = (USERS.c.user_id == UUID(user_id)) & USERS.c.disable_time.is_(None)
        statement = update(USERS).where(enabled).values(disable_time=now, disable_reason=reason)
        async with self._engine.begin() as connection:
            changed = (await connection.execute(statement)).rowcount == 1
            if changed:
                await end_logins(connection, user_id, now)
                await raise_version(connection, user_id)
            found = await _account(connection, user_id)
            if changed and found is not None:
                await record_act(connection, admin, "user_disabled", account=found.actor, reason=reason)
        return found

    async def enable(self, admin: str, user_id: str) -> Account | None:
        """Update where it is disabled."""
        disabled = (USERS.c.user_id == UUID(user_id)) & USERS.c.disable_time.is_not(None)
        statement = update(USERS).where(disabled).values(disable_time=None, disable_reason="")
        async with self._engine.begin() as connection:
            changed = (await connection.execute(statement)).rowcount == 1
            found = await _account(connection, user_id)
            if changed and found is not None:
                await record_act(connection, admin, "user_enabled", account=found.actor)
        return found

    async def audit(self, admin: str, before: int | None, actor: str, count: int) -> list[Entry]:
        """Select along the primary key, or along the index of actors."""
        async with self._engine.begin() as connection:
            found = await newest(connection, count, before, UUID(actor) if actor else None)
            facts = {"account": actor} if actor else {}
            await record_act(connection, admin, "audit_log_read", **facts)
        return found

    async def set_admin(self, email: str, *, is_admin: bool) -> Account | None:
        """Update by address; tokens given so far say the contrary, and end."""
        same = USERS.c.email == email.lower()
        statement = update(USERS).where(same, USERS.c.is_admin != is_admin).values(is_admin=is_admin)
        async with self._engine.begin() as connection:
            changed = (await connection.execute(statement)).rowcount == 1
            row = (await connection.execute(select(USERS).where(same))).first()
            if row is None:
                return None
            found = as_account(row)
            if changed:
                await raise_version(connection, found.user_id)
                await record_act(connection, None, "admin_added" if is_admin else "admin_removed", account=found.actor)
        return found

    async def admins(self) -> list[Account]:
        """Select along the index of administrators."""
        async with self._engine.connect() as connection:
            return [as_account(row) for row in await connection.execute(_ADMINS)]


async def _account(connection: AsyncConnection, user_id: str) -> Account | None:
    row = (await connection.execute(select(USERS).where(USERS.c.user_id == UUID(user_id)))).first()
    return None if row is None else as_account(row)
