"""Where accounts, their logins and their API keys are kept. Whatever changes one also writes the audit log.

What administrators see and change of other people's accounts is in `AdminStore`; there even reading is put on record.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from algotrade.platform.audit import Entry
from algotrade.platform.once import Once
from algotrade.platform.policy import Scope


@dataclass(frozen=True, slots=True)
class Account:
    """A user. The address is in lower case; the hash is Argon2's own text with its parameters.

    Access tokens with a lower version than the account's are good no more.
    """

    user_id: str
    email: str
    display_name: str
    password_hash: str
    create_time: datetime
    token_version: int = 0
    is_admin: bool = False
    actor: str = ""  # the pseudonym under which the audit log has what it does
    disable_time: datetime | None = None
    disable_reason: str = ""


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A login that begins, with its first refresh token, of which the hash is kept."""

    login_id: str
    create_time: datetime
    expire_time: datetime  # no refresh token of it is good for longer
    token_hash: bytes
    token_expire_time: datetime


@dataclass(frozen=True, slots=True)
class Rotated:
    """A login that goes on, and when its newest refresh token expires."""

    account: Account
    login_id: str
    token_expire_time: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    api_key_id: str
    name: str
    create_time: datetime
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    scope: Scope = Scope.TRADE


class AccountStore(Protocol):
    """Keeps accounts; one address has one account."""

    async def add(self, account: Account, login: NewLogin) -> bool:
        """Keep a new account and its first login; False, and nothing changed, where the address has an account."""
        ...

    async def by_email(self, email: str) -> Account | None:
        """Find the account of an address in lower case."""
        ...

    async def by_id(self, user_id: str) -> Account | None:
        """Find an account."""
        ...

    async def replace_hash(self, user_id: str, old: str, new: str) -> None:
        """Put a stronger hash of the same password in the place of the old one, if that is still there."""
        ...

    async def rename(self, user_id: str, display_name: str) -> Account | None:
        """Change the name to show; None where the account is gone."""
        ...

    async def change_password(self, account: Account, new_hash: str, kept_login: str, now: datetime) -> int:
        """Put a new hash in the place of the account's, end every other login, and return the new token version.

        Raises Aborted where the hash is not the account's any more.
        """
        ...

    async def delete(self, account: Account, now: datetime) -> None:
        """Delete an account with all that is its own. Raises Aborted where the hash is not the account's any more."""
        ...


@dataclass(frozen=True, slots=True)
class OpenLogin:
    """A login that has not ended."""

    login_id: str
    create_time: datetime
    last_use_time: datetime
    expire_time: datetime


class LoginStore(Protocol):
    """Keeps logins: each a chain of refresh tokens, every one good for one use."""

    async def open(self, account: Account, login: NewLogin) -> None:
        """Begin a login. Raises Aborted where the account's token version is another by now."""
        ...

    async def refused(self, account: Account | None, now: datetime) -> None:
        """Put on record that a password did not fit an account, or an address had none."""
        ...

    async def rotate(self, used: bytes, following: bytes, now: datetime, rest: timedelta) -> Rotated:
        """Use a refresh token up and put the following one in its place, good for so long.

        Raises Unauthenticated, having ended the login where the token was used before.
        """
        ...

    async def open_logins(self, user_id: str, now: datetime) -> list[OpenLogin]:
        """Return a user's logins that have not ended, the newest first."""
        ...

    async def end(self, user_id: str, login_id: str, now: datetime) -> bool:
        """End a login of the user; False where there is none, or it has ended."""
        ...

    async def end_all(self, user_id: str, now: datetime) -> None:
        """End every login of the user and raise the token version."""
        ...


class Guesses(Protocol):
    """Counts passwords that were tried in a row for an address."""

    async def take(self, address: str, now: datetime) -> timedelta:
        """Count a try before it is looked at; how long there is to wait where too many came before, else zero."""
        ...

    async def forget(self, address: str) -> None:
        """Begin anew: the password was right."""
        ...


class ApiKeyStore(Protocol):
    """Keeps API keys."""

    async def create(self, user_id: str, key: ApiKey, secret_hash: bytes, once: Once | None) -> bytes | None:
        """Keep a new key; None, or the first answer to the same request. Raises ResourceExhausted, AlreadyExists."""
        ...

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[ApiKey]:
        """Return so many of a user's keys, the newest first, after the one with that time and id."""
        ...

    async def delete(self, user_id: str, api_key_id: str, now: datetime) -> None:
        """Forget a key. Raises NotFound where the user has no such key."""
        ...

    async def use(self, secret_hash: bytes, now: datetime) -> tuple[Account, ApiKey] | None:
        """Find the key of a secret, and whose it is; None where there is none or its time is over."""
        ...


class AdminStore(Protocol):
    """What administrators see and do. `admin` is the user id of who asks; each call is put on record."""

    async def users(self, admin: str, prefix: str, after: str, count: int) -> list[Account]:
        """Return so many accounts behind an address, in the order of addresses, of those that begin like this."""
        ...

    async def user(self, admin: str, user_id: str) -> Account | None:
        """Find an account."""
        ...

    async def disable(self, admin: str, user_id: str, reason: str, now: datetime) -> Account | None:
        """Let nobody in as a user any more and end the logins; nothing changes where it is disabled. None: no user."""
        ...

    async def enable(self, admin: str, user_id: str) -> Account | None:
        """Let a user in again; None where there is none."""
        ...

    async def audit(self, admin: str, before: int | None, actor: str, count: int) -> list[Entry]:
        """Return so many entries of the audit log before a number, the newest first; of one actor, or of all."""
        ...

    async def set_admin(self, email: str, *, is_admin: bool) -> Account | None:
        """Make an account an administrator's or anybody's; None where the address has none. For the command line."""
        ...

    async def admins(self) -> list[Account]:
        """Return the administrators."""
        ...
