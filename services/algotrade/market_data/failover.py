"""One symbol from several feeds: the first one while it is live, else the next that is.

1. The first feed is always read. While it is live, its ticks pass, and nothing else is open.
2. When it has not been live for a while, the others are opened too. The first of them to bring a tick takes its place.
3. As soon as the first feed is live again it is gone back to, and the others are closed.

Where the source changes the log says GAP and then LIVE with the new source: prices of two venues differ, so nothing is
entered on the seam. Ticks of a feed that is not the source are left out; what the first one fetches of a time in which
another stood in comes too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from algotrade.market_data.feed import Feed, FeedChange, FeedItem, FeedState, FeedSymbol, FeedTicks, Resume
from algotrade.platform import limits
from algotrade.platform.background import end
from algotrade.platform.clock import SECOND_NS, Clock


@dataclass(frozen=True, slots=True)
class _Ended:
    """A feed has no more, or failed."""

    error: Exception | None = None


@dataclass(slots=True)
class _Source:
    """A feed of the symbol, the task that reads it, and its state."""

    feed: Feed
    provider: str
    state: FeedState = FeedState.GAP  # until it says or brings something
    told: bool = False  # whether it has said in which state it is
    reading: asyncio.Task[None] | None = None
    ended: bool = False


_Heard = asyncio.Queue[tuple[_Source, FeedItem | _Ended]]
MOST_WAITING: Final = limits.MAX_QUEUED_FRAMES


class FailoverFeed:
    """The port `Feed` over several that deliver the same symbol; each of them `tells`."""

    def __init__(self, symbol: str, feeds: Sequence[Feed], clock: Clock, after_seconds: float) -> None:
        """Take the feeds, the preferred one first, and how long it may be away."""
        of_feeds = [next(one for one in feed.symbols if one.name == symbol) for feed in feeds]
        self.symbols = (replace(of_feeds[0], on_demand=all(one.on_demand for one in of_feeds)),)
        self._feeds = list(zip(feeds, of_feeds, strict=True))
        self._clock = clock
        self._after_ns = round(after_seconds * SECOND_NS)

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        """Yield a symbol's ticks, times and states, until no feed has any more."""
        heard: _Heard = asyncio.Queue(MOST_WAITING)
        sources = [_Source(feed, of_feed.provider) for feed, of_feed in self._feeds]
        try:
            async with aclosing(self._merge(symbol, resume, sources, heard)) as merged:
                async for item in merged:
                    yield item
        finally:
            await _close(sources)

    async def _merge(
        self, symbol: str, resume: Resume, sources: list[_Source], heard: _Heard
    ) -> AsyncGenerator[FeedItem, None]:
        first = active = sources[0]
        away_ns = self._clock.now_ns()
        _open(first, symbol, resume, heard)
        while not all(source.ended for source in sources):
            spare = [one for one in sources[1:] if one.reading is None and not one.ended]
            until_ns = away_ns + self._after_ns if spare and first.state != FeedState.LIVE else None
            found = await self._next(heard, until_ns)
            now_ns = self._clock.now_ns()
            if found is None:
                for other in spare:
                    _open(other, symbol, Resume(resume.epoch), heard)
                continue
            source, item = found
            if isinstance(item, _Ended):
                if item.error is not None:
                    raise item.error
                source.ended, source.state = True, FeedState.STALE
                continue
            was_live = source.state == FeedState.LIVE
            if isinstance(item, FeedChange):
                source.state, source.told = item.state, True
            elif isinstance(item, FeedTicks) and (source is not first or not source.told):
                source.state = FeedState.LIVE  # it is where trades come from, whatever it missed before
            if source is first and was_live and first.state != FeedState.LIVE:
                away_ns = now_ns
            if _takes_over(source, active, first):
                yield FeedChange(
                    FeedState.GAP, now_ns, f"{source.provider} instead of {active.provider}", source.provider
                )
                active = source
                yield FeedChange(FeedState.LIVE, now_ns, f"from {source.provider}", source.provider)
                if active is first:
                    await _close(sources[1:])
                if isinstance(item, FeedChange):
                    continue
            if source is active:
                yield replace(item, source=source.provider) if isinstance(item, FeedChange) else item

    async def _next(self, heard: _Heard, until_ns: int | None) -> tuple[_Source, FeedItem | _Ended] | None:
        """Wait for what comes next; None when a time has come before it."""
        if until_ns is None:
            return await heard.get()
        getting = asyncio.ensure_future(heard.get())
        waiting = asyncio.ensure_future(self._clock.sleep_until(until_ns))
        try:
            await asyncio.wait({getting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            for task in (getting, waiting):
                task.cancel()


def _takes_over(source: _Source, active: _Source, first: _Source) -> bool:
    if source is active or source.state != FeedState.LIVE:
        return False
    return source is first or active.state != FeedState.LIVE


def _open(source: _Source, symbol: str, resume: Resume, heard: _Heard) -> None:
    if source.reading is None and not source.ended:
        source.reading = asyncio.create_task(_read(source, symbol, resume, heard))


async def _read(source: _Source, symbol: str, resume: Resume, heard: _Heard) -> None:
    items: AsyncGenerator[FeedItem, None] = source.feed.run(symbol, resume)
    try:
        async with aclosing(items):
            async for item in items:
                await heard.put((source, item))
    except Exception as error:
        await heard.put((source, _Ended(error)))
    else:
        await heard.put((source, _Ended()))


async def _close(sources: Sequence[_Source]) -> None:
    await end(*(source.reading for source in sources if source.reading is not None))
    for source in sources:
        source.reading, source.state, source.told = None, FeedState.GAP, False


class FeedPart:
    """The port `Feed` over some symbols of another."""

    def __init__(self, feed: Feed, without: Collection[str]) -> None:
        """Take the feed, and the symbols that are left out."""
        self.symbols = tuple(one for one in feed.symbols if one.name not in without)
        self._feed = feed

    def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        """Yield what the feed does."""
        return self._feed.run(symbol, resume)


def standing_in(feeds: Sequence[Feed], clock: Clock, after_seconds: float) -> list[Feed]:
    """Return feeds in which each symbol is delivered once, where those that deliver it can stand in for each other."""
    several = shared(feeds)
    joined = [FailoverFeed(name, of_name, clock, after_seconds) for name, of_name in several.items()]
    return [*(FeedPart(feed, several) if several else feed for feed in feeds), *joined]


def shared(feeds: Sequence[Feed]) -> dict[str, list[Feed]]:
    """Return the symbols that several feeds deliver, each of which tells its state, with those feeds."""
    found: dict[str, list[tuple[Feed, FeedSymbol]]] = {}
    for feed in feeds:
        for one in feed.symbols:
            found.setdefault(one.name, []).append((feed, one))
    return {
        name: [feed for feed, _ in delivering]
        for name, delivering in found.items()
        if len(delivering) > 1 and all(one.tells for _, one in delivering)
    }
