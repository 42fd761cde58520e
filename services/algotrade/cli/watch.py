"""Follows a session's stream and keeps what a table shows of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from algotrade.cli.demo import ENDED, DemoSession
from algotrade.engine import fixed
from algotrade.platform.errors import info
from algotrade.v1 import forward_test_service_pb2 as forward

FILLS: Final = (forward.SESSION_EVENT_KIND_ENTRY, forward.SESSION_EVENT_KIND_EXIT)
RECONNECTS: Final = 10
RECONNECT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class SessionFill:
    """A fill and whose it is."""

    of: DemoSession
    event: forward.SessionEvent

    @property
    def buys(self) -> bool:
        """Whether it bought: into a long or out of a short."""
        return (self.event.kind == forward.SESSION_EVENT_KIND_ENTRY) == (self.event.side != "short")


@dataclass
class Watched:
    """A session as its stream tells it. Amounts are integers in units of 1e-8."""

    of: DemoSession
    session: forward.Session = field(init=False)
    last_price: int = 0
    equity: int = 0
    quantity: int = 0
    bars: int = 0
    trades: int = 0
    fills: int = 0  # since watching began
    marks: int = 0
    rejections: int = 0
    halted: str = ""
    failure: str = ""

    def __post_init__(self) -> None:
        """Begin with what was known before the stream."""
        self.cursor = self.of.session.last_sequence
        self.show(self.of.session)

    @property
    def pnl(self) -> int:
        """Equity less the money it began with."""
        return self.equity - fixed.parse(self.session.settings.initial_cash)

    @property
    def has_traded(self) -> bool:
        """Whether an order of it was ever filled."""
        return bool(self.fills or self.trades or self.quantity)

    def take(self, message: forward.StreamSessionResponse) -> SessionFill | None:
        """Follow one message; return the fill that it tells of, if any."""
        kind = message.WhichOneof("payload")
        if kind == "snapshot":
            self.show(message.snapshot)
        elif kind == "mark":
            self.marks += 1
            self.last_price, self.equity = fixed.parse(message.mark.last_price), fixed.parse(message.mark.equity)
            self.bars = message.mark.bars
        elif kind == "event":
            self.cursor = message.event.sequence
            return self._event(message.event)
        return None

    def show(self, session: forward.Session) -> None:
        """Take a session as it was answered."""
        self.session = session
        self.last_price, self.equity = fixed.parse(session.last_price), fixed.parse(session.equity)
        self.quantity, self.bars, self.trades = fixed.parse(session.quantity), session.bars, session.total_trades
        self.halted = session.halt_reason

    def _event(self, event: forward.SessionEvent) -> SessionFill | None:
        if event.kind == forward.SESSION_EVENT_KIND_REJECTION:
            self.rejections += 1
        elif event.kind == forward.SESSION_EVENT_KIND_HALT:
            self.halted = event.reason
        if event.kind not in FILLS:
            return None
        self.fills += 1
        fill = SessionFill(self.of, event)
        if event.sequence > self.session.last_sequence:  # what came before is in the snapshot
            quantity = fixed.parse(event.quantity)
            self.quantity += quantity if fill.buys else -quantity
            self.trades += event.kind == forward.SESSION_EVENT_KIND_EXIT
        return fill


async def follow(watched: Watched, stub: Any, tell: Callable[[SessionFill], None]) -> None:
    """Follow a session until cancelled, over interruptions; what cannot be gone on from is its `failure`."""
    left = RECONNECTS
    while True:
        request = forward.StreamSessionRequest(session_id=watched.of.session.session_id, after_sequence=watched.cursor)
        try:
            async for message in stub.StreamSession(request):
                left = RECONNECTS
                if (fill := watched.take(message)) is not None:
                    tell(fill)
        except grpc.aio.AioRpcError as error:
            if not _may_go_on(error) or not left:
                watched.failure = f"its stream ended: {error.code().name}: {error.details()}"
                return
        if watched.session.status in ENDED:
            return
        left -= 1
        await asyncio.sleep(RECONNECT_SECONDS)


def _may_go_on(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether the stream can be opened again: its server went away, or its token's time was over."""
    return error.code() == grpc.StatusCode.UNAVAILABLE or info(error).reason == "TOKEN_EXPIRED"
