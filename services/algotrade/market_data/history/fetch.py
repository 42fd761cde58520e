"""Fetch what is missing, and only that: chunk by chunk, kept as each is whole.

The newest chunk grows. When it is gone on with, its last bar is fetched once more: where the venue now says something
else of it, the chunk is fetched anew. Only bars that have ended are kept.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from algotrade.engine.records import BAR, Records, joined
from algotrade.market_data.history.cache import CandleCache, Chunk, DamagedError, Series
from algotrade.market_data.history.candles import CandleSource
from algotrade.platform.clock import SECOND_NS, Clock

SETTLED_NS = 5 * SECOND_NS  # so long after its end a bar may still change


@dataclass(slots=True)
class Fetched:
    """What a download did: requests made, bars fetched and kept, chunks found whole, damaged, or told differently."""

    requests: int = 0
    bars: int = 0
    whole: int = 0
    damaged: int = 0
    revised: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


Progress = Callable[[int, int], None]  # chunks done, chunks in all


class Downloader:
    """Fills the cache from one source."""

    def __init__(self, source: CandleSource, cache: CandleCache, clock: Clock) -> None:
        """Take where bars come from, and where they go."""
        self._source = source
        self._cache = cache
        self._clock = clock

    def series(self, symbol: str, interval: str) -> Series:
        """Name a series of the source. KeyError for an interval that it does not have."""
        return Series(self._source.name, symbol, interval, self._source.intervals[interval])

    def whole(self, series: Series, start_ns: int, end_ns: int) -> bool:
        """Whether a range is in the cache, as far as its bars have ended."""
        covered = {chunk.start_ns: chunk.end_ns for chunk in self._cache.chunks(series)}
        spans = _chunks(series, start_ns, min(end_ns, self._newest_ns(series)))
        return all(covered.get(begin_ns, 0) >= until_ns for begin_ns, until_ns in spans)

    def _newest_ns(self, series: Series) -> int:
        """Bars that start at this or later may still change."""
        return (self._clock.now_ns() - SETTLED_NS) // series.interval_ns * series.interval_ns

    async def fetch(self, series: Series, start_ns: int, end_ns: int, progress: Progress | None = None) -> Fetched:
        """See that a range is in the cache, as far as its bars have ended. VenueError or VenueRefused.

        What was fetched before an error is kept.
        """
        newest_ns = self._newest_ns(series)
        spans = list(_chunks(series, start_ns, min(end_ns, newest_ns)))
        there = {chunk.start_ns: chunk for chunk in await asyncio.to_thread(self._cache.chunks, series)}
        outcome = Fetched()
        for done, (begin_ns, until_ns) in enumerate(spans):
            if progress is not None:
                progress(done, len(spans))
            chunk = there.get(begin_ns)
            if chunk is not None and chunk.end_ns >= until_ns:
                outcome.whole += 1
            else:
                # The whole chunk, once: another range is likely to want the rest of it.
                await self._fill(series, begin_ns, min(begin_ns + series.chunk_ns, newest_ns), chunk, outcome)
        if progress is not None:
            progress(len(spans), len(spans))
        return outcome

    async def _fill(self, series: Series, begin_ns: int, end_ns: int, chunk: Chunk | None, outcome: Fetched) -> None:
        kept = np.zeros(0, BAR)
        if chunk is not None:
            try:
                kept = await asyncio.to_thread(self._cache.load, series, chunk)
            except DamagedError:
                outcome.damaged += 1
        overlap_ns = int(kept["ts"][-1]) if len(kept) else begin_ns
        fresh = await self._pages(series, overlap_ns, end_ns, outcome)
        if len(kept):
            if len(fresh) and fresh[0] == kept[-1]:
                fresh = joined(BAR, (kept[:-1], fresh))
            else:
                outcome.revised += 1
                fresh = await self._pages(series, begin_ns, end_ns, outcome)
        await asyncio.to_thread(self._cache.write, series, begin_ns, end_ns, fresh)
        outcome.bars += len(fresh) - len(kept)

    async def _pages(self, series: Series, start_ns: int, end_ns: int, outcome: Fetched) -> Records:
        parts: list[Records] = []
        step_ns = self._source.page * series.interval_ns
        for page_ns in range(start_ns, end_ns, step_ns):
            found = await self._source.candles(
                series.symbol, series.interval_ns, page_ns, min(page_ns + step_ns, end_ns)
            )
            outcome.requests += 1
            outcome.left_out += found.left_out
            parts.append(found.bars)
        return joined(BAR, parts)


def _chunks(series: Series, start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    """Yield where each chunk of a range begins, and until when it is wanted."""
    begin_ns = start_ns // series.chunk_ns * series.chunk_ns
    while begin_ns < end_ns:
        yield begin_ns, min(begin_ns + series.chunk_ns, end_ns)
        begin_ns += series.chunk_ns
