"""The public keys of a platform whose identity service is another process, read from its JWKS and kept fresh."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import orjson
import stamina
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from algotrade.platform.background import background
from algotrade.platform.log import logger

log = logger(__name__)

FETCH_SECONDS: Final = 2.0
START_SECONDS: Final = 60.0  # identity may be starting too
MAX_JWKS_BYTES: Final = 64 * 1024


class PublishedKeys:
    """The keys as they were last read. While identity is away, the last ones go on to count."""

    def __init__(self, url: str) -> None:
        """Take where the JWKS is; `kept_fresh` reads it."""
        self._url = url
        self._keys = KeySet([])

    def __call__(self) -> KeySet:
        """Return the keys that tokens may be signed with."""
        return self._keys

    @asynccontextmanager
    async def kept_fresh(self, every_seconds: float) -> AsyncIterator[None]:
        """Read the keys before anything else happens, then again and again. Raises OSError where nobody has any."""
        async for attempt in stamina.retry_context(on=(OSError, ValueError), attempts=None, timeout=START_SECONDS):
            with attempt:
                await self._read()
        async with background(self._reading(every_seconds), "published-keys"):
            yield

    async def _reading(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await self._read()
            except (OSError, ValueError) as error:
                log.warning("keys.not_read", url=self._url, error=str(error))

    async def _read(self) -> None:
        try:
            keys = KeySet.import_key_set(orjson.loads(await asyncio.to_thread(_get, self._url)))
        except (JoseError, KeyError, TypeError) as error:
            raise ValueError(f"{self._url}: no key set") from error
        if not keys.keys:
            raise ValueError(f"{self._url}: an empty key set")
        if {key.kid for key in keys} != {key.kid for key in self._keys}:
            log.info("keys.read", url=self._url, kids=[key.kid for key in keys])
        self._keys = keys


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as answer:  # noqa: S310  (the settings want http)
        body: bytes = answer.read(MAX_JWKS_BYTES + 1)
    if len(body) > MAX_JWKS_BYTES:
        raise ValueError(f"{url}: too long for a key set")
    return body
