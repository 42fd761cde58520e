"""Access tokens: ES256 JSON web tokens, signed by identity, verified again by every service.

The private key is a file in the data directory that only its owner reads; the key's RFC 7638 thumbprint is its id.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, KeySet

from algotrade.platform import limits
from algotrade.platform.caller import Principal
from algotrade.platform.errors import Unauthenticated
from algotrade.platform.revocations import Revocations

ALGORITHM: Final = "ES256"
ACCESS_TYPE: Final = "at+jwt"  # RFC 9068: a refresh or any other token is not an access token
SERVICE_TYPE: Final = "service+jwt"  # what one service shows another where no user asks
SERVICE_SECONDS: Final = 30
# Private claims: what a token can be revoked by, besides its user
VERSION_CLAIM: Final = "ver"
LOGIN_CLAIM: Final = "sid"
API_KEY_CLAIM: Final = "key"
SCOPE_CLAIM: Final = "scope"  # RFC 8693: words with spaces between
ROLE_CLAIM: Final = "role"
ADMIN_ROLE: Final = "admin"

Clock = Callable[[], float]
KeySource = Callable[[], KeySet]


def load_or_create_key(path: Path) -> ECKey:
    """Read the signing key, or make one, complete or not at all, readable by its owner only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(ECKey.generate_key("P-256").as_pem(private=True))
        try:
            os.link(fresh, path)  # fails where another process was first: then its key is the key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return load_key(path)


def load_key(path: Path) -> ECKey:
    """Read a key. Raises OSError or JoseError."""
    key = ECKey.import_key(path.read_bytes(), {"use": "sig", "alg": ALGORITHM})
    key.ensure_kid()
    return key


def public_keys(*keys: ECKey) -> dict[str, Any]:
    """Return the JWKS of the keys' public halves."""
    return {"keys": [key.as_dict(private=False) for key in keys]}


@dataclass(frozen=True)
class TokenSigner:
    """Makes access tokens. The key may change: then it is asked for each time."""

    key: ECKey | Callable[[], ECKey]
    issuer: str
    audience: str
    clock: Clock = time.time

    def access_token(self, user_id: str, lifetime_seconds: int, **claims: object) -> tuple[str, int]:
        """Return a token for a user and when it expires, in seconds since the epoch."""
        return self._signed(ACCESS_TYPE, user_id, lifetime_seconds, claims)

    def service_token(self, service: str) -> str:
        """Return a token with which a service calls another in its own name, good for a short while."""
        return self._signed(SERVICE_TYPE, service, SERVICE_SECONDS, {})[0]

    def _signed(self, kind: str, subject: str, lifetime_seconds: int, claims: Mapping[str, object]) -> tuple[str, int]:
        now = int(self.clock())
        expires_at = now + lifetime_seconds
        body = {
            **claims,
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "exp": expires_at,
        }
        key = self.key if isinstance(self.key, ECKey) else self.key()
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": kind}
        return jwt.encode(header, body, key), expires_at


@dataclass(frozen=True)
class TokenVerifier:
    """Checks access tokens against a set of public keys: one algorithm, one type, a known key id, no missing claim."""

    keys: KeySource
    issuer: str
    audience: str
    clock: Clock = time.time
    leeway_seconds: int = 0
    revocations: Revocations | None = None  # without, a token is good until it expires

    def verify(self, token: str) -> Principal:
        """Return whom the token speaks for; Unauthenticated for anything less than a perfect access token.

        Unavailable while nobody can tell whether it was revoked.
        """
        claims = self._claims(token, ACCESS_TYPE)
        scope = claims.get(SCOPE_CLAIM)
        caller = Principal(
            claims["sub"],
            claims["jti"],
            int(claims["exp"]),
            token,
            token_version=int(claims.get(VERSION_CLAIM, 0)),
            login_id=str(claims.get(LOGIN_CLAIM, "")),
            api_key_id=str(claims.get(API_KEY_CLAIM, "")),
            scopes=None if scope is None else frozenset(str(scope).split()),
            is_admin=claims.get(ROLE_CLAIM) == ADMIN_ROLE,
        )
        if self.revocations:
            self.revocations.check(caller)
        return caller

    def verify_service(self, token: str) -> str:
        """Return which service the token speaks for; Unauthenticated for anything less than a perfect service token."""
        return str(self._claims(token, SERVICE_TYPE)["sub"])

    def _claims(self, token: str, kind: str) -> dict[str, Any]:
        """Return the claims of a token of a kind. Raises Unauthenticated."""
        if len(token) > limits.MAX_TOKEN_BYTES:
            raise Unauthenticated("TOKEN_INVALID", "the token is too long")
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self.clock()),
            leeway=self.leeway_seconds,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            sub={"essential": True},
            jti={"essential": True},
            iat={"essential": True},
            exp={"essential": True},
        )
        try:
            decoded = jwt.decode(token, self.keys(), algorithms=[ALGORITHM])
            registry.validate(decoded.claims)
        except ExpiredTokenError:
            raise Unauthenticated("TOKEN_EXPIRED", "the token has expired") from None
        except (JoseError, ValueError):
            raise Unauthenticated("TOKEN_INVALID", "the token is not valid") from None
        claims, header = decoded.claims, decoded.header
        subject, token_id = claims["sub"], claims["jti"]
        if header.get("typ") != kind or "kid" not in header:
            raise Unauthenticated("TOKEN_INVALID", "the token is of another kind")
        if not (isinstance(subject, str) and subject and isinstance(token_id, str)):
            raise Unauthenticated("TOKEN_INVALID", "the token names nobody")
        return claims
