"""Logins and their refresh tokens in PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.identity.postgres_accounts import as_account, record
from algotrade.identity.store import Account, NewLogin, OpenLogin, Rotated
from algotrade.platform import limits
from algotrade.platform.errors import Aborted, Unauthenticated
from algotrade.platform.log import logger
from algotrade.platform.revocations import revoke

log = logger(__name__)

# Locks token and login: of two calls with one token the second finds it used.
_FIND: Final = text("""
    SELECT u.*, t.use_time, t.expire_time AS token_expire_time, l.login_id, l.expire_time, l.end_time
    FROM refresh_tokens AS t JOIN logins AS l USING (login_id) JOIN users AS u USING (user_id)
    WHERE t.token_hash = :token_hash
    FOR NO KEY UPDATE OF t, l
""")
_USE: Final = text("UPDATE refresh_tokens SET use_time = :now WHERE token_hash = :token_hash")
_FORGET: Final = text("DELETE FROM refresh_tokens WHERE login_id = :login_id AND expire_time < :now")
_INSERT_TOKEN: Final = text(
    "INSERT INTO refresh_tokens (token_hash, login_id, expire_time) VALUES (:token_hash, :login_id, :expire_time)"
)
_INSERT_LOGIN: Final = text("""
    INSERT INTO logins (login_id, user_id, create_time, expire_time)
    VALUES (:login_id, :user_id, :create_time, :expire_time)
""")
_MAKE_ROOM: Final = text("""
    DELETE FROM logins WHERE user_id = :user_id AND (expire_time < :now OR login_id IN (
        SELECT login_id FROM logins WHERE user_id = :user_id ORDER BY create_time DESC OFFSET :most
    ))
""")
_OPEN: Final = text("""
    SELECT l.login_id, l.create_time, l.expire_time,
        COALESCE((SELECT max(t.use_time) FROM refresh_tokens AS t WHERE t.login_id = l.login_id), l.create_time)
            AS last_use_time
    FROM logins AS l WHERE user_id = :user_id AND end_time IS NULL AND expire_time > :now
    ORDER BY create_time DESC, login_id
""")
_END: Final = text("""
    UPDATE logins SET end_time = :now
    WHERE login_id = :login_id AND user_id = :user_id AND end_time IS NULL
    RETURNING login_id
""")
_END_OTHERS: Final = text("""
    UPDATE logins SET end_time = :now
    WHERE user_id = :user_id AND login_id IS DISTINCT FROM :but AND end_time IS NULL AND expire_time > :now
