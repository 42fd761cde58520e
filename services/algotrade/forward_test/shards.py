"""The shards a worker holds: their epochs, the sessions of them in memory, and every commit about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Final

from algotrade.forward_test.changes import Changes
from algotrade.forward_test.lanes import Lanes, Unreadable
from algotrade.forward_test.member import unreadable
from algotrade.forward_test.roster import Roster, View, plan
from algotrade.forward_test.session import Applied, Command, Commit, Held, Progress, Session
from algotrade.forward_test.store import Fenced, Ledger
from algotrade.platform import failpoints, tracing
from algotrade.platform.caller import TRACEPARENT
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.platform.topics import FORWARD_TEST_EVENTS

log = logger(__name__)

SHARDS: Final = range(FORWARD_TEST_EVENTS.partitions)
CHECKPOINTS_A_ROUND: Final = range(10, 500)  # at least, at most: a part of all, for what is due at once holds up ticks
CHECKPOINT_ROUNDS: Final = 16  # in the time in which each session has its turn
CHECKPOINT_REST: Final = 4  # times as long as it took: checkpoints take no more than a fifth of the worker's time
COMMANDS_A_ROUND: Final = 100  # a start may compile an artefact
HELD_A_TURN: Final = 200  # sessions brought back before others of the process get a turn; fewer than modules are kept


class Shards:
    """What a worker holds, in memory (`lanes`) and in rows. Nothing is written but under the fence."""

    def __init__(
        self,
        ledger: Ledger,
        roster: Roster,
        changes: Changes,
        clock: Clock,
        metrics: Metrics,
        *,
        checkpoint_seconds: float,
        stored: Callable[[Collection[int]], None],
    ) -> None:
        """Take where rows are; ``stored`` is told of which shards there is something to send."""
        self.lanes = Lanes(ledger, clock, metrics)
        self._ledger = ledger
        self._roster = roster
        self._changes = changes
        self._clock = clock
        self._metrics = metrics
        self._checkpoint_ns = round(checkpoint_seconds * SECOND_NS)
        self._checkpoint_due_ns = 0
        self._stored = stored
        self._epochs: dict[int, int] = {}

    # ------------------------------------------------------------------ taking and giving

    @property
    def held(self) -> Mapping[int, int]:
        """The shards that are held, as far as is known here, {shard: epoch}."""
        return self._epochs

    async def settle(self, view: View) -> list[int]:
        """Give and take what a look at the roster asks for; return the shards that were taken.

        Raises Fenced where another worker has taken some meanwhile.
        """
        do = plan(view, self._roster.name, self._epochs)
        if do.lost:
            raise Fenced(do.lost)
        if do.give:
            await self.give(do.give)
        if not do.take:
            return []
        taken = await self._roster.take(do.take)
        self._epochs |= taken
        self._count()
        if taken:
            log.info("worker.shards_taken", epochs=taken, held=sorted(self._epochs))
            failpoints.reached("shards.taken")
        return list(taken)

    async def give(self, shards: Mapping[int, int]) -> None:
        """Store every row of some shards {shard: epoch} and leave them to whoever takes them."""
        while due := self.lanes.due(self._clock.now_ns(), CHECKPOINTS_A_ROUND.stop, shards):
            await self.commit(due)
        await self._roster.give(shards)
        self.lanes.release(shards)
        for shard in shards:
            self._epochs.pop(shard, None)
        self._count()
        log.info("worker.shards_given", shards=sorted(shards), held=sorted(self._epochs))

    def lose(self, fenced: Fenced) -> None:
        """Forget shards that another worker has taken, and all that is in memory."""
        log.error("worker.fenced", shards=fenced.shards)
        self.lanes.clear()
        for shard in fenced.shards:
            self._epochs.pop(shard, None)
        self._count()

    def _count(self) -> None:
        self._metrics.worker_shards.set(len(self._epochs))

    async def bring(self, shards: Sequence[int]) -> None:
        """Take in the sessions of shards that were just taken, each at its own place."""
        found = await self._ledger.held(shards)
        await self.hold_all(found)
        log.info("worker.brought", sessions=len(found), shards=shards)
        failpoints.reached("shards.restored")

    async def restore(self) -> None:
        """Throw away what is in memory and bring every session back from its row."""
        self.lanes.clear()
        found = await self._ledger.held(list(self._epochs))
        await self.hold_all(found)
        log.info("worker.restored", sessions=len(found), epochs=self._epochs)
        failpoints.reached("shards.restored")

    async def hold_all(self, found: Sequence[Held]) -> None:
        """Take sessions in, and let others of the process have their turn meanwhile."""
        for start in range(0, len(found), HELD_A_TURN):
            turn = found[start : start + HELD_A_TURN]
            await self.lanes.prepare({held.session.artefact_hash for held in turn})
            for held in turn:
                self._changes.stored(held.session.session_id, held.session.last_sequence, held.session.status)
                await self.hold(held)
            await asyncio.sleep(0)  # where every artefact was there already nothing else has waited

    async def hold(self, held: Held, alone_until: int = 0) -> None:
        """Take a session in. One that cannot be brought back is halted."""
        try:
            await self.lanes.hold(held, alone_until)
        except Unreadable as error:
            log.exception("session.unreadable", session_id=held.session.session_id, exc_info=error)
            await self.commit([unreadable(held, "state_unreadable")])

    # ------------------------------------------------------------------ reading

    async def rows(self, session_ids: Sequence[str]) -> list[Held]:
        """Return sessions that have begun and not ended, as last stored."""
        return await self._ledger.held(list(self._epochs), session_ids)

    async def sessions(self, session_ids: Collection[str]) -> dict[str, Session]:
        """Return those sessions that there are, {session_id: session}, in any status, as last stored."""
        return {session.session_id: session for session in await self._ledger.sessions(session_ids)}

    async def waiting(self) -> list[Command]:
        """Return the first commands that were not applied yet, in order: as many as do not hold up the ticks."""
        return await self._ledger.waiting(list(self._epochs), COMMANDS_A_ROUND)

    # ------------------------------------------------------------------ storing

    async def checkpoint(self) -> None:
        """Store rows that are due, not all at once: with many sessions that would hold up the ticks."""
        now_ns = self._clock.now_ns()
        if now_ns >= self._checkpoint_due_ns:
            share = 2 * self.lanes.sessions // CHECKPOINT_ROUNDS  # twice, so that those who are late catch up
            count = min(max(share, CHECKPOINTS_A_ROUND.start), CHECKPOINTS_A_ROUND.stop)
            if due := self.lanes.due(now_ns - self._checkpoint_ns, count):
                failpoints.reached("shards.checkpoint")
                await self.commit(due)
            done_ns = self._clock.now_ns()
            self._checkpoint_due_ns = max(
                now_ns + self._checkpoint_ns // CHECKPOINT_ROUNDS, done_ns + CHECKPOINT_REST * (done_ns - now_ns)
            )

    async def write(self, commit: Commit) -> None:
        """Store something about sessions that are not in memory."""
        await self._ledger.commit(self._epochs, commit)

    async def commit(self, progress: Sequence[Progress], applied: Sequence[Applied] = ()) -> None:
        """Store in one transaction; then, and only then, say so."""
        told = {one.session.shard for one in progress if one.outgoing}
        with tracing.span("session.commit") if told else nullcontext(), self._metrics.session_commit_seconds.time():
            await self._ledger.commit(self._epochs, Commit(progress=tuple(progress), applied=tuple(applied)))
            cause = TRACEPARENT.get()
        for one in progress:
            session = one.session
            self.lanes.keep(one)
            if session.status.final:
                log.info(
                    "session.ended",
                    session_id=session.session_id,
                    status=session.status,
                    why=session.halt_reason,
                    correlation_id=session.correlation_id,
                )
            self._changes.stored(session.session_id, session.last_sequence, session.status, cause, one.events)
        if told:
            self._stored(told)
