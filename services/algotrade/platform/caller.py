"""Who is calling, and under which correlation id: facts of the running call, carried by context variables."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from algotrade.platform.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Principal:
    """The user a verified token speaks for."""

    user_id: str
    token_id: str
    expires_at: int  # seconds since the epoch
    token: str  # handed on to other services, which verify it again
    token_version: int = 0  # of the account when the token was made; raising it ends all tokens before
    login_id: str = ""  # the login that the token came from …
    api_key_id: str = ""  # … or the API key
    scopes: frozenset[str] | None = None  # what the API key was made for; None for everything
    is_admin: bool = False


CORRELATION_KEY: Final = "x-correlation-id"
REQUEST_ID_KEY: Final = "x-request-id"  # what others call it
TRACEPARENT_KEY: Final = "traceparent"

PRINCIPAL: ContextVar[Principal | None] = ContextVar("principal", default=None)
CORRELATION_ID: ContextVar[str] = ContextVar("correlation_id", default="")
TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")


def principal() -> Principal:
    """Return the caller of the running RPC; Unauthenticated where the method is public and no token came."""
    found = PRINCIPAL.get()
    if found is None:
        raise Unauthenticated("TOKEN_MISSING", "this call needs a bearer token")
    return found


def carried() -> tuple[tuple[str, str], ...]:
    """Return the metadata that tells the caller of the running call under which id to look for it."""
    return ((CORRELATION_KEY, CORRELATION_ID.get()),)
