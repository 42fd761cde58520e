"""Who works on which shards: the roster of workers, and what each does about it.

1. A worker is in the roster under its name and says a few times in a lease that it lives. All look at the same table,
   at the database's clock.
2. Who has looked for a whole lease strikes out whoever has not been seen for so long. Who has just begun, or could not
   look for a while (the database was away), does not judge yet: the others could not be seen either.
3. Shards are shared out evenly. Who holds more than its share gives some away, with every row stored; who has fewer
   takes those that nobody holds, or somebody who is not in the roster. Each works it out by itself from the same table.
4. Taking a shard raises its epoch. So who was struck out and lives all the same, frozen or cut off, changes nothing any
   more: that is decided where it writes (`Ledger.commit`), not here. Awake again it is a worker like any other.
5. Who begins under a name takes over at once what was held under it, and whoever bears it still ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger

log = logger(__name__)

LOOKS_A_LEASE: Final = 8


class Replaced(Exception):  # noqa: N818  (an outcome)
    """Another process works under this name."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A shard as the table has it."""

    worker: str | None
    epoch: int


@dataclass(frozen=True, slots=True)
class View:
    """The table at one moment: the names of all workers, and who holds what."""

    workers: frozenset[str]
    shards: Mapping[int, Owned]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker does about a view."""

    lost: Sequence[int]
    give: Mapping[int, int]  # {shard: epoch}
    take: Mapping[int, str | None]  # {shard: from whom}


class Roster(Protocol):
    """The port: the table, as one worker sees and changes it."""

    name: str

    async def join(self) -> None:
        """Be in the roster, in the place of whoever has this name."""
        ...

    async def look(self, strike_seconds: float | None) -> View:
        """Say that this worker lives; strike out who was not seen for so long, if told to; return what there is.

        Raises Replaced.
        """
        ...

    async def take(self, shards: Mapping[int, str | None]) -> Mapping[int, int]:
        """Become the writer of shards that are still held by whom they are said to be; return the new epochs."""
        ...

    async def give(self, epochs: Mapping[int, int]) -> None:
        """Leave shards {shard: epoch} to whoever takes them."""
        ...

    async def leave(self) -> None:
        """Be in the roster no more."""
        ...


def plan(view: View, name: str, held: Mapping[int, int]) -> Plan:
    """Work out what a worker of that name, which holds shards {shard: epoch}, does about a view.

    A view may be older than what the worker has taken since: of a shard it knows a newer epoch of it believes itself.
    """
    lost = [shard for shard, epoch in held.items() if shard in view.shards and view.shards[shard].epoch > epoch]
    mine = {shard: epoch for shard, epoch in held.items() if shard not in lost}
    left = {
        shard: owned.epoch for shard, owned in view.shards.items() if owned.worker == name and shard not in mine
    }  # by whoever had this name before
    counts = Counter(owned.worker or "" for shard, owned in view.shards.items() if shard not in mine)
    counts[name] += len(mine)
    share = shares(len(view.shards), view.workers | {name}, counts)[name]
    kept = [*sorted(mine), *sorted(left)][:share]
    give = {shard: epoch for shard, epoch in (mine | left).items() if shard not in kept}
    free = [shard for shard, owned in sorted(view.shards.items()) if owned.worker not in view.workers | {name}]
    take = [*(shard for shard in kept if shard in left), *(shard for shard in free if shard not in mine)]
    room = share - sum(shard in mine for shard in kept)
    return Plan(lost, give, {shard: view.shards[shard].worker for shard in take[:room]})


def shares(shards: int, workers: Iterable[str], held: Mapping[str, int]) -> dict[str, int]:
    """Share shards out evenly; who holds more now gets one more where they do not come out even."""
    order = sorted(workers, key=lambda name: (-held.get(name, 0), name))
    each, more = divmod(shards, len(order))
    return {name: each + (index < more) for index, name in enumerate(order)}


class Membership:
    """A worker's place in the roster: looks for ever, and keeps the newest view for the worker to act on."""

    def __init__(self, roster: Roster, clock: Clock, *, lease_seconds: float, looked: Callable[[], None]) -> None:
        """Take the roster, how long a worker may be silent, and whom to wake after each look."""
        self._roster = roster
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._looked = looked
        self._view: View | None = None
        self._since_ns: int | None = None  # looked without a pause since
        self._last_ns = 0
        self.replaced = False

    def news(self) -> View | None:
        """Return what the last look found, once."""
        view, self._view = self._view, None
        return view

    async def run(self) -> None:
        """Join, and look again and again, until another process works under this name."""
        joined = False
        while True:
            try:
                if not joined:
                    await self._roster.join()
                    joined = True
                await self._look()
            except Replaced:
                log.warning("worker.replaced", name=self._roster.name)
                self.replaced = True
                self._looked()
                return
            except Exception as error:
                log.warning("worker.unseen", error=type(error).__name__)
            await asyncio.sleep(self._lease_seconds / LOOKS_A_LEASE)

    async def _look(self) -> None:
        now_ns, lease_ns = self._clock.now_ns(), round(self._lease_seconds * SECOND_NS)
        if self._since_ns is None or now_ns - self._last_ns > lease_ns // 2:
            self._since_ns = now_ns
        may_judge = now_ns - self._since_ns > lease_ns
        self._view = await self._roster.look(self._lease_seconds if may_judge else None)
        self._last_ns = now_ns
        self._looked()
