"""Which feeds are wanted: as the subscriptions are, counted again whenever symbol-subscriptions says they change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing

from algotrade.market_data.store import SubscriptionStore
from algotrade.platform.bus import Bus, OffsetOutOfRange
from algotrade.platform.database import is_away
from algotrade.platform.log import logger
from algotrade.platform.topics import SYMBOL_SUBSCRIPTIONS as TOPIC

log = logger(__name__)

READ = 100
RETRY_SECONDS = 1.0


class Demand:
    """Knows how many users and sessions want each feed that runs on demand, and wakes who waits for a change."""

    def __init__(self, symbols: Iterable[str]) -> None:
        """Begin with nobody wanting any of them."""
        self._subscribers = dict.fromkeys(symbols, 0)
        self._changed = asyncio.Event()

    def set(self, symbol: str, subscribers: int) -> None:
        """Take how many want a symbol; one that does not run on demand is passed over."""
        if symbol in self._subscribers:
            self._subscribers[symbol] = subscribers
            self._changed.set()
            self._changed = asyncio.Event()

    async def wait(self, symbol: str, *, wanted: bool) -> None:
        """Return when somebody wants a feed, or when nobody does."""
        while (self._subscribers[symbol] > 0) != wanted:
            await self._changed.wait()

    async def follow(self, store: SubscriptionStore, bus: Bus) -> None:
        """Keep up with the subscriptions, for ever; where they cannot be read, try again and begin anew."""
        while True:
            try:
                await self._follow(store, bus)
            except OffsetOutOfRange:
                log.warning("demand.behind")
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("demand.away", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, store: SubscriptionStore, bus: Bus) -> None:
        position = (await bus.bounds(TOPIC, 0)).end  # before the counts: a change in between is seen twice, not never
        await self._count(store)
        async with aclosing(bus.subscribe(TOPIC, {0: position}, READ)) as batches:
            async for _ in batches:
                await self._count(store)

    async def _count(self, store: SubscriptionStore) -> None:
        counts = await store.counts()
        for symbol in self._subscribers:
            self.set(symbol, counts.get(symbol, 0))
