"""Sessions are replayed from their last base again and again; one that is not what its ticks make of it halts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from forward_test.test_recovery import EAGER, TICK_SETTINGS, new_worker, run_out, walk, working
from forward_test.test_verify import Alter, alter, certify, traded
from market_data.feeds import ManualFeed
from sqlalchemy import text

from algotrade.engine.compile import compile_strategy
from algotrade.forward_test.checks import Checker, Outcome
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.postgres_archive import PostgresArchive
from algotrade.forward_test.postgres_checks import PostgresChecks
from algotrade.forward_test.postgres_ledger import PostgresLedger
from algotrade.forward_test.postgres_proofs import PostgresProofs
from algotrade.forward_test.session import Session
from algotrade.forward_test.source import Source
from algotrade.platform.process import Platform
from algotrade.v1 import forward_test_service_pb2 as pb

__all__ = ["alter", "traded"]  # fixtures
New = Callable[..., Checker]


@pytest.fixture
def new(platform: Platform) -> New:
    """Return ``new(replay_seconds)``: a checker to whom no base is too young."""

    def make(replay_seconds: float = 30) -> Checker:
        return Checker(
            PostgresChecks(platform.database),
            PostgresProofs(platform.database),
            Source(platform.bus, PostgresArchive(platform.database)),
            PostgresSessionStore(platform.database),
            platform.clock,
            platform.metrics,
            every_seconds=0,
            replay_seconds=replay_seconds,
        )

    return make


async def stored(platform: Platform, owner: Any, session: pb.Session) -> Session:
    found = await PostgresSessionStore(platform.database).get(owner.user_id, session.session_id)
    assert found is not None
    return found


async def base_offset(platform: Platform, session: pb.Session) -> int:
    query = text("SELECT log_offset FROM session_checkpoints WHERE session_id = CAST(:id AS uuid) AND NOT opens")
    async with platform.database.connect() as connection:
        offset: int = await connection.scalar(query, {"id": session.session_id})
    return offset


def is_halted(session: pb.Session) -> bool:
    return session.status == pb.SESSION_STATUS_HALTED


async def test_a_sound_session_is_identical_wherever_it_is_checked(
    trader: Any, feed: ManualFeed, platform: Platform, new: New
) -> None:
    """Between two checks it trades, or is steered; each check begins where the last ended."""
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    ticks, done = walk(21, 200), 0
    outcomes, places = [], []
    for number, part in enumerate(np.array_split(ticks, 20)):
        feed.push("AAA", part)
        done += len(part)
        await ada.at_tick(session, done)
        verb = {4: "Pause", 8: "Resume", 12: "Flatten"}.get(number)
        if verb:
            request = getattr(pb, f"{verb}SessionRequest")(session_id=session.session_id)
            await getattr(ada.sessions, f"{verb}Session")(request)
        outcomes.append(await new().check(await stored(platform, ada, session)))
        places.append(await base_offset(platform, session))
    assert outcomes == [Outcome.BEGUN, *[Outcome.IDENTICAL] * 19]
    assert places == sorted(set(places)), "each goes on from the last"
    assert (await ada.get(session)).total_trades > 5


async def test_a_session_that_went_on_from_an_altered_state_halts(
    trader: Any, feed: ManualFeed, platform: Platform, new: New, alter: Alter
) -> None:
    """While no worker ran somebody changed the cash in the engine's row by less than a cent; the worker believes it."""
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    other = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    ticks = walk(22, 80)
    feed.push("AAA", ticks[:40])
    await ada.at_tick(other, 40)
    await ada.at_tick(session, 40)
    for one in (session, other):
        assert await new().check(await stored(platform, ada, one)) is Outcome.BEGUN
    await run_out(platform, ada, session, 40)
    artefact = compile_strategy(EAGER).artefact
    assert artefact is not None
    at = artefact.manifest.fields["cash"][1] + 1
    change = f"state = set_byte(state, {at}, get_byte(state, {at}) # 1)"
    await alter(f"UPDATE forward_test_sessions SET {change} WHERE session_id = CAST(:id AS uuid)", session)

    async with working(new_worker(platform, PostgresLedger(platform.database))):
        feed.push("AAA", ticks[40:])
        await ada.at_tick(session, 80)
        await ada.at_tick(other, 80)
        assert await new().check(await stored(platform, ada, other)) is Outcome.IDENTICAL
        assert await new().check(await stored(platform, ada, session)) is Outcome.DIVERGED
        session = await ada.reached(session, is_halted)
        assert session.halt_reason == "replay_diverged"
        (event,) = await ada.events(session, session.last_sequence, after=session.last_sequence - 1)
        assert (event.kind, event.reason) == (pb.SESSION_EVENT_KIND_HALT, "replay_diverged")
        assert await new().check(await stored(platform, ada, session)) is Outcome.GONE
        assert (await ada.get(other)).status == pb.SESSION_STATUS_RUNNING
    assert await PostgresChecks(platform.database).due(0, 10) == []  # the other has not moved, this one has ended
    certificate = await certify(ada, session)
    assert certificate.verdict == pb.PARITY_VERDICT_DIVERGED


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE session_events SET cash = cash + 0.00000001",
        "UPDATE trades SET pnl = pnl + 0.00000001",
        "DELETE FROM session_events",
    ],
)
async def test_altered_events_and_trades_since_the_base_halt_it(
    trader: Any, feed: ManualFeed, platform: Platform, new: New, alter: Alter, change: str
) -> None:
    ada = await trader()
    session = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    feed.push("AAA", walk(23, 20))
    await ada.at_tick(session, 20)
    assert await new().check(await stored(platform, ada, session)) is Outcome.BEGUN
    feed.push("AAA", walk(23, 80)[20:])
    await ada.at_tick(session, 80)
    last = (await ada.trades(session))[-2].sequence
    await alter(f"{change} WHERE session_id = CAST(:id AS uuid) AND sequence = {last}", session)
    assert await new().check(await stored(platform, ada, session)) is Outcome.DIVERGED
    assert (await ada.reached(session, is_halted)).halt_reason == "replay_diverged"


