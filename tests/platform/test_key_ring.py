"""A key changes: no good token is refused at any step, and after the last the old key opens nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import KeySet

from algotrade.platform.errors import Unauthenticated
from algotrade.platform.http import JWKS_PATH, http_server
from algotrade.platform.key_ring import CURRENT, NEXT, PREVIOUS, PUBLISHED_SECONDS, KeyRing, rotate
from algotrade.platform.metrics import Metrics
from algotrade.platform.published_keys import PublishedKeys
from algotrade.platform.tokens import TokenSigner, TokenVerifier

TOKEN_SECONDS = 600
NOW = 1_800_000_000.0


def step(folder: Path, now: float, *, begin: bool = True) -> str:
    found = rotate(folder, TOKEN_SECONDS, begin=begin, now=now)
    for path in folder.glob("*.pem"):
        if path.stat().st_mtime < NOW - 1 or path.stat().st_mtime > NOW + 10**6:
            os.utime(path, (now, now))  # files are made now; the test's now is another
    return found.done


def signer(ring: KeyRing) -> TokenSigner:
    return TokenSigner(lambda: ring.current, "iss", "aud", lambda: NOW)


def good(token: str, keys: Any) -> bool:
    try:
        return bool(TokenVerifier(keys, "iss", "aud", lambda: NOW).verify(token))
    except Unauthenticated:
        return False


def test_no_good_token_is_refused_at_any_step_and_in_the_end_the_old_key_opens_nothing(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    first = signer(ring).access_token("u", TOKEN_SECONDS)[0]
    old = ring.current.kid
    late = ring()  # what a verifier knows that reads keys seldom

    assert step(tmp_path, NOW) == "published"
    ring.read()
    assert ring.current.kid == old
    assert good(signer(ring).access_token("u", TOKEN_SECONDS)[0], lambda: late)  # it signs with a key all know
    late = ring()

    assert step(tmp_path, NOW + PUBLISHED_SECONDS - 1) == "waiting"
    assert step(tmp_path, NOW + PUBLISHED_SECONDS + 1) == "promoted"
    ring.read()
    assert ring.current.kid != old
    second = signer(ring).access_token("u", TOKEN_SECONDS)[0]
    assert good(second, lambda: late)
    assert good(first, ring)

    promoted = NOW + PUBLISHED_SECONDS + 1
    assert step(tmp_path, promoted + TOKEN_SECONDS) == "waiting"
    assert step(tmp_path, promoted + TOKEN_SECONDS + PUBLISHED_SECONDS + 1) == "retired"
    ring.read()
    assert (good(first, ring), good(second, ring)) == (False, True)
    assert [path.name for path in tmp_path.iterdir()] == [CURRENT]
    assert stat.S_IMODE((tmp_path / CURRENT).stat().st_mode) == 0o600
    assert step(tmp_path, NOW, begin=False) == "nothing"


def test_a_rotation_that_was_cut_off_between_two_files_goes_on(tmp_path: Path) -> None:
    """Killed after the old key was put aside and before the new one took its place."""
    ring = KeyRing(tmp_path)
    step(tmp_path, NOW)
    (tmp_path / PREVIOUS).hardlink_to(tmp_path / CURRENT)
    ring.read()
    token = signer(ring).access_token("u", TOKEN_SECONDS)[0]
    assert good(token, ring)
    assert (tmp_path / NEXT).exists()
    assert step(tmp_path, NOW + 10_000) in ("retired", "promoted")
    ring.read()
    assert good(token, ring)


def test_a_file_that_holds_no_key_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    token = signer(ring).access_token("u", TOKEN_SECONDS)[0]
    (tmp_path / NEXT).write_text("no key")
    with pytest.raises(ValueError, match="deserialize"):
        ring.read()
    assert good(token, ring)


async def test_other_processes_read_what_is_published(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    async with http_server("127.0.0.1:0", Metrics().registry, lambda: ring.jwks) as port, ring.kept_fresh(0.02):
        published = PublishedKeys(f"http://127.0.0.1:{port}{JWKS_PATH}")
        async with published.kept_fresh(0.02):
            step(tmp_path, NOW)

            def kids(keys: KeySet) -> set[str]:
                return {str(key.kid) for key in keys}

            async with asyncio.timeout(20):
                while len(kids(published())) < 2:  # noqa: ASYNC110  (a server's thread and a reader's task come to it)
                    await asyncio.sleep(0.02)
            assert kids(published()) == kids(ring())
            assert not any("d" in key for key in ring.jwks["keys"])
