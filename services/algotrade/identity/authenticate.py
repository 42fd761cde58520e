"""Who someone is: making accounts, checking passwords, handing out tokens."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from algotrade.identity.store import Account, AccountStore
from algotrade.platform.clock import Clock
from algotrade.platform.errors import AlreadyExists, NotFound, Unauthenticated
from algotrade.platform.tokens import TokenSigner

CONCURRENT_HASHES: Final = 2  # each takes a core and 64 MiB for some 50 ms


@dataclass(frozen=True, slots=True)
class Login:
    """An account and a token that speaks for it until `expires_at`, in seconds since the epoch."""

    account: Account
    token: str
    expires_at: int


class Authenticator:
    """Decides who may speak as whom."""

    def __init__(
        self, store: AccountStore, signer: TokenSigner, clock: Clock, lifetime_seconds: int, hasher: PasswordHasher
    ) -> None:
        """Take the accounts, the key, and how long a token is good."""
        self._store = store
        self._signer = signer
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds
        self._hasher = hasher
        self._hashing = asyncio.Semaphore(CONCURRENT_HASHES)
        # Checked for addresses without an account, so that both kinds of failure cost the same.
        self._nobodys_hash = hasher.hash(secrets.token_urlsafe(32))

    async def register(self, email: str, password: str, display_name: str) -> Login:
        """Make an account and log it in. Raises AlreadyExists where the address has one."""
        address = email.lower()
        account = Account(
            user_id=str(uuid.uuid4()),
            email=address,
            display_name=display_name.strip() or address,
            password_hash=await self._hash(password),
            create_time=datetime.fromtimestamp(self._clock.now_ns() // 1000 / 1e6, UTC),
        )
        if not await self._store.add(account):
            raise AlreadyExists("EMAIL_TAKEN", "the address has an account")
        return self._logged_in(account)

    async def login(self, email: str, password: str) -> Login:
        """Check a password. Raises Unauthenticated, the same for no account and for a wrong password."""
        account = await self._store.by_email(email.lower())
        known = await self._verify(account.password_hash if account else self._nobodys_hash, password)
        if account is None or not known:
            raise Unauthenticated("CREDENTIALS_INVALID", "no such account, or not its password")
        if self._hasher.check_needs_rehash(account.password_hash):
            await self._store.replace_hash(account.user_id, account.password_hash, await self._hash(password))
        return self._logged_in(account)

    async def account(self, user_id: str) -> Account:
        """Return an account. Raises NotFound when it is gone."""
        account = await self._store.by_id(user_id)
        if account is None:
            raise NotFound("USER_NOT_FOUND", "the account is gone")
        return account

    def _logged_in(self, account: Account) -> Login:
        token, expires_at = self._signer.access_token(account.user_id, self._lifetime_seconds)
        return Login(account, token, expires_at)

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def _verify(self, password_hash: str, password: str) -> bool:
        async with self._hashing:
            try:
                return await asyncio.to_thread(self._hasher.verify, password_hash, _normal(password))
            except (VerificationError, InvalidHashError):
                return False


def _normal(password: str) -> str:
    """The same characters however a keyboard composed them."""
    return unicodedata.normalize("NFKC", password)
