"""News of backtests within this process. Who misses some, since it arose in another one, finds it in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from algotrade.backtest.store import Backtest, State


class Watch:
    """A reader who waits for news of one backtest. News is not queued: it says only that there is some."""

    def __init__(self) -> None:
        """Begin without news."""
        self.changed = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """Wait for news; False where none came for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True


class News:
    """Who watches what, and how far that is which runs here: the store learns of it only now and then."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._watches: dict[str, set[Watch]] = {}
        self._done_bars: dict[tuple[str, int], int] = {}  # by id and attempt

    @contextmanager
    def watching(self, backtest_id: str) -> Iterator[Watch]:
        """Get the news of a backtest while the context is open."""
        watch = Watch()
        self._watches.setdefault(backtest_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[backtest_id].discard(watch)
            if not self._watches[backtest_id]:
                del self._watches[backtest_id]

    def current(self, stored: Backtest) -> Backtest:
        """Return a backtest with the newest progress that this process knows."""
        done_bars = self._done_bars.get((stored.backtest_id, stored.attempt), 0)
        if stored.state is State.RUNNING and done_bars > stored.done_bars:
            return replace(stored, done_bars=done_bars)
        return stored

    def moved(self, backtest_id: str, attempt: int, done_bars: int) -> None:
        """Say how far a run is."""
        if self._done_bars.get((backtest_id, attempt)) != done_bars:
            self._done_bars[backtest_id, attempt] = done_bars
            self.stored(backtest_id)

    def ended(self, backtest_id: str, attempt: int) -> None:
        """Say that a run has left this process."""
        self._done_bars.pop((backtest_id, attempt), None)
        self.stored(backtest_id)

    def stored(self, backtest_id: str) -> None:
        """Say that what is stored of a backtest has changed."""
        for watch in self._watches.get(backtest_id, ()):
            watch.changed.set()
