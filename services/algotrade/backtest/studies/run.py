"""Working at an optimisation, from where it stands to its outcome. It takes a thread of its own, which mostly waits.

Trials are run in the threads that backtests run in, a bounded number of them at once, so that whoever asks for a thread
meanwhile has one after the trial that is running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeVar

from prometheus_client import Counter

from algotrade.backtest.optimise.judge import Judge, Task, Trial
from algotrade.backtest.optimise.outcome import Tally
from algotrade.backtest.optimise.space import space_of
from algotrade.backtest.optimise.study import trials
from algotrade.backtest.optimise.workers import Shared
from algotrade.backtest.store import State
from algotrade.backtest.studies.store import Claim, Concluded, OptimizationQueue
from algotrade.backtest.work import NotStored, Stopped, persistently
from algotrade.engine.backtest import Progress
from algotrade.engine.binding import bind
from algotrade.engine.compile import Artefact

KEPT_TOGETHER: Final = 64  # trials that are stored at once …
KEPT_SECONDS: Final = 1.0  # … or as many as there are after so long
PAGE: Final = 200  # trials that are read at once when a study is gone on with

T = TypeVar("T")


class Lost(Stopped):
    """Somebody else holds the optimisation by now, or it is gone."""

    def __init__(self) -> None:
        super().__init__(State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Bench:
    """What an optimisation is worked at with: the store, reached from a thread; threads for trials; who judges them."""

    queue: OptimizationQueue
    loop: asyncio.AbstractEventLoop
    threads: Executor
    at_once: int
    lease_seconds: float
    counted: Counter
    judges: Callable[[Task], Judge] = Judge

    def run(self, claim: Claim, progress: Progress) -> Concluded:
        """Go on to the end, or until ``progress`` raises; what is cancelled is judged by the trials that there are."""
        one = claim.optimization
        artefact = Artefact.from_wasm(claim.inputs.module)
        if artefact.hash != one.artefact_hash:
            raise ValueError(f"the module kept as {one.artefact_hash} is {artefact.hash}")
        parameters = artefact.manifest.parameters
        task = one.plan.task(artefact, claim.inputs.bars, one.settings, bind(parameters, one.parameters))
        space = space_of(dict(sorted(one.axes.items())), parameters)
        ledger = _Ledger(self, claim, Tally(task), progress)
        workers, whole = Shared(task, self.threads, self.at_once, self.judges), True
        try:
            for _ in trials(task, one.plan.search(space), workers, ledger):
                pass  # the ledger counts them
        except Lost:
            raise
        except Stopped as stopped:
            ledger.store()
            if stopped.state is not State.CANCELLED:
                raise
            whole = False
        ledger.store()
        return Concluded(ledger.tally.outcome(one.plan.seed), whole)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the event loop do something, and wait for it in this thread. Raises NotStored."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result()
        except Exception as error:
            raise NotStored(str(error)) from error


class _Ledger:
    """The journal of a study in the store: what is there is read page by page, new trials are stored some at a time."""

    def __init__(self, bench: Bench, claim: Claim, tally: Tally, progress: Progress) -> None:
        self._bench, self._claim, self._progress = bench, claim, progress
        self.tally = tally
        self._stored = self._found = claim.optimization.done_trials
        self._page: list[Trial] = []
        self._new: list[Trial] = []
        self._since = monotonic()

    def known(self, number: int) -> Trial | None:
        """Return a trial that is stored. Raises Stopped instead of having one made."""
        if number >= self._found:
            self._check()
            return None
        if not self._page:
            work = self._bench.queue.trials(self._claim.key[0], number, PAGE)
            self._page = self._bench.wait(work)[::-1]
            if not self._page:
                raise Lost
        trial = self._page.pop()
        if trial.number != number:
            raise ValueError(f"trial {trial.number} is stored where {number} should be")
        self.tally.add(trial)
        return trial

    def add(self, trial: Trial) -> None:
        """Take a new trial. Raises Stopped."""
        self.tally.add(trial)
        self._new.append(trial)
        if len(self._new) >= KEPT_TOGETHER or monotonic() - self._since >= KEPT_SECONDS:
            self.store()
        self._check()

    def _check(self) -> None:
        one = self._claim.optimization
        if one.cancel_requested:
            raise Stopped(State.CANCELLED)
        self._progress(self._stored, one.total_trials)

    def store(self) -> None:
        """Store what is new. Raises Lost, NotStored."""
        if not self._new:
            return
        bench, claim, new, best = self._bench, self._claim, self._new, self.tally.best

        async def keep() -> bool:
            return await persistently(lambda: bench.queue.keep(claim.worker, claim.key, new, best), bench.lease_seconds)

        if not bench.wait(keep()):
            raise Lost
        bench.counted.inc(len(new))
        self._stored += len(new)
        self._new, self._since = [], monotonic()
