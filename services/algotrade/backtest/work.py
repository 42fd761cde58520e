"""The worker: takes runs from the queue, a bounded number at once, each in a thread; the module runs without the GIL.

What it holds it holds by a lease, renewed while it works. Should its process die, the lease runs out and whoever comes
first begins the run anew; should it be slow to die, the attempt's number keeps it from storing anything.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import stamina

from algotrade.backtest.news import News
from algotrade.backtest.store import Held, Key, Queue, State
from algotrade.engine.backtest import Progress
from algotrade.engine.native import TrapError
from algotrade.engine.settings import SettingsError
from algotrade.platform import failpoints
from algotrade.platform.background import end
from algotrade.platform.database import is_away
from algotrade.platform.log import logger

log = logger(__name__)

C = TypeVar("C", bound=Held)  # a claim: a run that is held, with all that it depends on
Result = TypeVar("Result")  # what comes of one


class Stopped(Exception):  # noqa: N818  (an outcome)
    """The run was told to end; ``state`` is what it is to become."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state = state


class NotStored(Exception):  # noqa: N818  (an outcome)
    """The run could not go on, since what it keeps on its way was not stored; it stays with its lease."""


@dataclass(slots=True, eq=False)
class _Held:
    """A run that this process holds. ``stop``: what it is to become as soon as the engine can be stopped."""

    key: Key
    done: int = 0
    stop: State | None = None
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class _Came(Generic[Result]):
    """What came of a run that was not broken off."""

    outcome: Result


class Worker(Generic[C, Result]):
    """Runs what a queue holds in one process."""

    def __init__(
        self,
        queue: Queue[C, Result],
        news: News,
        run: Callable[[C, Progress], Result],
        executor: Executor,
        *,
        at_once: int,
        per_user: int,
        lease_seconds: float,
        poll_seconds: float,
    ) -> None:
        """Take where runs wait, who hears of them, what runs them and in whose threads; so many are held at once."""
        self._queue = queue
        self._news = news
        self._run = run
        self._at_once = at_once
        self._per_user = per_user
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._name = str(uuid.uuid4())
        self._held: dict[Key, _Held] = {}
        self._executor = executor
        self._wake = asyncio.Event()
        self._stopping = False
        self.failure: Exception | None = None

    async def counts(self) -> Mapping[State, int]:
        """Count everybody's runs that have not ended."""
        return await self._queue.counts()

    def wake(self) -> None:
        """Say that there may be something to run."""
        self._wake.set()

    def stop(self) -> None:
        """Say that nothing more is to be taken; `work` then puts back what runs, and returns."""
        self._stopping = True
        self._wake.set()

    async def work(self) -> None:
        """Run what waits until told to stop; return once nothing is held."""
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
            await end(renewing)

    async def cancel(self, run_id: str) -> None:
        """Stop a run if it is this process's, and return once it has stopped; tell those who watch it."""
        tasks = [self._stop(held, State.CANCELLED) for (held_id, _), held in self._held.items() if held_id == run_id]
        if tasks:
            await asyncio.wait(tasks)
        self._news.stored(run_id)

    def _stop(self, held: _Held, state: State) -> asyncio.Task[None]:
        held.stop = held.stop or state
        assert held.task is not None  # noqa: S101  (made with it)
        return held.task

    async def _fill(self) -> None:
        while len(self._held) < self._at_once and not self._stopping:
            claim = await self._queue.claim(self._name, lease_seconds=self._lease_seconds, per_user=self._per_user)
            if claim is None:
                return
            failpoints.reached("backtest.claimed")
            held = _Held(claim.key)
            self._held[held.key] = held
            held.task = asyncio.create_task(self._one(held, claim), name="backtest")

    async def _one(self, held: _Held, claim: C) -> None:
        self._news.stored(held.key[0])
        try:
            await self._settle(held, await self._outcome(held, claim))
        except Exception:  # it stays with its lease, and is begun anew when that has run out
            log.exception("backtest.not_stored", run_id=held.key[0])
        finally:
            del self._held[held.key]
            self._news.ended(*held.key)
            self._wake.set()

    async def _outcome(self, held: _Held, claim: C) -> _Came[Result] | tuple[State, str]:
        """What came of a run, or what becomes of it and why."""
        loop = asyncio.get_running_loop()
        run_id, attempt = held.key

        def progress(done: int, total: int) -> None:
            held.done = done
            loop.call_soon_threadsafe(self._news.moved, run_id, attempt, done)
            if held.stop is not None:
                raise Stopped(held.stop)

        try:
            return _Came(await loop.run_in_executor(self._executor, self._run, claim, progress))
        except Stopped as stopped:
            return stopped.state, ""
        except NotStored:
            raise
        except SettingsError as error:
            return State.FAILED, str(error)
        except TrapError as error:
            log.exception("backtest.trapped", run_id=run_id)
            return State.FAILED, f"the module was stopped: {error}"
        except MemoryError:
            return State.FAILED, "the run needs more memory than a module may have"
        except Exception as error:
            log.exception("backtest.failed", run_id=run_id)
            return State.FAILED, f"a defect of the engine ({type(error).__name__})"

    async def _settle(self, held: _Held, found: _Came[Result] | tuple[State, str]) -> None:
        failpoints.reached("backtest.run")
        if isinstance(found, _Came):
            outcome = found.outcome
            if await persistently(lambda: self._queue.finish(self._name, held.key, outcome), self._lease_seconds):
                return
            found = State.CANCELLED, ""  # somebody asked for it just now, or it is no longer held
        state, failure = found
        await persistently(lambda: self._queue.end(self._name, held.key, state, failure), self._lease_seconds)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            held = dict(self._held)
            if not held:
                continue
            done = {key: one.done for key, one in held.items()}
            try:
                wanted = set(await self._queue.renew(self._name, done, lease_seconds=self._lease_seconds))
            except Exception as error:
                log.warning("backtest.not_renewed", exc_info=error)
                continue
            for key in held.keys() - wanted:
                self._stop(held[key], State.CANCELLED)


async def persistently(write: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Write, again and again while the database is away and a lease of so many seconds may still hold."""
    async for attempt in stamina.retry_context(on=is_away, attempts=10, timeout=seconds):
        with attempt:
            stored = await write()
            failpoints.reached("backtest.stored")
            return stored
    raise AssertionError("stamina either returns or raises")