""")
_RAISE_VERSION: Final = text(
    "UPDATE users SET token_version = token_version + 1 WHERE user_id = :user_id RETURNING token_version"
)


class PostgresLoginStore:
    """The tables `logins` and `refresh_tokens`. A used token stays until it would have expired, to be known again."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def open(self, account: Account, login: NewLogin) -> None:
        """Insert, under a lock on the account."""
        same = text("SELECT 1 FROM users WHERE user_id = :user_id AND token_version = :version FOR NO KEY UPDATE")
        async with self._engine.begin() as connection:
            keys = {"user_id": UUID(account.user_id), "version": account.token_version}
            if (await connection.execute(same, keys)).first() is None:
                raise Aborted("ACCOUNT_CHANGED", "the account was changed meanwhile; try again")
            room = {"user_id": keys["user_id"], "now": login.create_time, "most": limits.MAX_LOGINS - 1}
            await connection.execute(_MAKE_ROOM, room)
            await insert_login(connection, account.user_id, login)
            await record(connection, login.create_time, account.user_id, "logged_in", login_id=login.login_id)

    async def refused(self, account: Account | None, now: datetime) -> None:
        """Write the audit log; the address itself stays out of it."""
        async with self._engine.begin() as connection:
            await record(connection, now, account.user_id if account else None, "password_refused")

    async def rotate(self, used: bytes, following: bytes, now: datetime, rest: timedelta) -> Rotated:
        """Decide under the locks of token and login."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(_FIND, {"token_hash": used})).first()
            if row is None or row.end_time is not None or row.expire_time <= now:
                raise _invalid()
            account, login_id = as_account(row), str(row.login_id)
            if row.use_time is None:
                if row.token_expire_time <= now:
                    raise _invalid()
                expire_time = min(row.expire_time, now + rest)
                await connection.execute(_USE, {"token_hash": used, "now": now})
                await connection.execute(_FORGET, {"login_id": row.login_id, "now": now})
                await _insert_token(connection, login_id, following, expire_time)
                return Rotated(account, login_id, expire_time)
            await _end(connection, account.user_id, login_id, now, "refresh_token_reused")
        log.warning("identity.refresh_token_reused", user_id=account.user_id, login_id=login_id)
        raise Unauthenticated("REFRESH_TOKEN_REUSED", "the refresh token was used before; the login has ended")

    async def open_logins(self, user_id: str, now: datetime) -> list[OpenLogin]:
        """Select along the index of each user's logins."""
        async with self._engine.connect() as connection:
            found = await connection.execute(_OPEN, {"user_id": UUID(user_id), "now": now})
            return [OpenLogin(str(row.login_id), row.create_time, row.last_use_time, row.expire_time) for row in found]

    async def end(self, user_id: str, login_id: str, now: datetime) -> bool:
        """Update by primary key and owner."""
        async with self._engine.begin() as connection:
            return await _end(connection, user_id, login_id, now, "logged_out")

    async def end_all(self, user_id: str, now: datetime) -> None:
        """Raise the version, which the tokens given from now on carry."""
        async with self._engine.begin() as connection:
            if await raise_version(connection, user_id) is None:  # the account is gone, and its logins with it
                return
            ended = await end_logins(connection, user_id, now)
            await record(connection, now, user_id, "logged_out_everywhere", logins_ended=str(ended))


async def insert_login(connection: AsyncConnection, user_id: str, login: NewLogin) -> None:
    """Insert a login and its first refresh token."""
    await connection.execute(
        _INSERT_LOGIN,
        {
            "login_id": UUID(login.login_id),
            "user_id": UUID(user_id),
            "create_time": login.create_time,
            "expire_time": login.expire_time,
        },
    )
    await _insert_token(connection, login.login_id, login.token_hash, login.token_expire_time)


async def end_logins(connection: AsyncConnection, user_id: str, now: datetime, but: str = "") -> int:
    """End every login of a user but one; return how many ended."""
    keys = {"user_id": UUID(user_id), "but": UUID(but) if but else None, "now": now}
    return (await connection.execute(_END_OTHERS, keys)).rowcount


async def raise_version(connection: AsyncConnection, user_id: str) -> int | None:
    """End every access token given so far, from this transaction's end on; return the new version, None: no user."""
    raised = await connection.execute(_RAISE_VERSION, {"user_id": UUID(user_id)})
    version: int | None = raised.scalar_one_or_none()
    if version is not None:
        await revoke(connection, user_id, version)
    return version


async def _end(connection: AsyncConnection, user_id: str, login_id: str, now: datetime, action: str) -> bool:
    keys = {"login_id": UUID(login_id), "user_id": UUID(user_id), "now": now}
    if (await connection.execute(_END, keys)).first() is None:
        return False
    await revoke(connection, login_id)
    await record(connection, now, user_id, action, login_id=login_id)
    return True


async def _insert_token(connection: AsyncConnection, login_id: str, token_hash: bytes, expire_time: datetime) -> None:
    keys = {"token_hash": token_hash, "login_id": UUID(login_id), "expire_time": expire_time}
    await connection.execute(_INSERT_TOKEN, keys)


def _invalid() -> Unauthenticated:
    return Unauthenticated("REFRESH_TOKEN_INVALID", "no such refresh token, or its time is over; log in again")
