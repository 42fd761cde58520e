"""API keys: made and shown once, listed, deleted, exchanged for access tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from algotrade.identity.authenticate import AccessToken
from algotrade.identity.opaque import hash_of
from algotrade.identity.store import ApiKey, ApiKeyStore
from algotrade.platform.clock import Clock, utc
from algotrade.platform.errors import PermissionDenied, Unauthenticated
from algotrade.platform.once import Once
from algotrade.platform.policy import Scope
from algotrade.platform.tokens import API_KEY_CLAIM, SCOPE_CLAIM, VERSION_CLAIM, TokenSigner


class ApiKeys:
    """Decides which programs may speak for an account."""

    def __init__(
        self,
        store: ApiKeyStore,
        signer: TokenSigner,
        clock: Clock,
        access_token_seconds: int,
        revoked: Callable[[], Awaitable[None]],
    ) -> None:
        """Take the keys, the signer, how long a token is good, and what to await after tokens were revoked."""
        self._store = store
        self._signer = signer
        self._clock = clock
        self._access_token_seconds = access_token_seconds
        self._revoked = revoked

    async def create(self, user_id: str, key: ApiKey, secret_hash: bytes, once: Once | None) -> bytes | None:
        """Keep a new key; None, or the first answer to the same request."""
        return await self._store.create(user_id, key, secret_hash, once)

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[ApiKey]:
        """Return some of a user's keys, the newest first."""
        return await self._store.newest(user_id, before, count)

    async def delete(self, user_id: str, api_key_id: str) -> None:
        """Delete a key, and with it what it was exchanged for. Raises NotFound."""
        await self._store.delete(user_id, api_key_id, self.now())
        await self._revoked()

    async def exchange(self, secret: str) -> AccessToken:
        """Trade a key's secret for an access token that is good no longer than the key.

        Raises Unauthenticated; PermissionDenied where the account is disabled.
        """
        now = self.now()
        found = await self._store.use(hash_of(secret), now)
        if found is None:
            raise Unauthenticated("API_KEY_INVALID", "no such API key, or its time is over")
        account, key = found
        if account.disable_time is not None:
            raise PermissionDenied("ACCOUNT_DISABLED", "the account is disabled")
        seconds = self._access_token_seconds
        if key.expire_time is not None:
            seconds = min(seconds, max(1, int((key.expire_time - now).total_seconds())))
        scopes = (Scope.READ,) if key.scope is Scope.READ else tuple(Scope)
        claims: dict[str, object] = {
            VERSION_CLAIM: account.token_version,
            API_KEY_CLAIM: key.api_key_id,
            SCOPE_CLAIM: " ".join(scope.value for scope in scopes),
        }
        return AccessToken(*self._signer.access_token(account.user_id, seconds, **claims))

    def now(self) -> datetime:
        """Return the time to put on a new key."""
        return utc(self._clock.now_ns())
