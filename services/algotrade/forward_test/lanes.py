"""The lanes of a worker: sessions come in from their rows, lanes that have come to one place become one."""

from __future__ import annotations

from collections.abc import Iterator

from algotrade.engine.compile import Artefact
from algotrade.engine.native import TrapError
from algotrade.forward_test.lane import Lane, Member
from algotrade.forward_test.session import Held, Progress, Status
from algotrade.forward_test.store import Ledger
from algotrade.platform.clock import Clock
from algotrade.platform.metrics import Metrics


class Unreadable(Exception):  # noqa: N818  (an outcome)
    """A session cannot be brought back from its row."""


class Lanes:
    """Every session in memory, by lane."""

    def __init__(self, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        """Begin empty."""
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._lanes: list[Lane] = []
        self._artefacts: dict[str, Artefact] = {}

    def __iter__(self) -> Iterator[Lane]:
        """Go through the lanes there are now, whatever becomes of them meanwhile."""
        return iter(tuple(self._lanes))

    def clear(self) -> None:
        """Throw away all that is in memory."""
        self._lanes.clear()

    def add(self, lane: Lane) -> None:
        """Take a lane in."""
        self._lanes.append(lane)

    def remove(self, lane: Lane) -> None:
        """Let a lane go with all that is in it."""
        self._lanes.remove(lane)

    def members(self) -> dict[str, tuple[Lane, Member]]:
        """Return every session by its id."""
        return {member.session.session_id: (lane, member) for lane in self for member in lane.members.values()}

    async def hold(self, held: Held, alone_until: int = 0) -> None:
        """Take a session into the lane at its place, or up to an offset into one of its own. Raises Unreadable."""
        session = held.session
        lane = None if alone_until else next((lane for lane in self._lanes if lane.accepts(held)), None)
        try:
            if lane is None:
                artefact = await self._artefact(session.artefact_hash)
                lane = Lane(artefact, session.symbol, held.place, session.last_tick_sequence)
                lane.alone_until = alone_until
                lane.hold(held, self._clock.now_ns())
                self._lanes.append(lane)
            else:
                lane.hold(held, self._clock.now_ns())
        except (ValueError, KeyError, MemoryError, TrapError) as error:
            raise Unreadable(session.session_id) from error

    async def _artefact(self, artefact_hash: str) -> Artefact:
        if artefact_hash not in self._artefacts:
            artefact = Artefact.from_wasm(await self._ledger.module(artefact_hash))
            if artefact.hash != artefact_hash:
                raise ValueError(f"the module kept as {artefact_hash} is {artefact.hash}")
            self._artefacts[artefact_hash] = artefact
        return self._artefacts[artefact_hash]

    def due(self, before_ns: int, limit: int | None = None) -> list[Progress]:
        """Return new rows for sessions that moved and whose row is older than a time, the oldest first."""
        found = [
            (member.stored_ns, lane, member)
            for lane in self._lanes
            if not lane.warming
            for member in lane.members.values()
            if member.stored_ns <= before_ns and member.place.offset != lane.offset
        ]
        found.sort(key=lambda one: one[0])
        return [lane.progress(member) for _, lane, member in found[:limit]]

    def tidy(self) -> None:
        """Make lanes that have come to one place one; let empty ones and artefacts without a lane go."""
        settled: list[Lane] = []
        for lane in self._lanes:
            if other := next((other for other in settled if lane.may_join(other)), None):
                lane.join(other)
            if lane.members:
                settled.append(lane)
        self._lanes = settled
        used = {lane.artefact.hash for lane in settled}
        self._artefacts = {key: kept for key, kept in self._artefacts.items() if key in used}
        counts = {"warming": 0, "stopping": 0, "running": 0, "paused": 0}
        for lane in settled:
            paused = sum(member.session.status is Status.PAUSED for member in lane.members.values())
            counts["paused"] += paused
            active = len(lane.members) - paused
            counts["warming" if lane.warming else "stopping" if lane.stopping else "running"] += active
        for state, count in counts.items():
            self._metrics.sessions_held.labels(state).set(count)
