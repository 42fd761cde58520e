"""Workers come, go, die and freeze: every shard has one writer in the end, evenly, and none moves without need."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from algotrade.forward_test.postgres_roster import PostgresRoster
from algotrade.forward_test.roster import Membership, Owned, Replaced, View, plan, shares
from algotrade.forward_test.shards import SHARDS
from algotrade.platform.background import background
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.process import Platform


class Table:
    """The table of shards, and what each worker believes to hold."""

    def __init__(self, shards: int) -> None:
        self.shards = {shard: Owned(None, 0) for shard in range(shards)}
        self.workers: set[str] = set()
        self.held: dict[str, dict[int, int]] = {}
        self.moves = 0

    def join(self, name: str) -> None:
        self.workers.add(name)
        self.held[name] = {}

    def kill(self, name: str) -> None:
        """It says nothing any more, and is struck out."""
        self.workers.discard(name)
        del self.held[name]

    def view(self) -> View:
        return View(frozenset(self.workers), dict(self.shards))

    def act(self, name: str, view: View) -> None:
        """Do what a worker does about a view, which may be an old one."""
        held = self.held[name]
        do = plan(view, name, held)
        for shard in do.lost:
            del held[shard]
        for shard, epoch in do.give.items():
            if self.shards[shard].epoch == epoch:
                self.shards[shard] = Owned(None, epoch)
            held.pop(shard, None)
        for shard, owner in do.take.items():
            if self.shards[shard].worker == owner:
                self.shards[shard] = Owned(name, self.shards[shard].epoch + 1)
                held[shard] = self.shards[shard].epoch
                self.moves += 1

    def writers(self) -> Mapping[int, list[str]]:
        """Those who could commit to each shard."""
        return {
            shard: [name for name, held in self.held.items() if held.get(shard) == owned.epoch]
            for shard, owned in self.shards.items()
        }


@given(st.integers(1, 12), st.integers(0, 2**32))
def test_whatever_comes_and_goes_each_shard_has_one_writer_in_the_end(shards: int, seed: int) -> None:
    rng, table = random.Random(seed), Table(shards)
    table.join("w0")
    for number in range(1, 12):
        live = sorted(table.held)
        match rng.choice(["join", "kill", "stale", "again"]):
            case "join":
                table.join(f"w{number}")
            case "kill" if len(live) > 1:
                table.kill(rng.choice(live))
            case "again":  # it was killed, and begins anew under its name
                table.join(rng.choice(live))
            case "stale":
                old = table.view()
                for name in rng.sample(live, len(live)):
                    table.act(name, table.view())
                table.act(rng.choice(live), old)
        assert all(len(writers) <= 1 for writers in table.writers().values())
    for _ in range(4):
        for name in rng.sample(sorted(table.held), len(table.held)):
            table.act(name, table.view())
    counts = Counter({name: len(held) for name, held in table.held.items()})
    assert sorted(table.writers().values()) == sorted([owned.worker] for owned in table.shards.values())
    assert max(counts.values()) - min(counts.values()) <= 1
    settled = table.moves
    for name in table.held:
        table.act(name, table.view())
    assert table.moves == settled, "nothing moves without need"


def test_as_few_shards_move_as_may_be() -> None:
    table = Table(4)
    for name, moves in (("a", 4), ("b", 2), ("c", 1), ("d", 1)):
        table.moves = 0
        table.join(name)
        for _ in range(3):
            for worker in table.held:
                table.act(worker, table.view())
        assert table.moves == moves
    assert shares(4, "abcde", {"e": 1}) == {"e": 1, "a": 1, "b": 1, "c": 1, "d": 0}


# ---------------------------------------------------------------------- the table itself


@pytest.fixture
def roster(platform: Platform) -> PostgresRoster:
    return PostgresRoster(platform.database, "ada")


async def test_who_comes_under_a_name_takes_its_place(platform: Platform, roster: PostgresRoster) -> None:
    await roster.join()
    assert (await roster.look(None)).workers == {"ada"}
    taken = await roster.take(dict.fromkeys(SHARDS))
    assert taken == dict.fromkeys(SHARDS, 1)
    again = PostgresRoster(platform.database, "ada")
    await again.join()
    with pytest.raises(Replaced):
        await roster.look(None)
    assert plan(await again.look(None), "ada", {}).take == dict.fromkeys(SHARDS, "ada")
    assert await again.take(dict.fromkeys(SHARDS, "ada")) == dict.fromkeys(SHARDS, 2)


async def test_who_is_not_seen_is_struck_out_and_comes_back(platform: Platform, roster: PostgresRoster) -> None:
    other = PostgresRoster(platform.database, "eve")
    for one in (roster, other):
        await one.join()
    await other.take(dict.fromkeys(SHARDS))
    async with platform.database.begin() as connection:
        await connection.execute(text("UPDATE workers SET seen_time = now() - interval '5 s' WHERE name = 'eve'"))
    assert (await roster.look(None)).workers == {"ada", "eve"}
    view = await roster.look(4.0)
    assert view.workers == {"ada"}
    assert plan(view, "ada", {}).take == dict.fromkeys(SHARDS, "eve")
    assert (await other.look(4.0)).workers == {"ada", "eve"}


async def test_a_shard_that_changed_hands_meanwhile_is_not_taken(platform: Platform, roster: PostgresRoster) -> None:
    other = PostgresRoster(platform.database, "eve")
    for one in (roster, other):
        await one.join()
    first, second = await asyncio.gather(*(one.take(dict.fromkeys(SHARDS)) for one in (roster, other)))
    assert sorted([*first, *second]) == list(SHARDS)
    await roster.give(first)
    await other.give({shard: epoch + 1 for shard, epoch in second.items()})  # not its epochs
    view = await roster.look(None)
    assert {view.shards[shard].worker for shard in first} <= {None}
    assert {view.shards[shard].worker for shard in second} <= {"eve"}


class Stepped:
    """A clock that goes on by a sixteenth of a second whenever somebody looks."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns

    async def sleep_until(self, ts_ns: int) -> None:
        raise NotImplementedError


async def test_nobody_judges_who_has_not_looked_for_a_lease(platform: Platform) -> None:
    """A worker that begins, or that the database kept waiting, could not see the others either."""
    clock, strikes = Stepped(), list[bool]()

    class Noted(PostgresRoster):
        async def look(self, strike_seconds: float | None) -> View:
            strikes.append(strike_seconds is not None)
            clock.ns += (5 if len(strikes) == 12 else 1) * SECOND_NS // 16
            return await super().look(strike_seconds)

    looked = asyncio.Event()
    membership = Membership(Noted(platform.database, "ada"), clock, lease_seconds=0.5, looked=looked.set)
    async with background(membership.run(), "membership"), asyncio.timeout(30):
        while len(strikes) < 24:
            await looked.wait()
            looked.clear()
    # A lease is eight looks: the ninth may judge, and then the ninth after the pause.
    assert strikes[:24] == [False] * 9 + [True] * 3 + [False] * 9 + [True] * 3
