"""What passes over the bus for those who watch, in this process: read once, handed to every screen that shows it.

A screen gets events in the order of the log, up to a bound; of all else only the newest is kept for it. Where the hub
is in the log when a screen joins is known, so the screen can read what came before by itself, without a hole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from algotrade.engine import fixed
from algotrade.engine.records import MARKER
from algotrade.platform import limits
from algotrade.platform.background import together
from algotrade.platform.bus import Bus, Message, OffsetOutOfRange, Record
from algotrade.platform.caller import TRACEPARENT_KEY
from algotrade.platform.log import logger
from algotrade.platform.ticks import FeedReader
from algotrade.platform.topics import (
    FORWARD_TEST_EVENTS,
    MARKET_DATA_UPDATES,
    REALTIME_UPDATES,
    STRATEGY_SIGNALS,
    TRADE_EXECUTIONS,
    Topic,
)
from algotrade.v1 import events_pb2, types_pb2
from algotrade.v1 import realtime_service_pb2 as pb

log = logger(__name__)

LOGGED: Final = (TRADE_EXECUTIONS, STRATEGY_SIGNALS, FORWARD_TEST_EVENTS)
PLACES: Final = tuple((topic.name, partition) for topic in LOGGED for partition in range(topic.partitions))
RENEW_SECONDS: Final = 5.0  # so often it is said who watches; the forward test forgets it after some times as long
RETRY_SECONDS: Final = 1.0

Place = tuple[str, int]  # topic and partition
Change = pb.SessionEventUpdate | pb.SessionUpdate


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event of a session that a screen is to show, and where in the log it is; ``cause``: in whose trace."""

    place: Place
    offset: int
    update: pb.SessionEventUpdate
    cause: str = ""


@dataclass(slots=True, eq=False)
class Screen:
    """What one stream shows, and what has come for it since it last looked. No session_ids: all of the user's."""

    user_id: str
    session_ids: frozenset[str] | None
    symbols: frozenset[str]
    news: asyncio.Event = field(default_factory=asyncio.Event)
    events: deque[Waiting] = field(default_factory=deque)
    sessions: dict[str, pb.SessionUpdate] = field(default_factory=dict)
    prices: dict[str, pb.SymbolUpdate] = field(default_factory=dict)
    overrun: bool = False

    @property
    def of_sessions(self) -> bool:
        """Whether it shows any sessions."""
        return self.session_ids is None or bool(self.session_ids)

    def offer(self, user_id: str, change: Change, record: Record) -> None:
        """Keep a change of a session, of which a record tells, if it is shown."""
        if user_id != self.user_id or not (self.session_ids is None or change.session_id in self.session_ids):
            return
        if isinstance(change, pb.SessionUpdate):
            newest = pb.SessionUpdate()
            newest.CopyFrom(self.sessions.get(change.session_id, newest))
            newest.MergeFrom(change)
            self.sessions[change.session_id] = newest
        elif len(self.events) >= limits.MAX_EVENTS_A_SCREEN:
            self.overrun = True
        else:
            cause = record.headers.get(TRACEPARENT_KEY, "")
            self.events.append(Waiting((record.topic, record.partition), record.offset, change, cause))
        self.news.set()


