"""One WebSocket to a venue, kept open: what it says is passed on, what is wanted is asked for.

It tries again for as long as it runs, less and less often until trades or heartbeats come, so that a venue that takes
connections and drops them is not stormed. 429 waits as long as the venue asks; 401 and 403 end it: a key that is
refused once is refused again. A connection on which nothing at all arrives for a while is taken for dead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from algotrade.market_data.venues.pace import Backoff, Pace
from algotrade.market_data.venues.said import Beat, Complaint, Said, Trades
from algotrade.market_data.venues.venue import BadFrameError, Dialect, VenueError, VenueRefused
from algotrade.platform import limits
from algotrade.platform.background import end
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.settings import LOOPBACK

log = logger(__name__)

OPEN_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
_QUIET: Final = logging.getLogger("algotrade.venue.websocket")  # it would tell of URLs, which hold tokens
_QUIET.setLevel(logging.WARNING)
_REFUSED: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """How patient a connection is; seconds."""

    silence_seconds: float = 10.0  # nothing for so long, and it is dead
    backoff_seconds: float = 0.5
    most_backoff_seconds: float = 30.0
    messages_a_second: float = 8.0


class Connection:
    """Kept open while `run` runs."""

    def __init__(
        self,
        venue: str,
        dialect: Callable[[], Dialect],
        rules: ConnectionRules,
        metrics: Metrics,
        *,
        said: Callable[[Said], Awaitable[None]],
        up: Callable[[str], Awaitable[None]],
        down: Callable[[str], Awaitable[None]],
    ) -> None:
        """Take how the venue speaks, anew for each connection, and whom to tell of frames, symbols asked for, ends."""
        self._venue = venue
        self._dialect = dialect
        self._rules = rules
        self._metrics = metrics
        self._said, self._up, self._down = said, up, down
        self._wanted: dict[str, None] = {}
        self._changed = asyncio.Event()
        self._backoff = Backoff(rules.backoff_seconds, rules.most_backoff_seconds)
        self._pace = Pace(rules.messages_a_second)
        self._heard_at: float | None = None
        self.connected = False
        metrics.venue_last_frame_seconds.labels(venue).set_function(self._silent_seconds)

    def want(self, symbol: str) -> None:
        """Ask for a symbol, now and after every reconnect."""
        self._wanted[symbol] = None
        self._changed.set()

    def unwant(self, symbol: str) -> None:
        """Ask for a symbol no longer."""
        self._wanted.pop(symbol, None)
        self._changed.set()

    async def run(self) -> None:
        """Connect, and connect again, for ever. VenueRefused where that makes no sense."""
        while True:
            cause, pause = await self._once()
            self._metrics.venue_reconnects.labels(self._venue, cause.partition(":")[0]).inc()
            await self._down(cause)
            seconds = max(self._backoff.next_seconds(), pause)
            log.warning("venue.disconnected", venue=self._venue, cause=cause, again_in_seconds=round(seconds, 2))
            await asyncio.sleep(seconds)

    async def _once(self) -> tuple[str, float]:
        """Be connected once; return why it ended, and how long the venue asks to be left alone."""
        try:
            return await self._talk(), 0.0
        except VenueError as error:
            return str(error), min(error.retry_after_seconds or 0.0, limits.MAX_RETRY_AFTER_SECONDS)
        finally:
            self.connected = False
            self._metrics.venue_connected.labels(self._venue).set(0)

    def _is_connected(self) -> None:
        self.connected, self._heard_at = True, time.monotonic()
        self._metrics.venue_connected.labels(self._venue).set(1)
        log.info("venue.connected", venue=self._venue)

    async def _talk(self) -> str:
        dialect = self._dialect()
        ws = await _opened(dialect.url)
        self._is_connected()
        helpers = [asyncio.create_task(self._ask(ws, dialect)), asyncio.create_task(self._watch(ws))]
        try:
            await self._listen(ws, dialect)
        except ConnectionClosed as closed:
            if helpers[1].done():
                return "silent: nothing came for too long"
            return f"closed: {closed.rcvd.code if closed.rcvd else 'without a word'}"
        finally:
            await end(*helpers)
            ws.transport.abort()
        return "closed: by the venue"

    async def _listen(self, ws: ClientConnection, dialect: Dialect) -> None:
        while True:
            frame = await ws.recv()
            self._heard_at = time.monotonic()
            try:
                found = dialect.read(frame)
            except BadFrameError as error:
                self._metrics.venue_rejected.labels(self._venue, "bad_frame").inc()
                log.warning("venue.bad_frame", venue=self._venue, error=str(error))
                continue
            for said in found:
                if isinstance(said, Complaint):
                    self._metrics.venue_rejected.labels(self._venue, "complaint").inc()
                    log.error("venue.complains", venue=self._venue, reason=said.reason[:500])
                    continue
                if isinstance(said, Beat) or (isinstance(said, Trades) and not said.snapshot):
                    self._backoff.reset()
                await self._said(said)

    async def _ask(self, ws: ClientConnection, dialect: Dialect) -> None:
        """Ask for what is wanted and not yet asked for, in as few frames as may be, at the venue's pace."""
        asked: dict[str, None] = {}
        with suppress(ConnectionClosed):
            for frame in dialect.opening:
                await self._pace.turn()
                await ws.send(frame)
            while True:
                self._changed.clear()
                fresh = [symbol for symbol in self._wanted if symbol not in asked]
                gone = [symbol for symbol in asked if symbol not in self._wanted]
                frames = [*(dialect.unsubscribe(gone) if gone else ()), *(dialect.subscribe(fresh) if fresh else ())]
                for frame in frames:
                    await self._pace.turn()
                    await ws.send(frame)
                asked = {symbol: None for symbol in asked if symbol not in gone} | dict.fromkeys(fresh)
                for symbol in fresh:
                    await self._up(symbol)
                await self._changed.wait()

    async def _watch(self, ws: ClientConnection) -> None:
        """Return, with the connection torn down, when nothing has come for too long."""
        while (left := self._rules.silence_seconds - self._silent_seconds()) > 0:  # noqa: ASYNC110  (no event says that nothing happens)
            await asyncio.sleep(left)
        ws.transport.abort()

    def _silent_seconds(self) -> float:
        return 0.0 if self._heard_at is None else time.monotonic() - self._heard_at


async def _opened(url: str) -> ClientConnection:
    local = urlsplit(url).hostname in LOOPBACK  # no proxy stands between
    try:
        return await connect(
            url,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            logger=_QUIET,
            max_size=limits.MAX_VENUE_FRAME_BYTES,
            compression=None,  # trades are short: the time it takes is worth more than the bytes
            proxy=None if local else True,
        )
    except InvalidStatus as error:
        code = error.response.status_code
        if code in _REFUSED:
            raise VenueRefused(f"the venue answers {code}") from None
        raise VenueError(
            f"status {code}: at the handshake", _seconds(error.response.headers.get("Retry-After"))
        ) from error
    except InvalidURI:
        raise VenueRefused("its URL is none") from None  # which may hold a token
    except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
        raise VenueError(f"unreachable: {type(error).__name__}") from error


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
