"""What every adapter of the window store must do. An adapter joins by a line in `windows`."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from algotrade.engine.records import MARKER, TICK, Records
from algotrade.market_data.redis_windows import RedisWindows
from algotrade.market_data.tick_log import LoggedTicks
from algotrade.market_data.window import Head, MemoryWindows, WindowStore
from algotrade.platform.redis import RedisClient

CAPACITY = 10
SYMBOLS = ["A", "B"]


@pytest.fixture(params=["memory", "redis", "cluster"])
def windows(request: pytest.FixtureRequest) -> WindowStore:
    if request.param == "memory":
        return MemoryWindows(SYMBOLS, CAPACITY)
    client: RedisClient = request.getfixturevalue(request.param)
    return RedisWindows(client, SYMBOLS, CAPACITY, poll_seconds=0.05)


def ticks(first: int, last: int) -> Records:
    made = np.zeros(last - first + 1, TICK)
    made["seq"] = np.arange(first, last + 1)
    made["ts"] = made["seq"] * 1000
    made["price"] = made["seq"] * 7
    return made


def sequences(found: Records | None) -> list[int]:
    assert found is not None
    return found["seq"].tolist()


async def test_a_new_window_is_empty(windows: WindowStore) -> None:
    assert await windows.head("A") == Head()
    assert sequences(await windows.newest("A", 5)) == []
    assert sequences(await windows.after("A", 0, 5)) == []


async def test_an_unknown_symbol_is_an_error(windows: WindowStore) -> None:
    with pytest.raises(KeyError):
        await windows.head("C")


async def test_ticks_come_back_as_they_were_added(windows: WindowStore) -> None:
    await windows.append("A", 3, ticks(1, 4))
    found = await windows.newest("A", 10)
    assert found.tobytes() == ticks(1, 4).tobytes()
    assert await windows.head("A") == Head(sequence=4, oldest=1, epoch=3, event_ns=4000, price=28)
    assert sequences(await windows.newest("B", 10)) == []


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 10, 11, 25])
async def test_it_keeps_the_newest_whatever_the_size_of_batches(windows: WindowStore, batch: int) -> None:
    for first in range(1, 101, batch):
        await windows.append("A", 1, ticks(first, min(100, first + batch - 1)))
        newest = min(100, first + batch - 1)
        assert sequences(await windows.newest("A", 99)) == list(range(max(1, newest - CAPACITY + 1), newest + 1))
    assert (await windows.head("A")).oldest == 91


async def test_reading_after_a_sequence(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 25))
    assert sequences(await windows.after("A", 20, 3)) == [21, 22, 23]
    assert sequences(await windows.after("A", 15, 99)) == list(range(16, 26))
    assert sequences(await windows.after("A", 25, 99)) == []
    assert await windows.after("A", 14, 99) is None, "16 follows what is kept, 15 does not"
    assert await windows.after("A", 26, 99) is None


async def test_many_read_at_once(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 25))
    found = await asyncio.gather(*(windows.newest("A", 5) for _ in range(300)))
    assert {each.tobytes() for each in found} == {ticks(21, 25).tobytes()}


async def test_what_was_read_does_not_change_afterwards(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 5))
    found = await windows.newest("A", 5)
    await windows.append("A", 1, ticks(6, 40))
    assert sequences(found) == [1, 2, 3, 4, 5]


async def test_ticks_already_there_are_passed_over(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 5))
    await windows.append("A", 1, ticks(3, 7))
    await windows.append("A", 1, ticks(1, 2))
    assert sequences(await windows.newest("A", 99)) == [1, 2, 3, 4, 5, 6, 7]


async def test_many_windows_are_added_to_at_once(windows: WindowStore) -> None:
    assert await windows.append_all({"A": LoggedTicks(1, ticks(1, 3)), "B": LoggedTicks(2, ticks(1, 7))}) == ["A", "B"]
    assert await windows.append_all({"B": LoggedTicks(2, ticks(8, 9)), "A": LoggedTicks(1, ticks(0, -1))}) == []
    assert sequences(await windows.newest("A", 99)) == [1, 2, 3]
    assert await windows.head("B") == Head(sequence=9, oldest=1, epoch=2, event_ns=9000, price=63)
    with pytest.raises(KeyError):
        await windows.append_all({"C": LoggedTicks(1, ticks(1, 1))})


async def test_a_window_that_is_replaced_forgets_what_it_held(windows: WindowStore) -> None:
    await windows.append("A", 7, ticks(100, 120))
    await windows.replace("A", 2, ticks(31, 55))
    assert sequences(await windows.newest("A", 99)) == list(range(46, 56))
    assert await windows.head("A") == Head(sequence=55, oldest=46, epoch=2, event_ns=55_000, price=385)
    await windows.append("A", 2, ticks(56, 56))
    assert sequences(await windows.newest("A", 2)) == [55, 56]
    await windows.replace("A", 3, ticks(1, 0))
    assert (await windows.head("A"), sequences(await windows.newest("A", 9))) == (Head(), [])
    await windows.append("A", 3, ticks(1, 2))
    assert sequences(await windows.newest("A", 9)) == [1, 2]


async def test_a_hole_is_never_hidden(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 3))
    await windows.append("A", 2, ticks(6, 8))
    assert sequences(await windows.newest("A", 99)) == [6, 7, 8]
    assert await windows.after("A", 3, 99) is None
    assert await windows.append_all({"A": LoggedTicks(2, ticks(10, 10))}) == ["A"]


async def test_a_marker_leaves_the_last_price(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 2))
    marker = ticks(3, 3)
    marker["price"], marker["flags"] = 0, MARKER
    await windows.append("A", 1, marker)
    head = await windows.head("A")
    assert (head.sequence, head.price, head.event_ns) == (3, 14, 3000)


async def test_waiting_ends_when_something_comes(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 2))
    assert await windows.wait("A", 1, 20)
    waiting = asyncio.create_task(windows.wait("A", 2, 20))
    await asyncio.sleep(0)
    await windows.append("B", 1, ticks(1, 9))
    assert not waiting.done()
    await windows.append("A", 1, ticks(3, 3))
    assert await waiting
    assert not await windows.wait("A", 3, 0.001)


async def test_a_window_that_grows_keeps_what_it_has_and_takes_what_leads_up_to_it(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 25))
    assert (await windows.capacity("A"), (await windows.head("A")).oldest) == (CAPACITY, 16)
    await windows.grow("A", 20, ticks(3, 22))
    assert await windows.capacity("A") == 20
    assert (await windows.newest("A", 100)).tobytes() == ticks(6, 25).tobytes()
    assert await windows.head("A") == Head(sequence=25, oldest=6, epoch=1, event_ns=25_000, price=175)
    await windows.append("A", 1, ticks(26, 60))
    assert sequences(await windows.newest("A", 100)) == list(range(41, 61))
    assert await windows.capacity("B") == CAPACITY


async def test_a_window_never_shrinks_and_takes_nothing_across_a_hole(windows: WindowStore) -> None:
    await windows.append("A", 1, ticks(1, 25))
    await windows.grow("A", 5, ticks(1, 15))
    assert (await windows.capacity("A"), sequences(await windows.newest("A", 100))) == (10, list(range(16, 26)))
    await windows.grow("A", 30, ticks(1, 14))
    assert sequences(await windows.newest("A", 100)) == list(range(16, 26))
    await windows.grow("B", 30, ticks(1, 14))
    assert sequences(await windows.newest("B", 100)) == [], "an empty window is filled by what is appended"
