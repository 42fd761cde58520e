"""What administrators may do to other people's accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from algotrade.identity.store import Account, AdminStore
from algotrade.platform.audit import Entry
from algotrade.platform.clock import Clock, utc
from algotrade.platform.errors import FailedPrecondition, NotFound


class Administrator:
    """Decides on behalf of an administrator, who is named by the user id `admin`."""

    def __init__(self, store: AdminStore, clock: Clock, revoked: Callable[[], Awaitable[None]]) -> None:
        """Take where accounts are, and what to await after tokens were revoked."""
        self._store = store
        self._clock = clock
        self._revoked = revoked

    async def users(self, admin: str, prefix: str, after: str, count: int) -> list[Account]:
        """Return some accounts in the order of their addresses."""
        return await self._store.users(admin, prefix.lower(), after, count)

    async def user(self, admin: str, user_id: str) -> Account:
        """Return an account. Raises NotFound."""
        return _found(await self._store.user(admin, user_id), user_id)

    async def disable(self, admin: str, user_id: str, reason: str) -> Account:
        """Let nobody in as a user. Raises NotFound, FailedPrecondition for the administrator's own account."""
        if user_id == admin:
            raise FailedPrecondition("OWN_ACCOUNT", "another administrator has to do this")
        found = await self._store.disable(admin, user_id, reason, utc(self._clock.now_ns()))
        await self._revoked()
        return _found(found, user_id)

    async def enable(self, admin: str, user_id: str) -> Account:
        """Let a user in again. Raises NotFound."""
        return _found(await self._store.enable(admin, user_id), user_id)

    async def audit(self, admin: str, before: int | None, actor: str, count: int) -> list[Entry]:
        """Return some of the audit log, the newest first."""
        return await self._store.audit(admin, before, actor, count)


def _found(account: Account | None, user_id: str) -> Account:
    if account is None:
        raise NotFound("USER_NOT_FOUND", "no such user", user_id=user_id)
    return account
