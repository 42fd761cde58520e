"""The lanes of a worker: sessions come in from their rows, lanes that have come to one place become one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Final

from algotrade.engine.compile import Artefact
from algotrade.engine.fleet import Fleet
from algotrade.engine.native import MODULES, TrapError
from algotrade.forward_test.lane import Front, Lane
from algotrade.forward_test.member import Member, reader_of
from algotrade.forward_test.session import Held, Progress, Status
from algotrade.forward_test.store import Ledger
from algotrade.platform.background import together
from algotrade.platform.clock import Clock
from algotrade.platform.metrics import Metrics

PREPARED_AT_ONCE: Final = 4
Key = tuple[str, str]


class Unreadable(Exception):  # noqa: N818  (an outcome)
    """A session cannot be brought back from its row."""


class Lanes:
    """Every session in memory, by lane; lanes by symbol and artefact, since only lanes alike in both can join."""

    def __init__(self, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        """Begin empty."""
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._lanes: dict[Key, list[Lane]] = {}
        self._members: dict[str, Member] = {}  # those whose rows were stored longest ago come first
        self._artefacts: dict[str, Artefact] = {}
        self.fleet = Fleet()
        self._changed = True  # whether sessions have come, gone or become something else since it was last tidied

    def __iter__(self) -> Iterator[Lane]:
        """Go through the lanes there are now, whatever becomes of them meanwhile."""
        return iter([lane for lanes in self._lanes.values() for lane in lanes])

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return len(self._members)

    def fronts(self) -> list[list[Lane]]:
        """Return the lanes there are now, those together that read the same ticks next and can step in one call."""
        fronts: dict[Front | int, list[Lane]] = {}
        for lane in self:
            fronts.setdefault(lane.front or id(lane), []).append(lane)
        return list(fronts.values())

    def clear(self) -> None:
        """Throw away all that is in memory."""
        self._lanes.clear()
        self._members.clear()
        self._artefacts.clear()
        self.fleet = Fleet()
        self._changed = True

    def add(self, lane: Lane) -> None:
        """Take a lane in."""
        self._lanes.setdefault(_key(lane), []).append(lane)
        self._changed = True

    def remove(self, lane: Lane) -> None:
        """Let a lane go with all that is in it."""
        for member in lane.members.values():
            del self._members[member.session.session_id]
        self._drop(lane)

    def release(self, shards: Collection[int]) -> None:
        """Let the sessions of some shards go; the others stay where they are."""
        for lane in self:
            for member in list(lane.members.values()):
                if member.session.shard in shards:
                    lane.drop(member)
                    del self._members[member.session.session_id]
        self._changed = True
        self.tidy()

    def find(self, session_id: str) -> tuple[Lane, Member] | None:
        """Return a session and the lane it is in."""
        member = self._members.get(session_id)
        return None if member is None or member.lane is None else (member.lane, member)

    def keep(self, stored: Progress) -> None:
        """Take note of what was committed of a session; one that has ended goes."""
        if (found := self.find(stored.session.session_id)) is None:
            return
        lane, member = found
        self._changed |= member.state is None or member.session.status is not stored.session.status
        member.keep(stored, self._clock.now_ns())
        del self._members[stored.session.session_id]
        if stored.session.status.final:
            lane.drop(member)
        else:
            self._members[stored.session.session_id] = member

    async def hold(self, held: Held, alone_until: int = 0) -> None:
        """Take a session into the lane at its place, or up to an offset into one of its own. Raises Unreadable."""
        session = held.session
        alike = self._lanes.get((session.symbol, session.artefact_hash), ())
        lane = None if alone_until else next((lane for lane in alike if lane.accepts(held)), None)
        try:
            if lane is None:
                artefact = await self._artefact(session.artefact_hash)
                lane = Lane(artefact, session.symbol, held.place, reader_of(held), self.fleet)
                lane.alone_until = alone_until
                member = lane.hold(held, self._clock.now_ns())
                self.add(lane)
            else:
                member = lane.hold(held, self._clock.now_ns())
        except (ValueError, KeyError, MemoryError, TrapError) as error:
            raise Unreadable(session.session_id) from error
        self._members[session.session_id] = member
        self._changed = True

    async def prepare(self, artefact_hashes: Iterable[str]) -> None:
        """Read and compile artefacts, some at a time; what is wrong with one is for those to find who need it."""
        left = iter(artefact_hashes)

        async def work() -> None:
            for artefact_hash in left:
                with suppress(ValueError, KeyError):
                    await self._artefact(artefact_hash)

        await together(*(work() for _ in range(PREPARED_AT_ONCE)))

    async def _artefact(self, artefact_hash: str) -> Artefact:
        if artefact_hash not in self._artefacts:
            artefact = Artefact.from_wasm(await self._ledger.module(artefact_hash))
            if artefact.hash != artefact_hash:
                raise ValueError(f"the module kept as {artefact_hash} is {artefact.hash}")
            await asyncio.to_thread(MODULES.load, artefact_hash, artefact.wasm)  # ten milliseconds of a processor
            self._artefacts[artefact_hash] = artefact
        return self._artefacts[artefact_hash]

    def due(self, before_ns: int, limit: int | None = None, shards: Collection[int] | None = None) -> list[Progress]:
        """Return new rows for sessions, or those of some shards, that moved since before a time, the oldest first."""
        found = list[Progress]()
        for member in self._members.values():
            if member.stored_ns > before_ns or len(found) == limit:
                break
            lane = member.lane
            if lane is None or lane.warming or member.place.offset == lane.offset:
                continue
            if shards is None or member.session.shard in shards:
                found.append(lane.progress(member))
        return found

    def tidy(self) -> None:
        """Make lanes that have come to one place one; let empty ones and artefacts without a lane go."""
        for alike in [lanes for lanes in self._lanes.values() if len(lanes) > 1]:
            settled: list[Lane] = []
            for lane in alike:
                if other := next((other for other in settled if lane.may_join(other)), None):
                    lane.join(other)
                    self._changed = True
                elif lane.members:
                    settled.append(lane)
        if self._changed:
            for lane in self:
                if not lane.members:
                    self._drop(lane)
            self._count()
            self._changed = False
        if self.fleet.worn:
            self.fleet = Fleet()
            for lane in self:
                lane.board(self.fleet)

    def _drop(self, lane: Lane) -> None:
        lane.leave()
        key = _key(lane)
        self._lanes[key].remove(lane)
        if not self._lanes[key]:
            del self._lanes[key]
            if not any(artefact_hash == lane.artefact.hash for _, artefact_hash in self._lanes):
                del self._artefacts[lane.artefact.hash]
        self._changed = True

    def _count(self) -> None:
        counts = {"warming": 0, "stopping": 0, "running": 0, "paused": 0}
        for lane in self:
            paused = sum(member.session.status is Status.PAUSED for member in lane.members.values())
            counts["paused"] += paused
            active = len(lane.members) - paused
            counts["warming" if lane.warming else "stopping" if lane.stopping else "running"] += active
        for state, count in counts.items():
            self._metrics.sessions_held.labels(state).set(count)


def _key(lane: Lane) -> Key:
    return lane.symbol, lane.artefact.hash
