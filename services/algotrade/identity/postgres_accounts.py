"""The rows of `users`, for every adapter that reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TIMESTAMP, BigInteger, Boolean, Column, MetaData, Row, Table, Text, Uuid, select
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.identity.store import Account
from algotrade.platform import audit

USERS = Table(
    "users",
    MetaData(),
    Column("user_id", Uuid, primary_key=True),
    Column("email", Text, unique=True),
    Column("display_name", Text),
    Column("password_hash", Text),
    Column("create_time", TIMESTAMP(timezone=True)),
    Column("token_version", BigInteger),
    Column("audit_actor", Uuid),
    Column("is_admin", Boolean),
    Column("disable_time", TIMESTAMP(timezone=True)),
    Column("disable_reason", Text),
)


def as_account(row: Row[Any]) -> Account:
    """Read a row with the columns of `users`."""
    return Account(
        str(row.user_id),
        row.email,
        row.display_name,
        row.password_hash,
        row.create_time,
        row.token_version,
        row.is_admin,
        str(row.audit_actor),
        row.disable_time,
        row.disable_reason,
    )


async def record(connection: AsyncConnection, now: datetime, user_id: str | None, action: str, **facts: str) -> None:
    """Write the audit log, under the account's pseudonym. Call it last in a transaction."""
    actor = None
    if user_id is not None:
        pseudonym = select(USERS.c.audit_actor).where(USERS.c.user_id == UUID(user_id))
        actor = (await connection.execute(pseudonym)).scalar_one_or_none()
    await audit.record(connection, now, actor, action, **facts)
