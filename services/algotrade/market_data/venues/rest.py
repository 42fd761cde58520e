"""Calls to a venue over REST: paced, tried again within bounds, refused where the venue refuses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Self

import httpx
import orjson
import stamina

from algotrade.market_data.venues.pace import Pace
from algotrade.market_data.venues.venue import VenueError, VenueRefused
from algotrade.platform.settings import LOOPBACK

TRY_SECONDS: Final = 10.0
ATTEMPTS: Final = 4
ALL_SECONDS: Final = 30.0
REQUESTS_A_SECOND: Final = 8.0
_trusted = cache(httpx.create_ssl_context)  # to read whom the machine trusts takes longer than anything else here
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Rest:
    """A venue's REST API at a base URL."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str] | None = None, a_second: float = REQUESTS_A_SECOND
    ) -> None:
        """Connect to nothing yet."""
        local = httpx.URL(base_url).host in LOOPBACK  # no proxy stands between
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=dict(headers or {}),
            timeout=TRY_SECONDS,
            trust_env=not local,
            verify=_trusted(),
        )
        self._pace = Pace(a_second)

    async def get(self, path: str, parameters: Mapping[str, str | int]) -> Any:
        """Return the JSON that a path answers. VenueRefused for what is not allowed, VenueError for anything else."""
        async for attempt in stamina.retry_context(
            on=VenueError, attempts=ATTEMPTS, timeout=ALL_SECONDS, wait_initial=0.2, wait_max=5.0
        ):
            with attempt:
                return await self._get(path, parameters)
        raise AssertionError("a retry ends with an answer or an error")

    async def _get(self, path: str, parameters: Mapping[str, str | int]) -> Any:
        await self._pace.turn()
        try:
            response = await self._client.get(path, params=dict(parameters))
        except httpx.TransportError as error:
            raise VenueError(f"unreachable: {type(error).__name__}") from error
        if response.status_code in _PASSING:
            raise VenueError(f"status {response.status_code}: {path}")
        if response.is_error:
            answer = f"{path}: the venue answers {response.status_code} {response.text[:200]}"
            raise VenueRefused(answer, response.status_code)
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError as error:
            raise VenueError(f"unreadable: {path}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        """Open nothing: connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()
