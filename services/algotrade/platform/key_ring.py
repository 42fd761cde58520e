"""The signing keys of identity: one signs, the one before and the one to come are published beside it.

So a key can change and no good token is refused: the next key is published until every verifier has read it, then it
signs, and the one before stays published until the last token that it signed has expired. The keys are files, read
again and again, so that a secret that is mounted can change them too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from algotrade.platform.background import background
from algotrade.platform.log import logger
from algotrade.platform.tokens import load_key, load_or_create_key, public_keys

log = logger(__name__)

CURRENT: Final = "access-token.pem"
NEXT: Final = "access-token.next.pem"
PREVIOUS: Final = "access-token.previous.pem"
# The gateway reads keys anew every 60 s, a service every 15 s, and this process its files as often: with room to spare
PUBLISHED_SECONDS: Final = 180.0


class KeyRing:
    """The keys of a directory, as they were last read."""

    def __init__(self, directory: Path) -> None:
        """Read the keys; make the first one. Raises ValueError for a file that holds none."""
        self._directory = directory
        load_or_create_key(directory / CURRENT)
        self._keys = self._read()
        self._public = _public(self._keys)

    @property
    def current(self) -> ECKey:
        """The key that signs."""
        return self._keys[0]

    @property
    def jwks(self) -> dict[str, Any]:
        """The public halves of all of them."""
        return public_keys(*self._keys)

    def __call__(self) -> KeySet:
        """Return the keys that tokens may be signed with."""
        return self._public

    @asynccontextmanager
    async def kept_fresh(self, every_seconds: float) -> AsyncIterator[None]:
        """Read the files again and again while open; what cannot be read leaves the keys as they were."""
        async with background(self._reading(every_seconds), "key-ring"):
            yield

    async def _reading(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                self.read()
            except (OSError, ValueError) as error:
                log.warning("keys.not_read", directory=str(self._directory), error=str(error))

    def read(self) -> None:
        """Read the files now. Raises OSError or ValueError."""
        found = self._read()
        if [key.kid for key in found] != [key.kid for key in self._keys]:
            log.info("keys.changed", signs=found[0].kid, published=[key.kid for key in found])
        self._keys, self._public = found, _public(found)

    def _read(self) -> list[ECKey]:
        """Return the key that signs, then the others."""
        try:
            return [load_key(path) for name in (CURRENT, NEXT, PREVIOUS) if (path := self._directory / name).exists()]
        except (JoseError, TypeError) as error:
            raise ValueError(f"{self._directory}: a file holds no key: {error}") from error


def _public(keys: Sequence[ECKey]) -> KeySet:
    """Return the public halves: made once, since every call asks for them."""
    return KeySet.import_key_set(public_keys(*keys))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Step:
    """What a rotation did, and after how many seconds there is more to do; none where it is over."""

    done: str
    wait_seconds: float | None


def rotate(directory: Path, token_seconds: float, *, begin: bool, now: float | None = None) -> Step:
    """Do the step of a rotation that is due; where none goes on, begin one if told to.

    Raises OSError. Steps are files renamed, so a rotation that is interrupted goes on where it was.
    """
    current, following, previous = (directory / name for name in (CURRENT, NEXT, PREVIOUS))
    now = time.time() if now is None else now
    if previous.exists():
        wait = _wait(current, token_seconds + PUBLISHED_SECONDS, now)
        if wait:
            return Step("waiting", wait)
        previous.unlink()
        return Step("retired", None)
    if following.exists():
        wait = _wait(following, PUBLISHED_SECONDS, now)
        if wait:
            return Step("waiting", wait)
        following.touch()  # its age as the key that signs counts from here
        previous.hardlink_to(current)
        following.replace(current)
        return Step("promoted", token_seconds + PUBLISHED_SECONDS)
    if not begin:
        return Step("nothing", None)
    load_or_create_key(current)
    load_or_create_key(following)
    return Step("published", PUBLISHED_SECONDS)


def _wait(path: Path, seconds: float, now: float) -> float:
    return max(0.0, path.stat().st_mtime + seconds - now)
