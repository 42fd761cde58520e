"""From the feeds into the log: one writer a process, as fast as ticks come.

1. A task a symbol reads its feed; another says when time passes without a tick.
2. The writer takes everything that has queued since its last turn, checks and numbers it, and appends the records.
3. Leases prove that the writer still was the one, and move on to what is logged. Where the log is in the database that
   is the transaction that logs. Elsewhere it comes behind, for several turns at once: what is in the log while a lease
   is still the writer's lies in front of the next writer's mark (`takeover`), and counts. Windows follow the leases.
4. What fails or has an unknown outcome is tried again as it stands: the leases tell whether it was done. Where the log
   is not in the database, a record may then be in it twice; readers take ticks by their numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import stamina
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.engine.records import MARKER, TICK, joined
from algotrade.market_data.aggregate import SymbolAggregate
from algotrade.market_data.demand import Demand
from algotrade.market_data.feed import Feed, FeedChange, FeedItem, FeedState, FeedSymbol, FeedTicks, FeedTime, Resume
from algotrade.market_data.spells import Part, Spells, spells_of
from algotrade.market_data.store import Advance, LeaseStore
from algotrade.market_data.takeover import agree
from algotrade.market_data.tick_log import LoggedTicks, newest_updates
from algotrade.market_data.turns import Pace, Turns
from algotrade.market_data.updates import messages_of
from algotrade.market_data.window import WindowStore, fill
from algotrade.platform import failpoints, limits
from algotrade.platform.background import end, together
from algotrade.platform.bus import Message, Receipt, TransactionalBus
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.database import is_away
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1 import types_pb2
from algotrade.v1.events_pb2 import FeedStateChange

log = logger(__name__)

CLOCKS_DIFFER_NS = 5 * SECOND_NS
REMIND_NS = 300 * SECOND_NS  # who begins to read in the middle hears by then that a feed is not live, or another's
RETRY_ATTEMPTS = 20
RETRY_SECONDS = 60.0
# Longer than a statement may take: one that is frozen between two messages of a statement holds its locks until then.
OPEN_SECONDS = 90.0
# Where the log is not in the database: each record costs all of its readers, and each proof a commit. On busy
# processors ticks would wait for longer behind more of them than for a turn.
TURN_SECONDS = 0.015
PROOF_SECONDS = 0.03


@dataclass(slots=True)
class _Source:
    """A symbol with its feed, its state and what has queued."""

    symbol: FeedSymbol
    feed: Feed
    aggregate: SymbolAggregate
    resume: Resume  # where the log stood when the lease was taken
    state: FeedState  # as the newest record says it, or the one that is being written
    logged_state: FeedState
    running: bool = True
    said_ns: int = 0  # when its state was last said
    detail: str = ""  # why it is so
    provider: str = ""  # whose ticks it brings, where it has said so
    queued: list[FeedItem] = field(default_factory=list)

    @property
    def at(self) -> Resume:
        """Where its log stands once what was taken is written."""
        now = self.aggregate
        return Resume(self.resume.epoch, now.sequence, now.event_ns, now.price, self.state, now.trade_id)


class Ingest:
    """The writer of every symbol of some feeds."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        database: AsyncEngine,
        bus: TransactionalBus,
        leases: LeaseStore,
        windows: WindowStore,
        demand: Demand,
        clock: Clock,
        metrics: Metrics,
        marker_seconds: float,
        marker_grace_seconds: float,
    ) -> None:
        """Take the feeds, where ticks go, which are wanted, and how long after a silent second a marker is due."""
        self._feeds = feeds
        self._database = database
        self._bus = bus
        self._leases = leases
        self._windows = windows
        self._clock = clock
        self._metrics = metrics
        self._demand = demand
        self._marker_ns = round(marker_seconds * SECOND_NS)
        self._grace_ns = round(marker_grace_seconds * SECOND_NS)
        self._sources: dict[str, _Source] = {}
        self._spells: dict[str, Spells] = {}
        self._queued_ticks = 0
        self._queued = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._logged = Turns()
        self._unsettled = asyncio.Event()

    def running(self, symbol: str) -> bool:
        """Tell whether a symbol's feed still delivers."""
        return symbol in self._sources and self._sources[symbol].running

    def state(self, symbol: str) -> FeedState:
        """Return what the log says that a symbol's feed is worth; STALE where it does not deliver."""
        return self._sources[symbol].logged_state if self.running(symbol) else FeedState.STALE

    def spells(self, symbol: str) -> Spells:
        """Return what is known of a symbol's gaps and sources."""
        return self._spells[symbol]

    async def open(self) -> None:
        """Take the leases and fill the windows from the end of the log. Call before `run`."""
        owners = {symbol.name: (symbol, feed) for feed in self._feeds for symbol in feed.symbols}
        resumes = await self._resumes(list(owners))
        if resumes and not self._bus.in_database:
            resumes = await agree(self._bus, self._database, self._leases, resumes)
        for name, (symbol, feed) in owners.items():
            resume = resumes[name]
            await fill(self._windows, self._bus, name)
            known = await newest_updates(self._bus, name, await self._windows.capacity(name))
            self._spells[name] = spells_of(known, symbol.provider)
            source = _Source(symbol, feed, SymbolAggregate(resume, symbol.band), resume, resume.state, resume.state)
            source.said_ns = self._clock.now_ns()
            self._sources[name] = source
            if not symbol.tells:  # the feed before it may have left it in another state
                self._enqueue(source, FeedChange(FeedState.LIVE, self._clock.now_ns(), "another feed"), 0)
            log.info("feed.taken", symbol=name, epoch=resume.epoch, sequence=resume.sequence)

    async def _resumes(self, names: Sequence[str]) -> Mapping[str, Resume]:
        """Take the leases; one that hangs in the middle of a write keeps them until the database ends it."""
        async for attempt in stamina.retry_context(on=is_away, attempts=None, timeout=OPEN_SECONDS, wait_max=2.0):
            with attempt:
                resumes = await self._leases.take(names)
        return resumes

    async def run(self) -> None:
        """Move ticks until every feed has ended and all is logged; raises Fenced when another writer took over."""
        await together(self._read_all(), beside=(self._mark(), self._write_for_ever(), self._settle_for_ever()))

    async def _read_all(self) -> None:
        await together(*(self._read(source) for source in self._sources.values()))
        await self._room_for(limits.MAX_QUEUED_TICKS)  # the whole queue: when there is none, all is logged and proven

    async def _read(self, source: _Source) -> None:
        try:
            if source.symbol.on_demand:
                await self._read_on_demand(source)
            else:
                await self._read_on(source)
        finally:
            source.running = False
            log.info("feed.ended", symbol=source.symbol.name)

    async def _read_on_demand(self, source: _Source) -> None:
        """Read while the feed is wanted, again and again, until it has no more."""
        name = source.symbol.name
        while True:
            source.running = False
            await self._demand.wait(name, wanted=True)
            source.running = True
            log.info("feed.opened", symbol=name)
            reading = asyncio.create_task(self._read_on(source))
            unwanted = asyncio.create_task(self._demand.wait(name, wanted=False))
            try:
                await asyncio.wait({reading, unwanted}, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    return await reading
            finally:
                await end(reading, unwanted)
            log.info("feed.closed", symbol=name)

    async def _read_on(self, source: _Source) -> None:
        """Read a feed on from where its symbol stands, until it has no more."""
        fed: AsyncGenerator[FeedItem, None] = source.feed.run(source.symbol.name, source.at)
        async with aclosing(fed):
            async for item in fed:
                await self._room_for(_count(item))
                self._enqueue(source, item, _count(item))

    async def _mark(self) -> None:
        """Say each second that it has passed, for every live symbol without a tick since."""
        while True:
            due = (self._clock.now_ns() - self._grace_ns) // self._marker_ns * self._marker_ns + self._marker_ns
            await self._clock.sleep_until(due + self._grace_ns)
            for source in self._sources.values():
                if source.running and source.symbol.live and not source.symbol.tells and source.aggregate.sequence:
                    self._enqueue(source, FeedTime(due), 1)

    def _enqueue(self, source: _Source, item: FeedItem, ticks: int) -> None:
        source.queued.append(item)
        self._queued_ticks += ticks
        self._queued.set()
        if self._queued_ticks >= limits.MAX_QUEUED_TICKS:
            self._room.clear()

    async def _room_for(self, ticks: int) -> None:
        while self._queued_ticks and self._queued_ticks + ticks > limits.MAX_QUEUED_TICKS:
            self._room.clear()
            await self._room.wait()

    async def _write_for_ever(self) -> None:
        pace = Pace(0.0 if self._bus.in_database else TURN_SECONDS)
        while True:
            await self._queued.wait()
            await pace.kept()
            self._queued.clear()
            numbered: dict[str, list[Part]] = {}
            advances: dict[str, Advance] = {}
            taken = 0
            for name, source in self._sources.items():
                if source.queued:
                    items, source.queued = source.queued, []
                    taken += sum(map(_count, items))
                    before = source.aggregate.sequence
                    if parts := [part for item in _together(items) if (part := self._take(source, item)) is not None]:
                        numbered[name] = [*parts, *self._reminder(source)]
                        advances[name] = Advance(before, source.at)
            if advances:
                failpoints.reached("ingest.numbered")
                await self._write(numbered, advances)
                self._logged.add(numbered, advances, proven=self._bus.in_database)
            self._logged.taken += taken
            self._unsettled.set()

    async def _settle_for_ever(self) -> None:
        pace = Pace(0.0 if self._bus.in_database else PROOF_SECONDS)
        while True:
            await self._unsettled.wait()
            await pace.kept()
            self._unsettled.clear()
            turns, self._logged = self._logged, Turns()
            if turns.unproven:
                await self._prove(turns.unproven)
            if turns.parts:
                await self._show(turns)
            self._queued_ticks -= turns.taken
            self._room.set()

    def _take(self, source: _Source, item: FeedItem) -> Part | None:
        """Check and number what a feed says; None where nothing of it is to be logged."""
        name, latest_ns = source.symbol.name, self._clock.now_ns() + CLOCKS_DIFFER_NS
        if isinstance(item, FeedChange):
            return self._turned(source, item)
        if isinstance(item, FeedTime):
            if not source.aggregate.sequence:
                return None  # a market begins with a trade
            ticks = source.aggregate.marker(min(item.ts, latest_ns))
            return ticks if len(ticks) else None
        taken = source.aggregate.take(item, latest_ns if source.symbol.live else None)
        for reason, count in taken.left_out.items():
            self._metrics.ticks_left_out.labels(name, reason).inc(count)
            if reason == "jump":
                log.warning(
                    "ticks.quarantined", symbol=name, reason=reason, count=count, last_price=source.aggregate.price
                )
        return taken.ticks if len(taken.ticks) else None

    def _turned(self, source: _Source, change: FeedChange) -> FeedStateChange | None:
        if change.state == source.state:
            return None
        source.state, source.detail = change.state, change.detail
        source.provider = change.source or source.provider
        log.warning("feed.state", symbol=source.symbol.name, state=change.state.name, detail=change.detail)
        return self._told(source, change.event_ns, change.source, filled=change.filled)

    def _reminder(self, source: _Source) -> Sequence[Part]:
        """Say once more in which state a feed is that is not as it was announced; readers who know take no notice."""
        as_announced = source.state == FeedState.LIVE and source.provider in ("", source.symbol.provider)
        now_ns = self._clock.now_ns()
        if as_announced or now_ns - source.said_ns < REMIND_NS:
            return ()
        return (self._told(source, now_ns, source.provider, filled=False),)

    def _told(self, source: _Source, event_ns: int, provider: str, *, filled: bool) -> FeedStateChange:
        source.said_ns = self._clock.now_ns()
        told = FeedStateChange(
            state=types_pb2.FeedState.ValueType(source.state),
            after_sequence=source.aggregate.sequence,
            detail=source.detail,
            source=provider,
            filled=filled,
        )
        told.event_time.FromNanoseconds(event_ns)
        return told

    async def _write(self, numbered: Mapping[str, Sequence[Part]], advances: Mapping[str, Advance]) -> None:
        messages = [
            message for name, parts in numbered.items() for message in messages_of(name, parts, advances[name].after)
        ]
        receipt: Receipt | None = None
        async for attempt in _trying():
            with attempt:
                if self._bus.in_database:
                    receipt = await self._commit(messages, advances)
                else:
                    await self._bus.publish(MARKET_DATA_UPDATES, messages)
        if receipt is not None:
            self._bus.announce(receipt)

    async def _commit(self, messages: Sequence[Message], advances: Mapping[str, Advance]) -> Receipt | None:
        """Log and prove at once; None where an earlier try turns out to have done so."""
        async with self._database.begin() as connection:
            if not await self._leases.advance(connection, advances):
                return None
            failpoints.reached("ingest.leased")
            receipt = await self._bus.publish_ahead(connection, MARKET_DATA_UPDATES, messages)
            failpoints.reached("ingest.before_commit")
        failpoints.reached("ingest.committed")
        return receipt

    async def _prove(self, advances: Mapping[str, Advance]) -> None:
        """Move the leases on to what is logged; raises Fenced where one is another writer's by now."""
        async for attempt in _trying():
            with attempt:
                async with self._database.begin() as connection:
                    await self._leases.advance(connection, advances)
                    failpoints.reached("ingest.before_commit")
                failpoints.reached("ingest.committed")

    async def _show(self, turns: Turns) -> None:
        """Have the windows, and whoever asks how a feed is, know what counts by now."""
        batches: dict[str, LoggedTicks] = {}
        for name, parts in turns.parts.items():
            after = turns.after[name]
            self._sources[name].logged_state = after.state
            for part in parts:
                self._spells[name].take(part)
            if ticks := [part for part in parts if not isinstance(part, FeedStateChange)]:
                batches[name] = LoggedTicks(after.epoch, joined(TICK, ticks))
        await self._windows.append_all(batches)
        for name, batch in batches.items():
            markers = int(np.count_nonzero(batch.ticks["flags"] & MARKER))
            self._metrics.markers.labels(name).inc(markers)
            self._metrics.ticks.labels(name).inc(len(batch.ticks) - markers)


def _trying() -> AsyncIterator[stamina.Attempt]:
    """Try something again while a server is away."""
    return stamina.retry_context(on=is_away, attempts=RETRY_ATTEMPTS, timeout=RETRY_SECONDS, wait_max=2.0)


def _together(items: Sequence[FeedItem]) -> Iterator[FeedItem]:
    """Yield ticks that queued one behind another as if they had come at once: to check them costs as much as one."""
    for named, run in groupby(items, lambda item: item.trade_ids is not None if isinstance(item, FeedTicks) else None):
        if named is None:
            yield from run
            continue
        fed = [item for item in run if isinstance(item, FeedTicks)]
        ids = [trade_id for one in fed for trade_id in one.trade_ids or ()]
        yield FeedTicks(joined(TICK, (one.ticks for one in fed)), ids if named else None)


def _count(item: FeedItem) -> int:
    return len(item.ticks) if isinstance(item, FeedTicks) else int(isinstance(item, FeedTime))
