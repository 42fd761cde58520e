"""Passwords and their Argon2 hashes, computed beside the event loop, a few at a time."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

CONCURRENT_HASHES: Final = 2  # each takes a core and 64 MiB for some 50 ms


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self, hasher: PasswordHasher) -> None:
        """Take the cost of a hash; computes one."""
        self._hasher = hasher
        self._hashing = asyncio.Semaphore(CONCURRENT_HASHES)
        # Checked for addresses without an account, so that both kinds of failure cost the same.
        self._nobodys_hash = hasher.hash(secrets.token_urlsafe(32))

    async def hash(self, password: str) -> str:
        """Return what is kept of a password."""
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def fits(self, password_hash: str | None, password: str) -> bool:
        """Tell whether a password is the one of a hash; False, after the same work, where there is none."""
        async with self._hashing:
            try:
                checked = password_hash or self._nobodys_hash
                fits = await asyncio.to_thread(self._hasher.verify, checked, _normal(password))
            except (VerificationError, InvalidHashError):
                return False
        return fits and password_hash is not None

    def is_weak(self, password_hash: str) -> bool:
        """Tell whether a hash was made more cheaply than hashes are now."""
        return self._hasher.check_needs_rehash(password_hash)


def _normal(password: str) -> str:
    """The same characters however a keyboard composed them."""
    return unicodedata.normalize("NFKC", password)