async def test_a_sound_session_that_is_told_to_halt_has_its_past_proven(
    traded: tuple[Any, pb.Session], platform: Platform, new: New, alter: Alter
) -> None:
    """The base was altered, not the session: it halts all the same, and its certificate clears it."""
    ada, session = traded
    assert await new().check(await stored(platform, ada, session)) is Outcome.BEGUN
    where = "WHERE session_id = CAST(:id AS uuid) AND NOT opens"
    await alter(f"UPDATE session_checkpoints SET last_tick_sequence = last_tick_sequence + 1 {where}", session)
    assert await new().check(await stored(platform, ada, session)) is Outcome.DIVERGED
    session = await ada.reached(session, is_halted)
    certificate = await certify(ada, session)
    assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
    assert certificate.segments[0].last_sequence == session.last_sequence


async def test_who_is_due_comes_in_turn_and_a_slow_replay_is_given_up(
    trader: Any, feed: ManualFeed, platform: Platform, new: New
) -> None:
    ada = await trader()
    checks = PostgresChecks(platform.database)
    first = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    assert await checks.due(0, 10) == [], "it has no state yet"
    second = await ada.started(EAGER, "AAA", settings=TICK_SETTINGS)
    feed.push("AAA", walk(24, 20))
    for one in (first, second):
        await ada.at_tick(one, 20)
    assert await new().check(await stored(platform, ada, second)) is Outcome.BEGUN
    assert [one.session_id for one in await checks.due(0, 10)] == [first.session_id]
    await new().turn()
    assert await checks.due(0, 10) == [], "neither has moved"
    feed.push("AAA", walk(24, 40)[20:])
    for one in (first, second):
        await ada.at_tick(one, 40)
    assert [one.session_id for one in await checks.due(0, 10)] == [second.session_id, first.session_id]
    assert await checks.due(3600, 10) == []
    before = await base_offset(platform, first)
    assert await new(0).check(await stored(platform, ada, first)) is Outcome.SLOW
    assert await base_offset(platform, first) > before
    assert (await ada.get(first)).status == pb.SESSION_STATUS_RUNNING
