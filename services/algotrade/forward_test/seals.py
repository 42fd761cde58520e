"""Seals trades in the audit log now and then, beside the worker, which writes nothing for it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from algotrade.platform.log import logger

log = logger(__name__)


class Seals(Protocol):
    """Where seals are kept."""

    async def seal(self) -> int:
        """Seal the trades that came since the last time; return of how many sessions."""
        ...


class Sealer:
    """Seals again and again."""

    def __init__(self, seals: Seals, *, every_seconds: float) -> None:
        """Take where seals are kept, and how often they are set."""
        self._seals = seals
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Go on for ever; what fails is done the next time."""
        while True:
            await asyncio.sleep(self._every_seconds)
            try:
                while await self._seals.seal():  # a round takes a bounded number of sessions
                    pass
            except Exception as error:
                log.warning("seals.failed", error=repr(error))
