"""Shows the demo while it runs, and judges it at its end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from rich.live import Live

from algotrade.cli import board
from algotrade.cli.announce import Announcer
from algotrade.cli.demo import EMAIL, Demo, DemoSession
from algotrade.cli.watch import SessionFill, Watched, follow
from algotrade.engine import fixed
from algotrade.platform import log
from algotrade.platform.settings import Settings
from algotrade.v1 import forward_test_service_pb2 as forward

REDRAW_SECONDS: Final = 0.25
STATUS_SECONDS: Final = 5.0
FILLS_SHOWN: Final = 8
_STOPPED: Final = (forward.SESSION_STATUS_STOPPING, forward.SESSION_STATUS_STOPPED)


class Errors(Protocol):
    """Knows how many errors were logged."""

    @property
    def count(self) -> int:
        """How many so far."""
        ...


class ErrorCount(logging.Handler):
    """Counts what the platform logs as an error: a demo that hides one has not gone well."""

    def __init__(self) -> None:
        """Count from nothing."""
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.count += 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the demo went: nothing in `failures` means well."""

    watched: Sequence[Watched]
    failures: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, money as decimals."""
        return {
            "ok": not self.failures,
            "failures": list(self.failures),
            "sessions": [
                {
                    "session_id": one.session.session_id,
                    "strategy": one.of.title,
                    "artefact": one.session.artefact_hash,
                    "symbol": one.session.symbol,
                    "feed": one.of.feed,
                    "interval": one.session.settings.interval,
                    "status": forward.SessionStatus.Name(one.session.status).removeprefix("SESSION_STATUS_"),
                    "last_price": fixed.text(one.last_price),
                    "quantity": fixed.text(one.quantity),
                    "equity": fixed.text(one.equity),
                    "pnl": fixed.text(one.pnl),
                    "bars": one.bars,
                    "trades": one.trades,
                    "fills": one.fills,
                    "rejections": one.rejections,
                }
                for one in self.watched
            ],
        }


@contextmanager
def log_to(settings: Settings, file: Path | None) -> Iterator[ErrorCount]:
    """Log into a file, or to stderr where none is given, and count errors."""
    errors = ErrorCount()
    with ExitStack() as stack:
        stream = None
        if file is not None:
            stream = stack.enter_context(file.open("a", encoding="utf-8", buffering=1))
        log.configure(settings, stream)
        logging.getLogger().addHandler(errors)
        stack.callback(log.configure, settings)  # what is logged after the file is closed
        yield errors


async def show_demo(
    settings: Settings, stop: asyncio.Event, seconds: float | None, announce: Announcer, errors: Errors
) -> bool:
    """Set the demo up, show it until told to stop or time is up, and tell whether it went well."""
    password_file = settings.data_dir / "demo" / "password"
    demo = Demo(settings.gateway_address, password_file)
    try:
        sessions = await demo.set_up()
        announce.paste(settings, password_file, EMAIL, sessions[0].session)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, stop.set)
        async with demo.account.kept_logged_in():
            watched = await watch(demo, sessions, stop, announce)
        # Who stops it by hand may do so before there was anything to buy.
        verdict = await judge(demo, watched, errors, must_trade=seconds is not None)
    finally:
        await demo.close()
    announce.event("summary", **verdict.as_json())
    announce.verdict(board.table(watched), verdict.failures, traded=not idle_feeds(watched))
    return not verdict.failures


async def watch(
    demo: Demo, sessions: Sequence[DemoSession], stop: asyncio.Event, announce: Announcer
) -> Sequence[Watched]:
    """Follow the sessions and show them until told to stop."""
    watched = [Watched(session) for session in sessions]
    fills: deque[SessionFill] = deque(maxlen=FILLS_SHOWN)
    live = announce.console.is_terminal and not announce.as_json

    def tell(fill: SessionFill) -> None:
        fills.append(fill)
        if not live:
            announce.line(board.fill_line(fill))

    async with _following(demo, watched, tell):
        if live:
            await _redraw(watched, fills, stop, announce)
        else:
            while not await _stops(stop, STATUS_SECONDS):
                for one in watched:
                    announce.line(board.status_line(one))
    return watched


async def judge(demo: Demo, watched: Sequence[Watched], errors: Errors, *, must_trade: bool) -> Verdict:
    """Ask once more how everything is, and say what is wrong; idle sessions are only where they had time to trade."""
    found = [await _failure(demo, one, must_tick=must_trade and one.of.live) for one in watched]
    failures = [failure for failure in found if failure]
    if must_trade:
        failures += [f"no order was filled on the {feed} feed" for feed in idle_feeds(watched)]
    failures += await demo.ill()
    if errors.count:
        failures.append(f"{errors.count} error(s) in the log")
    return Verdict(watched, failures)


def idle_feeds(watched: Sequence[Watched]) -> list[str]:
    """Return the feeds on which no order was ever filled."""
    feeds = dict.fromkeys(one.of.feed for one in watched)
    return [feed for feed in feeds if not any(one.has_traded for one in watched if one.of.feed == feed)]


async def _failure(demo: Demo, watched: Watched, *, must_tick: bool) -> str:
    name = f"{watched.of.title} on {watched.session.symbol}"
    if watched.failure:
        return f"{name}: {watched.failure}"
    before = watched.of.session
    try:
        now = await demo.session(before.session_id)
    except grpc.aio.AioRpcError as error:
        return f"{name}: {error.code().name}: {error.details()}"
    watched.session = now  # its amounts are those of the last checkpoint: the stream's are newer
    if now.status in _STOPPED:  # by somebody who may
        return ""
    if now.status != forward.SESSION_STATUS_RUNNING:
        return f"{name}: {forward.SessionStatus.Name(now.status)} {now.halt_reason}".rstrip()
    if must_tick and now.last_tick_sequence <= before.last_tick_sequence:
        return f"{name}: no tick has reached it"
    return ""


@asynccontextmanager
async def _following(demo: Demo, watched: Sequence[Watched], tell: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(follow(one, demo.forward_test, tell)) for one in watched]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _redraw(
    watched: Sequence[Watched], fills: deque[SessionFill], stop: asyncio.Event, announce: Announcer
) -> None:
    footer = "Ctrl-C stops it; the sessions go on when it is started again."
    with Live(console=announce.console, auto_refresh=False, transient=True) as live:
        while not await _stops(stop, REDRAW_SECONDS):
            live.update(board.picture(watched, fills, footer), refresh=True)


async def _stops(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so long for the end; tell whether it has come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
