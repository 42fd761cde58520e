"""Where accounts are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Account:
    """A user. The address is in lower case; the hash is Argon2's own text with its parameters."""

    user_id: str
    email: str
    display_name: str
    password_hash: str
    create_time: datetime


class AccountStore(Protocol):
    """Keeps accounts; one address has one account."""

    async def add(self, account: Account) -> bool:
        """Keep a new account; False, and nothing changed, where the address has one."""
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
