"""Who someone is: making accounts, checking passwords, handing out tokens and taking them back."""

from __future__ import annotations

import math
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from algotrade.identity.opaque import REFRESH_PREFIX, Secret, hash_of
from algotrade.identity.passwords import Passwords
from algotrade.identity.store import Account, AccountStore, Guesses, LoginStore, NewLogin, OpenLogin
from algotrade.identity.upstream import Belongings
from algotrade.platform.caller import Principal
from algotrade.platform.clock import Clock, utc
from algotrade.platform.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from algotrade.platform.log import logger
from algotrade.platform.tokens import ADMIN_ROLE, LOGIN_CLAIM, ROLE_CLAIM, VERSION_CLAIM, TokenSigner

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things are good, in seconds."""

    access_token: int
    refresh_token: int
    login: int


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token, and when it expires, in seconds since the epoch."""

    token: str = field(repr=False)
    expires_at: int


@dataclass(frozen=True, slots=True)
class Login:
    """An account, a token that speaks for it, and what gives the next one."""

    account: Account
    access: AccessToken
    refresh_token: str = field(repr=False)
    refresh_expire_time: datetime


class Authenticator:
    """Decides who may speak as whom."""

    def __init__(
        self,
        accounts: AccountStore,
        logins: LoginStore,
        guesses: Guesses,
        passwords: Passwords,
        belongings: Belongings,
        signer: TokenSigner,
        clock: Clock,
        lifetimes: Lifetimes,
        revoked: Callable[[], Awaitable[None]],
    ) -> None:
        """Take the stores, who ends what other services have of a user, the key, how long things are good, and what to
        await after tokens were revoked.
        """
        self._accounts = accounts
        self._logins = logins
        self._guesses = guesses
        self._passwords = passwords
        self._belongings = belongings
        self._signer = signer
        self._clock = clock
        self._lifetimes = lifetimes
        self._revoked = revoked

    async def register(self, email: str, password: str, display_name: str) -> Login:
        """Make an account and log it in. Raises AlreadyExists where the address has one."""
        address = email.lower()
        account = Account(
            user_id=str(uuid.uuid4()),
            email=address,
            display_name=display_name.strip() or address,
            password_hash=await self._passwords.hash(password),
            create_time=self._now(),
        )
        login, secret = self._new_login()
        if not await self._accounts.add(account, login):
            raise AlreadyExists("EMAIL_TAKEN", "the address has an account")
        return self._logged_in(account, login, secret)

    async def login(self, email: str, password: str) -> Login:
        """Check a password. Raises Unauthenticated, the same for no account and for a wrong password.

        Raises ResourceExhausted after too many wrong ones for the address, and looks at none for a while. Raises
        PermissionDenied where the account is disabled, which only who knows the password is told.
        """
        address = email.lower()
        await self._counted(address)
        account = await self._accounts.by_email(address)
        fits = await self._passwords.fits(account.password_hash if account else None, password)
        if account is None or not fits:
            await self._logins.refused(account, self._now())
            raise Unauthenticated("CREDENTIALS_INVALID", "no such account, or not its password")
        await self._guesses.forget(address)
        if account.disable_time is not None:
            raise PermissionDenied("ACCOUNT_DISABLED", "the account is disabled")
        login, secret = self._new_login()
        await self._logins.open(account, login)
        if self._passwords.is_weak(account.password_hash):
            strong = await self._passwords.hash(password)
            await self._accounts.replace_hash(account.user_id, account.password_hash, strong)
        return self._logged_in(account, login, secret)

    async def refresh(self, refresh_token: str) -> Login:
        """Use a refresh token up. Raises Unauthenticated; a second use also ends the login."""
        following = Secret.new(REFRESH_PREFIX)
        rest = timedelta(seconds=self._lifetimes.refresh_token)
        try:
            found = await self._logins.rotate(hash_of(refresh_token), following.hash, self._now(), rest)
        except Unauthenticated:
            await self._revoked()
            raise
        access = self._access(found.account, found.login_id)
        return Login(found.account, access, following.text, found.token_expire_time)

    async def logout(self, caller: Principal, *, all_devices: bool) -> None:
        """End the caller's login, or all of them."""
        if all_devices:
            await self._logins.end_all(caller.user_id, self._now())
        else:
            await self._logins.end(caller.user_id, caller.login_id, self._now())
        await self._revoked()

    async def logins(self, caller: Principal) -> list[OpenLogin]:
        """Return the caller's logins that have not ended, the newest first."""
        return await self._logins.open_logins(caller.user_id, self._now())

    async def end_login(self, caller: Principal, login_id: str) -> None:
        """End one of the caller's logins. Raises NotFound where there is none, or it has ended."""
        if not await self._logins.end(caller.user_id, login_id, self._now()):
            raise NotFound("LOGIN_NOT_FOUND", f"no login {login_id}", login_id=login_id)
        await self._revoked()

    async def change_password(self, caller: Principal, current: str, new: str) -> AccessToken:
        """Set a new password and end the other logins. Raises InvalidArgument where the current one is wrong."""
        account = await self._proven(caller, current)
        new_hash = await self._passwords.hash(new)
        version = await self._accounts.change_password(account, new_hash, caller.login_id, self._now())
        await self._revoked()
        return self._access(replace(account, token_version=version), caller.login_id)

    async def delete(self, caller: Principal, current: str) -> None:
        """End an account for good, what other services have of it first. Raises InvalidArgument, Unavailable."""
        account = await self._proven(caller, current)
        await self._belongings.end(account.user_id)
        await self._accounts.delete(account, self._now())
        await self._revoked()
        log.info("identity.account_deleted", user_id=account.user_id)

    async def account(self, user_id: str) -> Account:
        """Return an account. Raises NotFound when it is gone."""
        return _found(await self._accounts.by_id(user_id))

    async def rename(self, user_id: str, display_name: str) -> Account:
        """Change the name to show; the address when it is empty. Raises NotFound when the account is gone."""
        name = display_name.strip() or (await self.account(user_id)).email
        return _found(await self._accounts.rename(user_id, name))

    async def _proven(self, caller: Principal, current: str) -> Account:
        """Return the caller's account, the password having been checked. Raises InvalidArgument, ResourceExhausted."""
        account = await self.account(caller.user_id)
        await self._counted(account.email)
        if not await self._passwords.fits(account.password_hash, current):
            await self._logins.refused(account, self._now())
            sentence = "is not the account's password"
            raise InvalidArgument(
                "PASSWORD_WRONG", f"current_password {sentence}", violations=[("current_password", sentence)]
            )
        await self._guesses.forget(account.email)
        return account

    async def _counted(self, address: str) -> None:
        """Count a password before it is looked at. Raises ResourceExhausted after too many wrong ones in a row."""
        wait = (await self._guesses.take(address, self._now())).total_seconds()
        if wait > 0:
            raise ResourceExhausted(
                "TOO_MANY_GUESSES",
                f"too many wrong passwords; try again in {math.ceil(wait)} s",
                retry_seconds=wait,
                retry_after_seconds=math.ceil(wait),
            )

    def _logged_in(self, account: Account, login: NewLogin, secret: Secret) -> Login:
        access = self._access(account, login.login_id)
        return Login(account, access, secret.text, login.token_expire_time)

    def _new_login(self) -> tuple[NewLogin, Secret]:
        secret, now = Secret.new(REFRESH_PREFIX), self._now()
        expire_time = now + timedelta(seconds=self._lifetimes.login)
        token_expire_time = min(expire_time, now + timedelta(seconds=self._lifetimes.refresh_token))
        return NewLogin(str(uuid.uuid4()), now, expire_time, secret.hash, token_expire_time), secret

    def _access(self, account: Account, login_id: str) -> AccessToken:
        claims: dict[str, object] = {VERSION_CLAIM: account.token_version, LOGIN_CLAIM: login_id}
        if account.is_admin:
            claims[ROLE_CLAIM] = ADMIN_ROLE
        return AccessToken(*self._signer.access_token(account.user_id, self._lifetimes.access_token, **claims))

    def _now(self) -> datetime:
        return utc(self._clock.now_ns())


def _found(account: Account | None) -> Account:
    if account is None:
        raise NotFound("USER_NOT_FOUND", "the account is gone")
    return account
