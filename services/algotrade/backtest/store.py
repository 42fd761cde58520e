"""Where backtests are kept: a port for those who ask, on behalf of a user who sees nobody else's, and one for workers.

A backtest's row is also its place in the queue. A worker holds what it runs by a lease, proves it by the attempt's
number when it stores something, and what nobody holds any more is begun anew by whoever comes first: a run depends on
nothing but what is stored with it, so a second attempt does what the first would have done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from algotrade.backtest.source import DataSource
from algotrade.engine.metrics import Metric
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import Trade
from algotrade.platform.errors import NotFound
from algotrade.platform.once import Once

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Key = tuple[str, int]  # of what a worker holds: its id, and the number of the attempt


class State(StrEnum):
    """Where a backtest stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run. ``final_equity`` in units of 1e-8, ``monthly_returns`` in percent by YYYY-MM.

    ``metrics`` and ``monthly_returns`` are empty in lists.
    """

    result_hash: str
    bars: int
    warmup_bars: int
    trades: int
    final_equity: int
    rejections: Mapping[str, int]
    halt_reason: str
    optimistic: bool
    run_ns: int
    metrics: tuple[Metric, ...] = ()
    monthly_returns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backtest:
    """A backtest as it is. ``attempt`` counts how often a worker has begun it."""

    backtest_id: str
    user_id: str
    name: str
    strategy_id: str
    strategy_version: int
    artefact_hash: str
    data_hash: str
    settings: RunSettings
    parameters: Mapping[str, str]
    total_bars: int
    create_time: datetime
    source: DataSource | None = None  # of the bars; None where it was not kept
    rerun_of: str = ""
    state: State = State.QUEUED
    failure: str = ""
    attempt: int = 0
    done_bars: int = 0
    start_time: datetime | None = None
    end_time: datetime | None = None
    summary: Summary | None = None

    @property
    def sequence(self) -> int:
        """How far it is, as a number that rises with every attempt, state and bar, and is the same for every reader."""
        base = self.attempt * (self.total_bars + 2)
        if self.state.final:
            return base + 1
        if self.state is State.QUEUED:
            return base
        return base - self.total_bars - 1 + self.done_bars

    @property
    def last_sequence(self) -> int:
        """The greatest sequence that anybody can have been told in this attempt."""
        return self.attempt * (self.total_bars + 2) + 1


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run depends on beside settings and parameters: the module and the bars (BAR records)."""

    module: bytes
    bars: Records = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """A new backtest. ``graph`` is the drawing as it was; ``inputs`` is None where the store has them already."""

    backtest: Backtest
    graph: str
    inputs: Inputs | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run. ``equity`` is in units of currency, at the close of each bar that was run over."""

    summary: Summary
    trades: Sequence[Trade]
    equity: Floats


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that a worker holds."""

    backtest: Backtest
    inputs: Inputs

    @property
    def key(self) -> Key:
        """What it is held by."""
        return self.backtest.backtest_id, self.backtest.attempt


def no_backtest(backtest_id: str) -> NotFound:
    """Return the error for a backtest that is not there or is somebody else's."""
    return NotFound("BACKTEST_NOT_FOUND", "no such backtest", backtest_id=backtest_id)


class BacktestStore(Protocol):
    """What the API asks and tells."""

    async def create(self, draft: Draft, once: Once | None) -> bytes | None:
        """Keep a new backtest. Where the request was answered before, change nothing and return that answer.

        Raises AlreadyExists for a request_id with another body, ResourceExhausted for one too many, NotFound where the
        account, or the backtest that it repeats, is gone.
        """
        ...

    async def get(self, user_id: str, backtest_id: str) -> Backtest | None:
        """Find a backtest of a user."""
        ...

    async def graph(self, user_id: str, backtest_id: str) -> str | None:
        """Find the drawing that a backtest was made from."""
        ...

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Backtest]:
        """List backtests without metrics: those before a (create_time, backtest_id), the newest first."""
        ...

    async def trades(self, backtest_id: str, after: int, count: int) -> list[Trade]:
        """List trades behind a number, in order."""
        ...

    async def equity(self, backtest_id: str) -> tuple[Records, Floats] | None:
        """Return bars (BAR records) and the equity at their closes, of equal length; None where there is none."""
        ...

    async def data(self, user_id: str, data_hash: str) -> tuple[Records, DataSource | None] | None:
        """Return bars (BAR records) that something of the user's ran over, and where they are from."""
        ...

    async def cancel(self, user_id: str, backtest_id: str) -> None:
        """End one that waits, and tell the worker of one that runs."""
        ...

    async def delete(self, user_id: str, backtest_id: str) -> bool:
        """Forget a backtest, and its bars and module where nothing else needs them; tell whether there was one."""
        ...


class Held(Protocol):
    """What a worker holds."""

    @property
    def key(self) -> Key:
        """What it is held by."""
        ...


Held_co = TypeVar("Held_co", bound=Held, covariant=True)
Outcome_contra = TypeVar("Outcome_contra", contravariant=True)


class Queue(Protocol[Held_co, Outcome_contra]):
    """What workers take and give back."""

    async def claim(self, worker: str, *, lease_seconds: float, per_user: int) -> Held_co | None:
        """Take the oldest run that waits, or whose worker is gone, of a user who has fewer than so many running."""
        ...

    async def counts(self) -> Mapping[State, int]:
        """Count everybody's runs that are QUEUED and that are RUNNING."""
        ...

    async def renew(self, worker: str, done: Mapping[Key, int], *, lease_seconds: float) -> Sequence[Key]:
        """Hold on to runs, by how much of each is done; return those that are still held and wanted."""
        ...

    async def finish(self, worker: str, held: Key, outcome: Outcome_contra) -> bool:
        """Store what came of a run; False, and nothing stored, where it is no longer held."""
        ...

    async def end(self, worker: str, held: Key, state: State, failure: str = "") -> bool:
        """Mark a run FAILED or CANCELLED, or put it back as QUEUED; False where it is no longer held."""
        ...


BacktestQueue = Queue[Claim, Outcome]
