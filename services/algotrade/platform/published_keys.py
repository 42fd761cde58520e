"""The public keys of a platform whose identity service is another process, read from its JWKS and kept fresh."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import orjson
import stamina
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from algotrade.platform.background import background
from algotrade.platform.certificates import Certificates
from algotrade.platform.log import logger

log = logger(__name__)

FETCH_SECONDS: Final = 2.0
START_SECONDS: Final = 60.0  # identity may be starting too
MAX_JWKS_BYTES: Final = 64 * 1024
IDENTITY: Final = "identity"  # the process whose keys they are


class PublishedKeys:
    """The keys as they were last read. While identity is away, the last ones go on to count."""

    def __init__(self, url: str, certificates: Certificates | None = None) -> None:
        """Take where the JWKS is; `kept_fresh` reads it. With certificates, by HTTPS from identity and nobody else."""
        self._url = url
        self._certificates = certificates
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
            keys = KeySet.import_key_set(orjson.loads(await asyncio.to_thread(self._get)))
        except (JoseError, KeyError, TypeError) as error:
            raise ValueError(f"{self._url}: no key set") from error
        if not keys.keys:
            raise ValueError(f"{self._url}: an empty key set")
        if {key.kid for key in keys} != {key.kid for key in self._keys}:
            log.info("keys.read", url=self._url, kids=[key.kid for key in keys])
        self._keys = keys

    def _get(self) -> bytes:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or 0
        if self._certificates is None:
            connection = http.client.HTTPConnection(host, port, timeout=FETCH_SECONDS)
        else:
            connection = self._certificates.opened_from(host, port, IDENTITY, FETCH_SECONDS)
        with closing(connection):
            connection.request("GET", parts.path)
            answer = connection.getresponse()
            body = answer.read(MAX_JWKS_BYTES + 1)
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"{self._url}: {answer.status}")
        if len(body) > MAX_JWKS_BYTES:
            raise ValueError(f"{self._url}: too long for a key set")
        return body