class Hub:
    """Reads the topics of one process for all its screens."""

    def __init__(self, bus: Bus) -> None:
        """Begin with no screens."""
        self._bus = bus
        self._screens: dict[str, set[Screen]] = {}
        self._symbols: dict[str, set[Screen]] = {}
        self._feeds: dict[str, FeedReader] = {}
        self._states: dict[str, types_pb2.FeedState.ValueType] = {}
        self._watched = asyncio.Event()
        self._joined = asyncio.Event()
        self.places: dict[Place, int] = {}
        self.ready = asyncio.Event()  # the place of every partition is known
        self.failure: BaseException | None = None  # why a topic is not read just now

    @contextmanager
    def showing(self, screen: Screen) -> Iterator[None]:
        """Hand a screen what comes while the context is open."""
        if screen.of_sessions:
            self._screens.setdefault(screen.user_id, set()).add(screen)
            self._joined.set()
        for symbol in screen.symbols:
            self._symbols.setdefault(symbol, set()).add(screen)
            self._watched.set()
        try:
            yield
        finally:
            _leave(self._screens, screen.user_id, screen)
            for symbol in screen.symbols:
                _leave(self._symbols, symbol, screen)

    async def run(self) -> None:
        """Read for ever."""
        following = (self._follow(topic) for topic in (*LOGGED, REALTIME_UPDATES))
        await together(*following, self._ticks(), self._say_who_watches())

    async def _follow(self, topic: Topic) -> None:
        while True:
            try:
                places = {p: self.places.get((topic.name, p), -1) for p in range(topic.partitions)}
                if min(places.values()) < 0:
                    for partition, end in (await self._bus.ends(topic)).items():
                        places[partition] = self.places.setdefault((topic.name, partition), end)
                if all(place in self.places for place in PLACES):
                    self.ready.set()
                self.failure = None
                async with aclosing(self._bus.subscribe(topic, places, limits.MAX_READ_RECORDS)) as batches:
                    async for records in batches:
                        self._hand_on(topic, records)
            except OffsetOutOfRange as error:  # it has been away for longer than the log keeps
                log.error("hub.place_lost", topic=topic.name, error=str(error))  # noqa: TRY400
                for partition in range(topic.partitions):
                    self.places.pop((topic.name, partition), None)
                for screens in self._screens.values():
                    for screen in screens:
                        screen.overrun = True
                        screen.news.set()
            except Exception as error:
                self.failure = error
                log.warning("hub.failed", topic=topic.name, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def _hand_on(self, topic: Topic, records: Sequence[Record]) -> None:
        for record in records:
            if self._screens:
                for user_id, change in changes_of(topic, record.payload):
                    for screen in self._screens.get(user_id, ()):
                        screen.offer(user_id, change, record)
            self.places[record.topic, record.partition] = record.offset + 1

    async def _ticks(self) -> None:
        while True:
            await self._watched.wait()
            self._watched.clear()
            try:
                topic = MARKET_DATA_UPDATES
                ends = await self._bus.ends(topic)
                async with aclosing(self._bus.subscribe(topic, ends, limits.MAX_READ_RECORDS)) as batches:
                    async for records in batches:
                        for record in records:
                            if record.key in self._symbols:
                                self._tick(record)
                        if not self._symbols:
                            self._feeds.clear()
                            break
            except Exception as error:
                log.warning("hub.failed", topic=MARKET_DATA_UPDATES.name, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                self._watched.set()

    def _tick(self, record: Record) -> None:
        try:
            update = events_pb2.MarketDataUpdate.FromString(record.payload)
            ticks = self._feeds.setdefault(record.key, FeedReader()).take(update)
        except (DecodeError, ValueError):
            return  # market data's own readers tell of it
        told = pb.SymbolUpdate(symbol=record.key)
        if update.HasField("feed_state"):
            self._states[record.key] = update.feed_state.state
        if len(ticks):
            told.last_sequence = int(ticks["seq"][-1])
        priced = ticks[(ticks["flags"] & MARKER) == 0]
        if len(priced):
            told.last_price = fixed.text(int(priced["price"][-1]))
            told.event_time.FromNanoseconds(int(priced["ts"][-1]))
        told.feed_state = self._states.get(record.key, types_pb2.FEED_STATE_LIVE)
        for screen in self._symbols[record.key]:
            newest = screen.prices.setdefault(record.key, pb.SymbolUpdate())
            newest.MergeFrom(told)
            screen.news.set()

    async def _say_who_watches(self) -> None:
        while True:
            self._joined.clear()
            users = sorted(self._screens)
            if users:
                messages = [Message(user_id, _interest(user_id)) for user_id in users[: limits.MAX_READ_RECORDS]]
                try:
                    await self._bus.publish(REALTIME_UPDATES, messages)
                except Exception as error:
                    log.warning("hub.not_told", error=type(error).__name__)
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._joined.wait()
            except TimeoutError:
                pass


def changes_of(topic: Topic, payload: bytes) -> Iterator[tuple[str, Change]]:
    """Yield what a record changes, each with its owner; nothing where it cannot be read, which others tell of."""
    try:
        if topic is TRADE_EXECUTIONS or topic is STRATEGY_SIGNALS:
            kind = events_pb2.TradeExecution if topic is TRADE_EXECUTIONS else events_pb2.StrategySignal
            told = kind.FromString(payload)
            yield told.user_id, pb.SessionEventUpdate(session_id=told.session_id, event=told.event)
        elif topic is FORWARD_TEST_EVENTS:
            moved = events_pb2.ForwardTestEvent.FromString(payload)
            if moved.HasField("status"):
                status = moved.status
                update = pb.SessionUpdate(
                    session_id=moved.session_id, status=status.status, halt_reason=status.halt_reason
                )
                yield moved.user_id, update
        else:
            for mark in events_pb2.RealtimeUpdate.FromString(payload).marks.marks:
                value = pb.SessionValue(
                    mark=mark.mark, cash=mark.cash, quantity=mark.quantity, realized_pnl=mark.realized_pnl
                )
                yield mark.user_id, pb.SessionUpdate(session_id=mark.session_id, status=mark.status, value=value)
    except DecodeError:
        return


def _interest(user_id: str) -> bytes:
    update = events_pb2.RealtimeUpdate(interest=events_pb2.RealtimeInterest(user_id=user_id))
    return update.SerializeToString()


def _leave(screens: dict[str, set[Screen]], key: str, screen: Screen) -> None:
    if key in screens:
        screens[key].discard(screen)
        if not screens[key]:
            del screens[key]
