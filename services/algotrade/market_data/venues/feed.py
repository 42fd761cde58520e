"""A venue behind the port `Feed`: one connection for all its symbols, a tape for each.

The first symbol that is read opens the connection, the last one that is not read any more closes it. Every symbol
has a bounded inbox; where one is full the connection is not read, so the venue is held back rather than memory filled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from algotrade.market_data.feed import FeedChange, FeedItem, FeedState, FeedSymbol, Resume
from algotrade.market_data.venues.connection import Connection, ConnectionRules
from algotrade.market_data.venues.said import (
    Beat,
    Complaint,
    Doubt,
    Down,
    Fill,
    FillFailed,
    Heard,
    Said,
    Trade,
    Trades,
    Up,
)
from algotrade.market_data.venues.tape import NEVER
from algotrade.market_data.venues.venue import Dialect, SymbolTape, TradeHistory, VenueError, VenueRefused
from algotrade.platform import limits
from algotrade.platform.background import end
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics

log = logger(__name__)

_COUNTED: Final = frozenset({"trades", "gaps", "backfills", "backfills_failed", "backfilled", "lost", "doubts"})


class VenueAway(Exception):  # noqa: N818  (a state)
    """The venue is not connected."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """The connection ended for good."""

    error: Exception


_Inbox = asyncio.Queue[Heard | _Broken]


class VenueFeed:
    """The port `Feed` over a venue."""

    def __init__(
        self,
        venue: str,
        symbols: Sequence[FeedSymbol],
        dialect: Callable[[], Dialect],
        history: TradeHistory | None,
        clock: Clock,
        metrics: Metrics,
        *,
        connection: ConnectionRules,
        connect: Callable[..., Connection] = Connection,
        tape: Callable[[Resume, int], SymbolTape],
    ) -> None:
        """Take the venue's name and symbols, how it speaks, and where its past trades are, if anywhere.

        ``connect`` makes the connection, where that is not a WebSocket of our own. ``tape`` makes a symbol's tape,
        which goes on where the log stands, at a time (ns).
        """
        self.venue = venue
        self.symbols = tuple(symbols)
        self._history = history
        self._clock = clock
        self._metrics = metrics
        self._tape = tape
        self._inboxes: dict[str, _Inbox] = {}
        self._refused: VenueRefused | None = None
        self._running: asyncio.Task[None] | None = None
        self._connection = connect(venue, dialect, connection, metrics, said=self._said, up=self._up, down=self._down)

    async def probe(self) -> None:
        """Raise VenueAway or VenueRefused while the venue is wanted and not there."""
        if self._refused is not None:
            raise self._refused
        if self._inboxes and not self._connection.connected:
            raise VenueAway(self.venue)

    async def run(self, symbol: str, resume: Resume) -> AsyncGenerator[FeedItem, None]:
        """Yield a symbol's ticks, times and states until the venue refuses us."""
        if self._refused is not None:
            yield self._stale(self._refused)
            return
        tape = self._tape(resume, self._clock.now_ns())
        inbox = self._open(symbol)
        filling: asyncio.Task[None] | None = None
        try:
            for item in tape.begin(self._clock.now_ns()):
                yield item
            while True:
                first = await self._next(inbox, tape)
                now_ns = self._clock.now_ns()
                queued = [first, *_queued(inbox)]
                for heard in _together(queued) if tape.joins else queued:
                    if isinstance(heard, _Broken):
                        if not isinstance(heard.error, VenueRefused):
                            raise heard.error
                        yield self._stale(heard.error)
                        return
                    for item in tape.hear(heard, now_ns):
                        yield item
                self._count(tape)
                if (number := tape.fetch(now_ns)) is not None:
                    filling = asyncio.create_task(self._fill(symbol, number, inbox))
        finally:
            await self._close(symbol, filling)

    async def close(self) -> None:
        """Close what is open once nothing is read any more."""
        if self._history is not None:
            await self._history.close()

    def _stale(self, refused: VenueRefused) -> FeedChange:
        return FeedChange(FeedState.STALE, self._clock.now_ns(), f"{self.venue} refuses: {refused}")

    async def _next(self, inbox: _Inbox, tape: SymbolTape) -> Heard | _Broken | None:
        """Wait for what comes next, or None when the tape has to decide something."""
        with suppress(asyncio.QueueEmpty):
            return inbox.get_nowait()
        due_ns = tape.due_ns()
        seconds = None if due_ns == NEVER else max(0.0, (due_ns - self._clock.now_ns()) / SECOND_NS)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await inbox.get()
        return None

    def _open(self, symbol: str) -> _Inbox:
        inbox = self._inboxes[symbol] = _Inbox(limits.MAX_QUEUED_FRAMES)
        self._connection.want(symbol)
        if self._running is None:
            self._running = asyncio.create_task(self._keep_connected(), name=f"venue {self.venue}")
        return inbox

    async def _close(self, symbol: str, filling: asyncio.Task[None] | None) -> None:
        inbox = self._inboxes.pop(symbol)
        self._connection.unwant(symbol)
        ending = [filling] if filling is not None else []
        if not self._inboxes and self._running is not None:
            ending.append(self._running)
            self._running = None
        while not inbox.empty():  # whoever waits for room goes on
            inbox.get_nowait()
        await end(*ending)

    async def _keep_connected(self) -> None:
        try:
            await self._connection.run()
        except VenueRefused as refused:
            self._refused = refused
            log.warning("venue.refused", venue=self.venue, reason=str(refused))
            await self._tell_all(_Broken(refused))
        except Exception as error:
            log.exception("venue.failed", venue=self.venue)
            await self._tell_all(_Broken(error))

    async def _fill(self, symbol: str, number: int, inbox: _Inbox) -> None:
        filled: Fill | FillFailed | _Broken
        try:
            if self._history is None:
                filled = Fill([], complete=False)
            else:
                filled = await self._history.trades_after(symbol, number)
        except (VenueError, VenueRefused) as error:
            filled = FillFailed(str(error))
        except Exception as error:
            filled = _Broken(error)
        await inbox.put(filled)

    async def _said(self, said: Said) -> None:
        match said:
            case Trades(symbol) | Beat(symbol) if symbol:
                if (inbox := self._inboxes.get(symbol)) is not None:
                    await inbox.put(said)
            case Beat() | Doubt():
                await self._tell_all(said)
            case Trades() | Complaint():
                pass

    async def _up(self, symbol: str) -> None:
        if (inbox := self._inboxes.get(symbol)) is not None:
            await inbox.put(Up())

    async def _down(self, cause: str) -> None:
        await self._tell_all(Down(cause))

    async def _tell_all(self, told: Heard | _Broken) -> None:
        for inbox in list(self._inboxes.values()):
            await inbox.put(told)

    def _count(self, tape: SymbolTape) -> None:
        counts, tape.counts = tape.counts, type(tape.counts)()
        for name, count in counts.items():
            if not count:
                continue
            if name in _COUNTED:
                self._metrics.venue_events.labels(self.venue, name).inc(count)
            else:
                self._metrics.venue_rejected.labels(self.venue, name).inc(count)


def _queued(inbox: _Inbox) -> Iterator[Heard | _Broken]:
    """Take what has queued, without waiting for more."""
    while not inbox.empty():
        yield inbox.get_nowait()


def _together(all_heard: Iterable[Heard | _Broken | None]) -> Iterator[Heard | _Broken | None]:
    """Put trades that came one after another into one: so a feed that is behind goes faster."""
    run: list[Trade] = []
    symbol = ""
    for heard in all_heard:
        if isinstance(heard, Trades) and not heard.snapshot:
            symbol = heard.symbol
            run += heard.trades
            continue
        if run:
            yield Trades(symbol, run)
            run = []
        yield heard
    if run:
        yield Trades(symbol, run)
