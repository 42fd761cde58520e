"""Secrets that mean nothing by themselves: refresh tokens and API keys. Only their hash is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

REFRESH_PREFIX: Final = "at_refresh_"  # lets scanners of source code find a leaked one
API_KEY_PREFIX: Final = "at_key_"
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret for the client, and the SHA-256 that is kept of it; 256 random bits need nothing slower."""

    text: str = field(repr=False)
    hash: bytes

    @classmethod
    def new(cls, prefix: str) -> Secret:
        """Make one."""
        text = prefix + secrets.token_urlsafe(_BYTES)
        return cls(text, hash_of(text))


def hash_of(text: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(text.encode()).digest()
