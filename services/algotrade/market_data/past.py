"""Bars of the past for clients: what is kept of a range, and what is missing of it fetched first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, NoReturn

from algotrade.engine.records import Records
from algotrade.engine.settings import INTERVALS
from algotrade.market_data.history.cache import CandleCache, DamagedError, Series
from algotrade.market_data.history.candles import CandleSource
from algotrade.market_data.history.fetch import SETTLED_NS, Downloader
from algotrade.market_data.history.grouped import grouped
from algotrade.market_data.venues.venue import VenueError, VenueRefused
from algotrade.platform import limits
from algotrade.platform.clock import Clock
from algotrade.platform.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from algotrade.platform.log import logger

log = logger(__name__)

DAMAGED_TRIES: Final = 3  # files of a range that are found damaged, one after the other


@dataclass(frozen=True, slots=True)
class Span:
    """A range: bars of a length that start from one time to before another (ns), made of those of a series."""

    series: Series
    length_ns: int
    start_ns: int
    end_ns: int

    def part(self, start_ns: int, end_ns: int) -> Span:
        """Return another range of the same bars."""
        return replace(self, start_ns=start_ns, end_ns=end_ns)


class Past:
    """Reads the cache of a process and fills it from providers, one fetch a provider at a time."""

    def __init__(
        self, sources: Mapping[str, CandleSource], cache: CandleCache, clock: Clock, *, most_bytes: int, seconds: float
    ) -> None:
        """Take the providers by name and the cache, how large that may grow, and how long a fetch may take."""
        self.sources = sources
        self._cache = cache
        self._clock = clock
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._fetching = {name: asyncio.Lock() for name in sources}

    def now_ns(self) -> int:
        """Return what time it is: behind it there is no past."""
        return self._clock.now_ns()

    def span(
        self,
        provider: str,
        symbol: str,
        interval: str,
        start_ns: int,
        end_ns: int | None,
        field: str = "history.end_time",
    ) -> Span:
        """Name a range. InvalidArgument for one that cannot be: ``field`` is what makes it so long."""
        source = self.sources.get(provider)
        if source is None:
            known = ", ".join(sorted(self.sources))
            raise _invalid(
                "history.provider",
                f"no provider {provider}: there are {known}"
                if provider
                else f"{symbol} has no provider of bars of the past; name one of {known}",
            )
        made = self.lengths(provider).get(interval)
        if made is None:
            raise _invalid("history.interval", f"{provider} has {', '.join(self.lengths(provider))}")
        length_ns, own = made
        newest_ns = self._clock.now_ns()
        end_ns = newest_ns if end_ns is None else min(end_ns, newest_ns)
        if end_ns <= start_ns:
            raise _invalid(field, "is not after start_time, or start_time is in the future")
        if (end_ns - start_ns) // source.intervals[own] > limits.MAX_RANGE_BARS:
            raise _invalid(field, f"a range holds at most {limits.MAX_RANGE_BARS} bars of {own}")
        return Span(Series(provider, symbol, own, source.intervals[own]), length_ns, start_ns, end_ns)

    def lengths(self, provider: str) -> dict[str, tuple[int, str]]:
        """Return the lengths of bars to be had, shortest first: nanoseconds, and which of the provider's own they are
        made of."""
        own = self.sources[provider].intervals
        found = {name: (length, name) for name, length in own.items()}
        for name, length in INTERVALS.items():
            parts = [part for part in own if length and length % own[part] == 0]
            if name not in own and parts:
                found[name] = length, max(parts, key=lambda part: own[part])
        return dict(sorted(found.items(), key=lambda item: item[1][0]))

    async def bars(self, span: Span) -> tuple[Records, int]:
        """Return the bars of a range that are over, and how many of the provider's were fetched for it just now.

        NotFound for a symbol that the provider does not know, FailedPrecondition where it refuses, Unavailable where it
        is away. What came before an error is kept.
        """
        series, provider = span.series, span.series.provider
        if span.length_ns != series.interval_ns:
            return await self._grouped(span)
        downloader, fetched = Downloader(self.sources[provider], self._cache, self._clock), 0
        for _ in range(DAMAGED_TRIES):
            if not await asyncio.to_thread(downloader.whole, series, span.start_ns, span.end_ns):
                try:
                    async with asyncio.timeout(self._seconds), self._fetching[provider]:
                        fetched += (await downloader.fetch(series, span.start_ns, span.end_ns)).bars
                except VenueRefused as refused:
                    _refused(refused, series)
                except (VenueError, TimeoutError) as error:
                    cause = str(error) or f"no answer within {self._seconds:g} seconds"
                    raise Unavailable(
                        "HISTORY_UNAVAILABLE", f"{provider}: {cause}; what came is kept", provider=provider, tried=True
                    ) from error
                if gone := await asyncio.to_thread(self._cache.shrink, self._most_bytes):
                    log.info("history.shrunk", files=gone)
            try:
                return await asyncio.to_thread(self._cache.read, series, span.start_ns, span.end_ns), fetched
            except DamagedError as error:
                log.warning("history.damaged", path=str(error.path), what=error.what)
                await asyncio.to_thread(error.path.unlink, missing_ok=True)
        raise Unavailable("HISTORY_UNAVAILABLE", f"{provider}: files of the cache are damaged", provider=provider)

    async def _grouped(self, span: Span) -> tuple[Records, int]:
        """Make bars of shorter ones: all that belong to those that start in the range, and to none that goes on."""
        length_ns = span.length_ns
        first_ns, last_ns = (-(-ns // length_ns) * length_ns for ns in (span.start_ns, span.end_ns))
        bars, fetched = await self.bars(Span(span.series, span.series.interval_ns, first_ns, last_ns))
        over_ns = self._clock.now_ns() - SETTLED_NS
        joined = await asyncio.to_thread(grouped, bars, length_ns)
        return joined[joined["ts"] + length_ns <= over_ns], fetched

    async def close(self) -> None:
        """Close the providers."""
        for source in self.sources.values():
            await source.close()


def _invalid(path: str, sentence: str) -> InvalidArgument:
    return InvalidArgument("FIELD_INVALID", f"{path}: {sentence}", violations=[(path, sentence)])


def _refused(refused: VenueRefused, series: Series) -> NoReturn:
    if refused.status == HTTPStatus.NOT_FOUND:
        sentence = f"{series.provider} knows no symbol {series.symbol}"
        raise NotFound("SYMBOL_NOT_FOUND", sentence, symbol=series.symbol) from refused
    raise FailedPrecondition("HISTORY_REFUSED", str(refused), provider=series.provider) from refused
