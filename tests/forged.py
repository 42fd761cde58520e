"""Tokens that must not pass, of every kind that is known to have passed somewhere."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

Claims = dict[str, Any]


def without(mapping: Claims, name: str) -> Claims:
    return {key: value for key, value in mapping.items() if key != name}


def part(value: Claims) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def forgeries(key: ECKey, claims: Claims) -> dict[str, str]:
    """Return tokens by what is wrong with them; with `claims` and `key` as they are, one would be good.

    Where a case needs a signature that is good, the true key makes it: the claim or header alone must be refused.
    """
    now = claims["iat"]
    other = ECKey.generate_key("P-256", {"kid": key.kid, "use": "sig", "alg": "ES256"})
    elsewhere = "https://evil.example/jwks.json"
    header = {"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}

    def signed(changed: Claims | None = None, body: Claims | None = None, by: ECKey = key) -> str:
        return jwt.encode(header | (changed or {}), claims if body is None else body, by, algorithms=["ES256"])

    good = signed()
    head, body, signature = good.split(".")
    confused = f"{part(header | {'alg': 'HS256'})}.{body}"
    mac = hmac.digest(key.as_pem(private=False), confused.encode(), "sha256")
    cases = {
        "empty": "",
        "words": "not a token",
        "no signature": f"{head}.{body}.",
        "cut signature": good[:-3],
        "signature of zeros": f"{head}.{body}.{text(bytes(64))}",
        "other claims": f"{head}.{part(claims | {'sub': 'user-2'})}.{signature}",
        "alg none": f"{part(header | {'alg': 'none'})}.{body}.",
        "alg None": f"{part(header | {'alg': 'None'})}.{body}.",
        "public key as secret": f"{confused}.{text(mac)}",
        "another key, same kid": signed(by=other),
        "its own key in it": signed({"jwk": other.as_dict(private=False)}, by=other),
        "its keys elsewhere (jku)": signed({"jku": elsewhere}, by=other),
        "its certificate elsewhere (x5u)": signed({"x5u": elsewhere}, by=other),
        "kid a path": signed({"kid": "../../etc/passwd"}),
        "kid a query": signed({"kid": "x' UNION SELECT 'key"}),
        "no kid": jwt.encode(without(header, "kid"), claims, key, algorithms=["ES256"]),
        "critical extension": f"{part(header | {'crit': ['x'], 'x': 1})}.{body}.{signature}",
        "wrong issuer": signed(body=claims | {"iss": "else"}),
        "wrong audience": signed(body=claims | {"aud": "else"}),
        "expired": signed(body=claims | {"iat": now - 7200, "exp": now - 3600}),
        "not yet": signed(body=claims | {"nbf": now + 3600}),
        "exp a text": signed(body=claims | {"exp": "tomorrow"}),
        "sub a number": signed(body=claims | {"sub": 7}),
        "sub empty": signed(body=claims | {"sub": ""}),
    }
    # Envoy looks at neither; the services do.
    cases |= {
        "a plain JWT": signed({"typ": "JWT"}),
        "a refresh token": signed({"typ": "rt+jwt"}),
        "issued later": signed(body=claims | {"iat": now + 3600, "exp": now + 3660}),
    }
    return cases | {
        f"no {claim}": signed(body=without(claims, claim)) for claim in ("iss", "aud", "sub", "jti", "iat", "exp")
    }
