"""Where optimisations are kept: a port for those who ask, on behalf of a user, and one for workers.

As a backtest's, the row of an optimisation is its place in the queue. What it has done is not lost with its worker:
trials are stored as they are made, and whoever takes it up tells the search what is stored and goes on behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from algotrade.backtest.optimise.judge import Trial
from algotrade.backtest.optimise.outcome import Outcome
from algotrade.backtest.optimise.plan import Plan
from algotrade.backtest.source import DataSource
from algotrade.backtest.store import Inputs, Key, Queue, State
from algotrade.engine.settings import RunSettings
from algotrade.platform.errors import NotFound
from algotrade.platform.once import Once


@dataclass(frozen=True, slots=True)
class Optimization:
    """An optimisation as it is. ``parameters``: those that do not vary; ``axes``: the values of the others, by name.

    ``attempt`` counts how often a worker has taken it up; ``outcome`` is None in lists.
    """

    optimization_id: str
    user_id: str
    name: str
    strategy_id: str
    strategy_version: int
    artefact_hash: str
    data_hash: str
    settings: RunSettings
    parameters: Mapping[str, str]
    axes: Mapping[str, str]
    plan: Plan
    points: int
    total_trials: int
    create_time: datetime
    source: DataSource | None = None  # of the bars; None where it was not kept
    state: State = State.QUEUED
    failure: str = ""
    attempt: int = 0
    done_trials: int = 0
    cancel_requested: bool = False
    best: Trial | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    outcome: Outcome | None = None

    @property
    def sequence(self) -> int:
        """How far it is, as a number that rises with every attempt, state and trial, the same for every reader."""
        base = 2 * self.attempt + self.done_trials
        if self.state.final:
            return base + 1
        return base if self.state is State.QUEUED else base - 1

    @property
    def last_sequence(self) -> int:
        """The greatest sequence that anybody can have been told: nobody knows more than the store."""
        return self.sequence


@dataclass(frozen=True, slots=True)
class Draft:
    """A new optimisation. ``graph`` is the drawing as it was."""

    optimization: Optimization
    graph: str
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class Claim:
    """An optimisation that a worker holds."""

    worker: str
    optimization: Optimization
    inputs: Inputs

    @property
    def key(self) -> Key:
        """What it is held by."""
        return self.optimization.optimization_id, self.optimization.attempt


@dataclass(frozen=True, slots=True)
class Concluded:
    """What came of an optimisation, and whether every trial was made."""

    outcome: Outcome
    whole: bool


def no_optimization(optimization_id: str) -> NotFound:
    """Return the error for an optimisation that is not there or is somebody else's."""
    return NotFound("OPTIMIZATION_NOT_FOUND", "no such optimisation", optimization_id=optimization_id)


class OptimizationStore(Protocol):
    """What the API asks and tells."""

    async def create(self, draft: Draft, once: Once | None) -> bytes | None:
        """Keep a new optimisation. Where the request was answered before, change nothing and return that answer.

        Raises AlreadyExists for a request_id with another body, ResourceExhausted for one too many, NotFound where the
        account is gone.
        """
        ...

    async def find(self, user_id: str, optimization_id: str) -> Optimization:
        """Return an optimisation of a user. Raises NotFound."""
        ...

    async def newest(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Optimization]:
        """List optimisations: those before a (create_time, optimization_id), the newest first."""
        ...

    async def trials(self, optimization_id: str, first: int, count: int) -> list[Trial]:
        """List trials from a number on, in order."""
        ...

    async def cancel(self, user_id: str, optimization_id: str) -> None:
        """End one that has no trial, and have the worker end one that has."""
        ...

    async def delete(self, user_id: str, optimization_id: str) -> bool:
        """Forget an optimisation, and its bars and module where nothing else needs them; tell whether there was one."""
        ...


class OptimizationQueue(Queue[Claim, Concluded], Protocol):
    """What workers take and give back."""

    async def trials(self, optimization_id: str, first: int, count: int) -> list[Trial]:
        """List trials that are stored, from a number on, in order."""
        ...

    async def keep(self, worker: str, held: Key, trials: Sequence[Trial], best: Trial | None) -> bool:
        """Store new trials and the best of all; False, and nothing stored, where the optimisation is no longer held."""
        ...
