"""Follow one backtest until it ends. Nothing is queued for a reader: it gets what is current when it comes to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from algotrade.backtest.news import News
from algotrade.backtest.store import Backtest, BacktestStore, State, no_backtest
from algotrade.platform.errors import OutOfRange


@dataclass(frozen=True, slots=True)
class Item:
    """A message of the stream: a backtest, whole where its state is news; None where nothing came for a while."""

    sequence: int
    backtest: Backtest | None
    whole: bool = False


class Watcher:
    """Makes the streams of backtests of one process."""

    def __init__(self, store: BacktestStore, news: News, *, heartbeat_seconds: float, poll_seconds: float) -> None:
        """Take where backtests are, how long silence may be, and how often to look for what other processes do."""
        self._store = store
        self._news = news
        self._heartbeat_seconds = heartbeat_seconds
        self._poll_seconds = poll_seconds

    async def follow(self, user_id: str, backtest_id: str, after: int | None) -> AsyncGenerator[Item, None]:
        """Yield what is behind a cursor (None: what is) as it comes, and the end last.

        NotFound for a backtest of somebody else; OutOfRange for a cursor that was never given.
        """
        with self._news.watching(backtest_id) as watch:
            found = await self._get(user_id, backtest_id)
            if after is not None and after > found.last_sequence:
                sentence = f"the backtest is at {found.sequence}"
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
                found = await self._get(user_id, backtest_id)

    async def _get(self, user_id: str, backtest_id: str) -> Backtest:
        found = await self._store.get(user_id, backtest_id)
        if found is None:
            raise no_backtest(backtest_id)
        return self._news.current(found)
