"""Inboxes filled from records that the tests put on the bus, and a receiver that takes what is sent outside."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from algotrade.notification.build import build
from algotrade.platform.bus import Message
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.platform.topics import (
    FORWARD_TEST_EVENTS,
    STRATEGY_COMPILATIONS,
    STRATEGY_SIGNALS,
    TRADE_EXECUTIONS,
)
from algotrade.v1 import events_pb2
from algotrade.v1 import forward_test_service_pb2 as sessions
from algotrade.v1 import notification_service_pb2 as pb
from algotrade.v1.notification_service_pb2_grpc import NotificationServiceStub

PATIENCE = 30


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"channel_private_hosts": True, "delivery_seconds": 2.0, "database_pool_size": 8, "heartbeat_seconds": 5}
    )


@dataclass
class Trading:
    """A session whose records the tests write as the forward test would."""

    platform: Platform
    user_id: str
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    strategy_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sequence: int = 0

    def _event(self, kind: sessions.SessionEventKind.ValueType, sequence: int | None, **fields: Any) -> Any:
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        event = sessions.SessionEvent(sequence=sequence, kind=kind, side="long", **fields)
        event.event_time.seconds = 1_700_000_000 + sequence
        return {
            "session_id": self.session_id,
            "user_id": self.user_id,
            "symbol": "AAA",
            "strategy_id": self.strategy_id,
            "session_name": "mine",
            "event": event,
        }

    async def _say(self, topic: Any, message: Any, times: int = 1) -> None:
        record = Message(self.session_id, message.SerializeToString())
        await self.platform.bus.publish(topic, [record] * times)

    async def entry(self, sequence: int | None = None, times: int = 1) -> None:
        kind = sessions.SESSION_EVENT_KIND_ENTRY
        fields = self._event(kind, sequence, price="20", quantity="5", node_id="b")
        await self._say(TRADE_EXECUTIONS, events_pb2.TradeExecution(**fields), times)

    async def exit(self, reason: str = "sell") -> None:
        kind = sessions.SESSION_EVENT_KIND_EXIT
        fields = self._event(kind, None, price="30", quantity="5", pnl="50", reason=reason)
        await self._say(TRADE_EXECUTIONS, events_pb2.TradeExecution(**fields))

    async def rejection(self, node: str = "b", reason: str = "already_long", sequence: int | None = None) -> None:
        kind = sessions.SESSION_EVENT_KIND_REJECTION
        fields = self._event(kind, sequence, node_id=node, reason=reason)
        await self._say(STRATEGY_SIGNALS, events_pb2.StrategySignal(**fields))

    async def signal(self, kind: sessions.SessionEventKind.ValueType, reason: str) -> None:
        fields = self._event(kind, None, reason=reason)
        await self._say(STRATEGY_SIGNALS, events_pb2.StrategySignal(**fields))

    async def halt(self, reason: str = "trap") -> None:
        fields = self._event(sessions.SESSION_EVENT_KIND_HALT, None, reason=reason)
        await self._say(STRATEGY_SIGNALS, events_pb2.StrategySignal(**fields))

    async def notice(self, message: str) -> None:
        fields = self._event(sessions.SESSION_EVENT_KIND_NOTICE, None, node_id="n", reason=message)
        await self._say(STRATEGY_SIGNALS, events_pb2.StrategySignal(**fields))

    async def stopped(self) -> None:
        change = events_pb2.SessionStatusChange(
            status=sessions.SESSION_STATUS_STOPPED,
            last_sequence=self.sequence,
            strategy_id=self.strategy_id,
            session_name="mine",
            symbol="AAA",
        )
        message = events_pb2.ForwardTestEvent(session_id=self.session_id, user_id=self.user_id, status=change)
        await self._say(FORWARD_TEST_EVENTS, message)

    async def compiled(self, version: int, errors: int = 0) -> None:
        message = events_pb2.StrategyCompilation(
            strategy_id=self.strategy_id,
            user_id=self.user_id,
            strategy_name="drawing",
            version=version,
            artefact_hash="" if errors else "ab" * 32,
            errors=errors,
            first_finding="no such node" if errors else "",
        )
        await self._say(STRATEGY_COMPILATIONS, message)


@dataclass
class Reader:
    """A user with a stub."""

    user_id: str
    stub: Any

    async def page(self, **fields: Any) -> pb.ListNotificationsResponse:
        return await self.stub.ListNotifications(pb.ListNotificationsRequest(**fields))

    async def inbox(self, count: int) -> list[pb.Notification]:
        """Return the inbox, oldest first, once it holds so many."""
        async with asyncio.timeout(PATIENCE):
            stream = self.stream(0)
            found = {}
            async for message in stream:
                if message.HasField("notification"):
                    found[message.sequence] = message.notification
                if len(found) >= count:
                    break
            stream.cancel()
        return list(reversed((await self.page(page_size=500)).notifications))

    def stream(self, after: int | None = None) -> Any:
        return self.stub.StreamNotifications(pb.StreamNotificationsRequest(after_sequence=after))

    async def channel(self, url: str, **fields: Any) -> pb.Channel:
        request = pb.CreateChannelRequest(**{"name": "here", "url": url, **fields})
        return (await self.stub.CreateChannel(request)).channel

    async def rule(self, channel: pb.Channel, **choice: Any) -> pb.Rule:
        request = pb.CreateRuleRequest(channel_id=channel.channel_id, choice=pb.RuleChoice(**choice))
        return (await self.stub.CreateRule(request)).rule

    async def deliveries(self, *states: pb.DeliveryState.ValueType) -> list[pb.Delivery]:
        """Return the deliveries, newest first, once they stand like this."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = list((await self.stub.ListDeliveries(pb.ListDeliveriesRequest())).deliveries)
                if [one.state for one in found] == list(states):
                    return found


@pytest.fixture
async def server(serve: Any) -> Any:
    return await serve(build)


@pytest.fixture
def reader(connect: Any, open_account: Callable[..., Awaitable[str]], server: Any) -> Any:
    """Return ``await reader()``: a new user with a stub; ``on`` names another server."""

    async def make(user_id: str | None = None, on: Any = None) -> Reader:
        user_id = user_id or await open_account()
        return Reader(user_id, NotificationServiceStub(connect(on or server, user_id)))

    return make


@pytest.fixture
def trading(platform: Platform) -> Callable[[Reader], Trading]:
    """Return ``trading(reader)``: a session of a user's."""
    return lambda reader: Trading(platform, reader.user_id)


class Receiver:
    """A server that takes what is sent outside, or answers what it is told to."""

    def __init__(self) -> None:
        self.taken: Queue[dict[str, Any]] = Queue()
        self.answers: list[int | str] = []  # status, or where to redirect; 200 when there is none
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                receiver.taken.put({"path": self.path, "answered": answer, **body})
                self.send_response(307 if isinstance(answer, str) else answer)
                if isinstance(answer, str):
                    self.send_header("location", answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"json://127.0.0.1:{self.port}/hook/s3cret"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    async def next(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.taken.get, timeout=PATIENCE)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()
