"""Clients that follow a stream to its end, and come back from their cursor whenever it is cut."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.platform.errors import info
from algotrade.v1 import backtest_service_pb2 as backtest
from algotrade.v1 import forward_test_service_pb2 as sessions
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import notification_service_pb2 as notification
from algotrade.v1 import realtime_service_pb2 as realtime
from algotrade.v1.backtest_service_pb2_grpc import BacktestServiceStub
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from algotrade.v1.notification_service_pb2_grpc import NotificationServiceStub
from algotrade.v1.realtime_service_pb2_grpc import RealtimeServiceStub

PASSING: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
RETRY_SECONDS: Final = 0.1
PATIENCE: Final = 90.0

Open = Callable[[Any, str, Any], Any]  # a stub class, a method and a request: the running call


def passes(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a client should ask again: the platform is away, or the connection was cut.

    What a service says carries a reason; an error without one comes of the transport, such as the INTERNAL of a stream
    that Envoy resets because the service behind it has gone. Who is told that it was too slow may come back.
    """
    return error.code() in PASSING or info(error).reason in ("", "CONSUMER_TOO_SLOW")


@dataclass(eq=False)
class Follower:
    """Reads one stream. Kinds of it know how to ask from a cursor, and what to hold of a message."""

    name: str
    call: Open
    note: Callable[[float], None] = lambda opened: None  # of a call's first news, when the call was opened
    seen: int = 0
    opened: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ended: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # a first message has come
    running: Any = None  # the call

    def ask(self) -> Any:
        """Return a call that goes on from the cursor."""
        raise NotImplementedError

    def take(self, message: Any) -> bool:
        """Take a message; tell whether it brought news."""
        raise NotImplementedError

    async def run(self) -> None:
        """Follow until the stream ends in order, or says what no coming back could mend."""
        while not self.ended:
            opened, news = time.monotonic(), False
            self.opened += 1
            self.running = self.ask()
            try:
                async for message in self.running:
                    self.begun.set()
                    if self.take(message) and not news:
                        news = True
                        self.note(opened)
                self.ended = True
            except asyncio.CancelledError:
                if not self.running.cancelled():
                    raise
                self.cuts["by itself"] += 1
            except grpc.aio.AioRpcError as error:
                self.cuts[f"{error.code().name} {info(error).reason}".strip()] += 1
                if not passes(error):
                    self.wrong.append(f"{self.name}: {error.code().name} {error.details()}")
                    return
                await asyncio.sleep(RETRY_SECONDS)

    async def reach(self, count: float) -> None:
        """Return once it has seen so much or has ended, or after long: who calls looks at what it saw."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.seen < count and not self.ended and not self.wrong:
                    await asyncio.sleep(0.05)

    def cut(self) -> None:
        """Leave, and come back."""
        if self.running is not None:
            self.running.cancel()


@dataclass(eq=False)
class Numbered(Follower):
    """What it follows is numbered 1, 2, 3 …; each number comes once, in order."""

    last: int = 0

    def count(self, numbers: Sequence[int]) -> bool:
        """Take numbers."""
        for number in numbers:
            if number != self.last + 1:
                self.wrong.append(f"{self.name}: {number} after {self.last}")
            self.last = number
            self.seen += 1
        return bool(numbers)


@dataclass(eq=False)
class SessionFollower(Numbered):
    """StreamSession from its first event on."""

    session_id: str = ""

    def ask(self) -> Any:
        request = sessions.StreamSessionRequest(session_id=self.session_id, after_sequence=self.last)
        return self.call(ForwardTestServiceStub, "StreamSession", request)

    def take(self, message: Any) -> bool:
        return self.count([message.event.sequence] if message.HasField("event") else [])


@dataclass(eq=False)
class TickFollower(Numbered):
    """StreamTicks from the oldest tick on."""

    symbol: str = ""

    def ask(self) -> Any:
        request = market.StreamTicksRequest(symbol=self.symbol, after_sequence=self.last)
        return self.call(MarketDataServiceStub, "StreamTicks", request)

    def take(self, message: Any) -> bool:
        first = message.ticks.first_sequence
        return self.count(range(first, first + len(message.ticks.times_nanos)))


@dataclass(eq=False)
class InboxFollower(Numbered):
    """StreamNotifications from the oldest on."""

    def ask(self) -> Any:
        request = notification.StreamNotificationsRequest(after_sequence=self.last)
        return self.call(NotificationServiceStub, "StreamNotifications", request)

    def take(self, message: Any) -> bool:
        return self.count([message.sequence] if message.HasField("notification") else [])


@dataclass(eq=False)
class BarFollower(Follower):
    """StreamBars from the oldest bar on; bars come once, in order of time."""

    symbol: str = ""
    interval: str = "5s"
    last_ns: int = 0
    bars: list[Any] = field(default_factory=list)

    def ask(self) -> Any:
        after = Timestamp(seconds=self.last_ns // 10**9, nanos=self.last_ns % 10**9)
        request = market.StreamBarsRequest(symbol=self.symbol, interval=self.interval, after_time=after)
        return self.call(MarketDataServiceStub, "StreamBars", request)

    def take(self, message: Any) -> bool:
        for bar in message.bars.bars:
            start_ns = bar.start_time.ToNanoseconds()
            if start_ns <= self.last_ns:
                self.wrong.append(f"{self.name}: the bar of {start_ns} after that of {self.last_ns}")
            self.last_ns = start_ns
            self.bars.append(bar)
            self.seen += 1
        return bool(message.bars.bars)


@dataclass(eq=False)
class ScreenFollower(Follower):
    """StreamUpdates over all sessions and the inbox; opened before anything is, so that it brings every event there is.

    Where more waits than a screen takes, a snapshot comes in its place: that covers what it leaves out.
    """

    cursor: str | None = None
    snapshots: int = 0
    events: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    covered: dict[str, int] = field(
        default_factory=lambda: defaultdict(int)
    )  # by the newest snapshot, up to this event
    notifications: list[int] = field(default_factory=list)
    _gap: bool = False  # a snapshot has just covered notifications too

    def ask(self) -> Any:
        request = realtime.StreamUpdatesRequest(all_sessions=True, notifications=True, cursor=self.cursor)
        return self.call(RealtimeServiceStub, "StreamUpdates", request)

    def take(self, message: Any) -> bool:
        self.cursor = message.cursor
        self.snapshots += message.HasField("snapshot")
        for session in message.snapshot.sessions:
            self.covered[session.session_id] = session.last_sequence
        changes = message.changes
        for event in changes.events:
            self.events[event.session_id].append(event.event.sequence)
        self._gap |= message.HasField("snapshot")
        for one in changes.notifications:
            last = self.notifications[-1] if self.notifications else 0
            if one.sequence != last + 1 and not (self._gap and one.sequence > last):
                self.wrong.append(f"{self.name}: notification {one.sequence} after {last}")
            self.notifications.append(one.sequence)
            self._gap = False
        self.seen += len(changes.events) + len(changes.notifications)
        return bool(changes.events)

    def once(self, session_id: str, last: int) -> bool:
        """Tell whether each event up to one came once, or is covered and did not come."""
        return self.whole(session_id, last) and not self.again(session_id)

    def whole(self, session_id: str, last: int) -> bool:
        """Tell whether each event up to one came, or is covered."""
        missing = set(range(1, last + 1)).difference(self.events[session_id])
        return all(number <= self.covered[session_id] for number in missing)

    def again(self, session_id: str) -> int:
        """Return how many events came that had come before."""
        return len(self.events[session_id]) - len(set(self.events[session_id]))


@dataclass(eq=False)
class RunFollower(Follower):
    """WatchBacktest: how far it is only rises, and the last message is how it ended."""

    backtest_id: str = ""
    last: int | None = None
    state: int = 0

    def ask(self) -> Any:
        request = backtest.WatchBacktestRequest(backtest_id=self.backtest_id, after_sequence=self.last)
        return self.call(BacktestServiceStub, "WatchBacktest", request)

    def take(self, message: Any) -> bool:
        if message.HasField("heartbeat"):
            return False
        if self.last is not None and message.sequence <= self.last:
            self.wrong.append(f"{self.name}: {message.sequence} after {self.last}")
        self.last = message.sequence
        self.state = message.snapshot.state or self.state
        self.seen += 1
        return True
