"""Only a perfect token speaks for someone."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from echo_service import echo
from forged import forgeries
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from algotrade.platform.errors import Unauthenticated, info
from algotrade.platform.tokens import TokenSigner, TokenVerifier, load_or_create_key, public_keys
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

NOW = 1_700_000_000
KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
KEY.ensure_kid()
CLAIMS = {"iss": "iss", "aud": "aud", "sub": "user-1", "jti": "t-1", "iat": NOW, "exp": NOW + 60}
HEADER = {"alg": "ES256", "kid": KEY.kid, "typ": "at+jwt"}


def verifier(now: float = NOW, leeway: int = 0) -> TokenVerifier:
    keys: Any = public_keys(KEY)
    return TokenVerifier(lambda: KeySet.import_key_set(keys), "iss", "aud", lambda: now, leeway)


def signed() -> str:
    return jwt.encode(HEADER, CLAIMS, KEY)


FORGERIES = forgeries(KEY, CLAIMS) | {"huge": "x" * 100_000}


def test_a_good_token_names_its_user() -> None:
    found = verifier().verify(signed())
    assert (found.user_id, found.token_id, found.expires_at) == ("user-1", "t-1", NOW + 60)
    token, expires_at = TokenSigner(KEY, "iss", "aud", lambda: NOW).access_token("user-9", 30)
    assert (verifier().verify(token).user_id, expires_at) == ("user-9", NOW + 30)


@pytest.mark.parametrize(("wrong", "token"), FORGERIES.items(), ids=FORGERIES.keys())
def test_a_bad_token_names_nobody(wrong: str, token: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        verifier().verify(token)
    assert caught.value.reason == ("TOKEN_EXPIRED" if wrong == "expired" else "TOKEN_INVALID")


@pytest.mark.parametrize(("now", "leeway", "good"), [(59, 0, True), (61, 0, False), (64, 5, True), (66, 5, False)])
def test_a_token_expires_to_the_second(now: int, leeway: int, good: bool) -> None:
    if good:
        assert verifier(NOW + now, leeway).verify(signed()).user_id == "user-1"
        return
    with pytest.raises(Unauthenticated) as caught:
        verifier(NOW + now, leeway).verify(signed())
    assert caught.value.reason == "TOKEN_EXPIRED"


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "access-token.pem"
    first = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path).kid == first.kid
    assert list(path.parent.iterdir()) == [path]
    [published] = public_keys(first)["keys"]
    assert published["kid"] == first.kid
    assert "d" not in published, "the private half stays here"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "TOKEN_MISSING"),
        (["Basic dXNlcjpwYXNz"], "TOKEN_INVALID"),
        (["Bearer"], "TOKEN_INVALID"),
        (["Bearer x.y.z"], "TOKEN_INVALID"),
        (["{good}", "{good}"], "TOKEN_INVALID"),
        (["{expired}"], "TOKEN_EXPIRED"),
    ],
)
async def test_the_server_takes_one_good_bearer_token(
    serve: Any, connect: Any, token: Any, headers: list[str], reason: str
) -> None:
    channel = connect(await serve(echo()))
    stub = MarketDataServiceStub(channel)
    good, expired = f"Bearer {token('u')}", f"Bearer {token('u', -60)}"
    metadata = [("authorization", header.format(good=good, expired=expired)) for header in headers]
    for call in (
        stub.GetWindow(pb.GetWindowRequest(symbol="A"), metadata=metadata),
        stub.StreamTicks(pb.StreamTicksRequest(symbol="A"), metadata=metadata).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert info(caught.value).reason == reason
    reply = await stub.GetWindow(pb.GetWindowRequest(symbol="A"), metadata=[("authorization", good)])
    assert reply.last_sequence == 7
