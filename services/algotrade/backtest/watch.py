"""Follow one run until it ends. Nothing is queued for a reader: it gets what is current when it comes to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from algotrade.backtest.news import News
from algotrade.backtest.store import State
from algotrade.platform.errors import OutOfRange


class Watched(Protocol):
    """Something with a state and a cursor that rises with all that happens to it."""

    @property
    def state(self) -> State:
        """Where it stands."""
        ...

    @property
    def sequence(self) -> int:
        """How far it is."""
        ...

    @property
    def last_sequence(self) -> int:
        """The greatest sequence that anybody can have been told by now."""
        ...


W = TypeVar("W", bound=Watched)


@dataclass(frozen=True, slots=True)
class Item(Generic[W]):
    """A message of the stream: what is watched, whole where its state is news; None where nothing came for a while."""

    sequence: int
    found: W | None
    whole: bool = False


class Watcher(Generic[W]):
    """Makes the streams of one process."""

    def __init__(
        self,
        find: Callable[[str, str], Awaitable[W]],
        news: News,
        *,
        heartbeat_seconds: float,
        poll_seconds: float,
    ) -> None:
        """Take who finds a user's thing by its id, how long silence may be, and how often to look elsewhere.

        ``find`` raises NotFound for a thing of somebody else.
        """
        self._find = find
        self._news = news
        self._heartbeat_seconds = heartbeat_seconds
        self._poll_seconds = poll_seconds

    async def follow(self, user_id: str, run_id: str, after: int | None) -> AsyncGenerator[Item[W], None]:
        """Yield what is behind a cursor (None: what is) as it comes, and the end last.

        NotFound for a thing of somebody else; OutOfRange for a cursor that was never given.
        """
        with self._news.watching(run_id) as watch:
            found = await self._find(user_id, run_id)
            if after is not None and after > found.last_sequence:
                sentence = f"the run is at {found.sequence}"
                raise OutOfRange("CURSOR_AHEAD", sentence, last_sequence=found.sequence)
            cursor = -1 if after is None else after
            shown: State | None = None
            loop = asyncio.get_running_loop()
            spoken = loop.time()
            while True:
                if found.sequence > cursor:
                    cursor = found.sequence
                    yield Item(cursor, found, whole=found.state is not shown)
                    shown, spoken = found.state, loop.time()
                if found.state.final:
                    return
                silence = loop.time() - spoken
                if silence >= self._heartbeat_seconds:
                    yield Item(max(cursor, 0), None)
                    spoken = loop.time()
                    continue
                await watch.wait(min(self._poll_seconds, self._heartbeat_seconds - silence))
                found = await self._find(user_id, run_id)
