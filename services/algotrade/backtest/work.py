"""The worker: takes runs from the queue, a bounded number at once, each in a thread; the module runs without the GIL.

What it holds it holds by a lease, renewed while it works. Should its process die, the lease runs out and whoever comes
first begins the run anew; should it be slow to die, the attempt's number keeps it from storing anything.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import stamina

from algotrade.backtest.news import News
from algotrade.backtest.run import Run
from algotrade.backtest.store import Backtest, BacktestQueue, Claim, Outcome, State
from algotrade.engine.native import TrapError
from algotrade.engine.settings import SettingsError
from algotrade.platform import failpoints
from algotrade.platform.database import is_away
from algotrade.platform.log import logger

log = logger(__name__)


class Stopped(Exception):  # noqa: N818  (an outcome)
    """The run was told to end."""


@dataclass(slots=True, eq=False)
class _Held:
    """A run that this process holds. ``stop``: what it is to become as soon as the engine can be stopped."""

    backtest: Backtest
    done_bars: int = 0
    stop: State | None = None
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self.backtest.backtest_id, self.backtest.attempt


class Worker:
    """Runs backtests in one process."""

    def __init__(
        self,
        queue: BacktestQueue,
        news: News,
        run: Run,
        *,
        threads: int,
        per_user: int,
        lease_seconds: float,
        poll_seconds: float,
    ) -> None:
        """Take where runs wait, who hears of them, and what runs them."""
        self._queue = queue
        self._news = news
        self._run = run
        self._threads = threads
        self._per_user = per_user
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._name = str(uuid.uuid4())
        self._held: dict[tuple[str, int], _Held] = {}  # by id and attempt
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="backtest")
        self._wake = asyncio.Event()
        self._stopping = False
        self.failure: Exception | None = None

    def wake(self) -> None:
        """Say that there may be something to run."""
        self._wake.set()

    def stop(self) -> None:
        """Say that nothing more is to be taken; `work` then puts back what runs, and returns."""
        self._stopping = True
        self._wake.set()

    async def work(self) -> None:
        """Run what waits until told to stop; return once no thread works."""
        renewing = asyncio.create_task(self._renew())
        try:
            while not self._stopping:
                try:
                    await self._fill()
                    self.failure = None
                except Exception as error:
                    self.failure = error
                    log.warning("backtest.queue_failed", exc_info=error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            if tasks := [self._stop(held, State.QUEUED) for held in self._held.values()]:
                await asyncio.wait(tasks)
            await asyncio.to_thread(self._executor.shutdown)
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def cancel(self, backtest_id: str) -> None:
        """Stop a run if it is this process's, and return once it has stopped; tell those who watch it."""
        tasks = [self._stop(held, State.CANCELLED) for (key, _), held in self._held.items() if key == backtest_id]
        if tasks:
            await asyncio.wait(tasks)
        self._news.stored(backtest_id)

    def _stop(self, held: _Held, state: State) -> asyncio.Task[None]:
        held.stop = held.stop or state
        assert held.task is not None  # noqa: S101  (made with it)
        return held.task

    async def _fill(self) -> None:
        while len(self._held) < self._threads and not self._stopping:
            claim = await self._queue.claim(self._name, lease_seconds=self._lease_seconds, per_user=self._per_user)
            if claim is None:
                return
            failpoints.reached("backtest.claimed")
            held = _Held(claim.backtest)
            self._held[held.key] = held
            held.task = asyncio.create_task(self._one(held, claim), name="backtest")

    async def _one(self, held: _Held, claim: Claim) -> None:
        backtest_id = held.backtest.backtest_id
        self._news.stored(backtest_id)
        try:
            await self._settle(held, await self._outcome(held, claim))
        except Exception:  # it stays with its lease, and is begun anew when that has run out
            log.exception("backtest.not_stored", backtest_id=backtest_id)
        finally:
            del self._held[held.key]
            self._news.ended(*held.key)
            self._wake.set()

    async def _outcome(self, held: _Held, claim: Claim) -> Outcome | tuple[State, str]:
        """What came of a run, or what becomes of it and why."""
        loop = asyncio.get_running_loop()
        backtest_id, attempt = held.key

        def progress(done: int, total: int) -> None:
            held.done_bars = done
            loop.call_soon_threadsafe(self._news.moved, backtest_id, attempt, done)
            if held.stop is not None:
                raise Stopped

        try:
            return await loop.run_in_executor(self._executor, self._run, claim, progress)
        except Stopped:
            return held.stop or State.CANCELLED, ""
        except SettingsError as error:
            return State.FAILED, str(error)
        except TrapError as error:
            log.exception("backtest.trapped", backtest_id=backtest_id)
            return State.FAILED, f"the module was stopped: {error}"
        except MemoryError:
            return State.FAILED, "the run needs more memory than a module may have"
        except Exception as error:
            log.exception("backtest.failed", backtest_id=backtest_id)
            return State.FAILED, f"a defect of the engine ({type(error).__name__})"

    async def _settle(self, held: _Held, found: Outcome | tuple[State, str]) -> None:
        backtest = held.backtest
        failpoints.reached("backtest.run")
        if isinstance(found, Outcome):
            outcome = found
            if await self._stored(lambda: self._queue.finish(self._name, backtest, outcome)):
                return
            found = State.CANCELLED, ""  # somebody asked for it just now, or it is no longer held
        state, failure = found
        await self._stored(lambda: self._queue.end(self._name, backtest, state, failure))

    async def _stored(self, write: Callable[[], Awaitable[bool]]) -> bool:
        """Write, again and again while the database is away and the lease may still hold."""
        async for attempt in stamina.retry_context(on=is_away, attempts=10, timeout=self._lease_seconds):
            with attempt:
                stored = await write()
                failpoints.reached("backtest.stored")
                return stored
        raise AssertionError("stamina either returns or raises")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            held = dict(self._held)
            if not held:
                continue
            done = {key: one.done_bars for key, one in held.items()}
            try:
                wanted = set(await self._queue.renew(self._name, done, lease_seconds=self._lease_seconds))
            except Exception as error:
                log.warning("backtest.not_renewed", exc_info=error)
                continue
            for key in held.keys() - wanted:
                self._stop(held[key], State.CANCELLED)
