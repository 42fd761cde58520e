"""How long windows are: anyone may make one longer for everyone, nobody shorter, and all together are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from algotrade.engine.records import TICK, joined
from algotrade.market_data.store import WindowSizeStore
from algotrade.market_data.tick_log import newest_ticks
from algotrade.market_data.window import WindowStore
from algotrade.platform import limits
from algotrade.platform.bus import Bus
from algotrade.platform.errors import ResourceExhausted


class WindowSizes:
    """Makes the windows of one process longer, and keeps that they are."""

    def __init__(self, symbols: Sequence[str], windows: WindowStore, store: WindowSizeStore, bus: Bus) -> None:
        """Take the windows, where their sizes are kept, and the log that fills them."""
        self._symbols = symbols
        self._windows = windows
        self._store = store
        self._bus = bus
        self._resizing = asyncio.Lock()

    async def at_least(self, symbol: str, ticks: int) -> int:
        """Make a symbol's window hold at least so many ticks; return how many it holds. Raises ResourceExhausted."""
        async with self._resizing:
            if ticks > (capacity := await self._windows.capacity(symbol)):
                others = sum([await self._windows.capacity(other) for other in self._symbols]) - capacity
                _check_room(others + ticks)
                await self._store.keep_size(symbol, ticks)
                logged = await newest_ticks(self._bus, symbol, ticks)
                older = joined(TICK, (batch.ticks for batch in logged))
                await self._windows.grow(symbol, ticks, older)
            return await self._windows.capacity(symbol)


def _check_room(ticks: int) -> None:
    if ticks > limits.MAX_TICKS_ALL_WINDOWS:
        raise ResourceExhausted(
            "LIMIT_REACHED",
            f"all windows together hold at most {limits.MAX_TICKS_ALL_WINDOWS} ticks",
            limit="ticks_all_windows",
            value=limits.MAX_TICKS_ALL_WINDOWS,
        )
