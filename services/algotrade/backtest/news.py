"""News of backtests within this process. Who misses some, since it arose in another one, finds it in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Watch:
    """What one reader was told of a backtest: newer news replaces older, so nobody can fall behind."""

    attempt: int = 0
    done_bars: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

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
    """Who watches what."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._watches: dict[str, set[Watch]] = {}
        self._progress: dict[str, tuple[int, int]] = {}  # of what runs here: attempt, bars done

    @contextmanager
    def watching(self, backtest_id: str) -> Iterator[Watch]:
        """Get the news of a backtest while the context is open."""
        watch = Watch(*self._progress.get(backtest_id, (0, 0)))
        self._watches.setdefault(backtest_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[backtest_id].discard(watch)
            if not self._watches[backtest_id]:
                del self._watches[backtest_id]

    def moved(self, backtest_id: str, attempt: int, done_bars: int) -> None:
        """Say how far a run is."""
        self._progress[backtest_id] = attempt, done_bars
        for watch in self._watches.get(backtest_id, ()):
            watch.attempt, watch.done_bars = attempt, done_bars
            watch.changed.set()

    def ended(self, backtest_id: str) -> None:
        """Say that a run has left this process."""
        self._progress.pop(backtest_id, None)
        self.stored(backtest_id)

    def stored(self, backtest_id: str) -> None:
        """Say that what is stored of a backtest has changed."""
        for watch in self._watches.get(backtest_id, ()):
            watch.changed.set()
