"""Lanes that read the same ticks step in one call; what sessions do and what is stored is as if each were alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from graphs import drawing, sma_cross, threshold
from market_data.feeds import SECOND, ManualFeed

from algotrade.engine import fixed
from algotrade.engine import fleet as fleet_module
from algotrade.engine.compile import compile_strategy
from algotrade.engine.fleet import Fleet, FleetSessions, Stepped
from algotrade.engine.native import TrapError
from algotrade.engine.records import TICK, Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings
from algotrade.v1 import forward_test_service_pb2 as pb

START = 1_700_000_000 * SECOND
TICK_SETTINGS = {"interval": "tick"}
ALWAYS = drawing({"p": "price", "c": ("compare", {"op": ">", "value": 0}), "b": "buy"}, "p>c.a c>b")
STRATEGIES = [sma_cross(2, 5), sma_cross(3, 7), threshold(102, 99), ALWAYS]
DOOMED = threshold(103, 98)


def walk(count: int) -> Records:
    """A jagged walk of prices, a tick a second."""
    rng = np.random.default_rng(11)
    ticks = np.zeros(count, TICK)
    ticks["ts"] = START + np.arange(count) * SECOND
    ticks["price"] = np.rint((100 + 4 * np.sin(np.arange(count) / 3) + rng.normal(0, 1, count)) * fixed.SCALE)
    ticks["size"] = 1.0
    return ticks


def expected(graph: Mapping[str, Any], ticks: Records) -> Records:
    artefact = compile_strategy(graph).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    sessions.add(RunSettings.parse(TICK_SETTINGS))
    numbered = ticks.copy()
    numbered["seq"] = np.arange(1, len(ticks) + 1)
    return sessions.step(numbered)


async def assert_as_alone(ada: Any, session: pb.Session, graph: Mapping[str, Any], ticks: Records) -> None:
    events = expected(graph, ticks)
    assert len(events) > 5
    got = await ada.events(session, len(events))
    assert [(e.sequence, e.tick_sequence, e.kind, e.cash) for e in got] == [
        (int(e["number"]), int(e["tick_seq"]), int(e["kind"]), fixed.text(e["cash"])) for e in events
    ]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many lanes each call stepped."""
    calls: list[int] = []
    step = Fleet.step

    def counted(fleet: Fleet, members: Sequence[FleetSessions], ticks: Records) -> Stepped:
        calls.append(len(members))
        return step(fleet, members, ticks)

    monkeypatch.setattr(Fleet, "step", counted)
    return calls


async def push(feed: ManualFeed, symbol: str, ticks: Records, sizes: Sequence[int]) -> None:
    done = 0
    while done < len(ticks):
        size = sizes[done % len(sizes)]
        feed.push(symbol, ticks[done : done + size])
        done += size
        await asyncio.sleep(0)


async def test_different_strategies_step_in_one_call_and_each_as_alone(
    trader: Any, feed: ManualFeed, together: list[int]
) -> None:
    ada = await trader()
    sessions = [
        (await ada.started(graph, symbol, settings=TICK_SETTINGS), graph)
        for graph in (*STRATEGIES, *STRATEGIES[:2])
        for symbol in ("AAA", "BBB")
    ]
    ticks = walk(120)
    for symbol in ("AAA", "BBB"):
        await push(feed, symbol, ticks, [1, 7, 3])
    for session, graph in sessions:
        await ada.at_tick(session, len(ticks))
        await assert_as_alone(ada, session, graph, ticks)
    assert max(together) == len(STRATEGIES)


async def test_one_that_traps_among_others_is_halted_and_they_go_on(
    trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch, together: list[int]
) -> None:
    """A module is made to trap over a certain tick, in a call with others as well as alone."""
    compiled = compile_strategy(DOOMED).artefact
    assert compiled is not None
    step, step_alone = Fleet.step, Sessions.step

    def doomed(sessions: Sessions, ticks: Records) -> bool:
        return sessions.artefact.hash == compiled.hash and bool((ticks["seq"] >= 30).any())

    def trapping(fleet: Fleet, members: Sequence[FleetSessions], ticks: Records) -> Stepped:
        stepped = step(fleet, members, ticks)
        struck = {i: TrapError("unreachable") for i, member in enumerate(members) if doomed(member, ticks)}
        return Stepped({i: events for i, events in stepped.events.items() if i not in struck}, struck)

    def trapping_alone(sessions: Sessions, ticks: Records) -> Records:
        if doomed(sessions, ticks):
            raise TrapError("unreachable")
        return step_alone(sessions, ticks)

    monkeypatch.setattr(Fleet, "step", trapping)
    monkeypatch.setattr(Sessions, "step", trapping_alone)
    ada = await trader()
    struck = await ada.started(DOOMED, "AAA", settings=TICK_SETTINGS)
    sessions = [(await ada.started(graph, "AAA", settings=TICK_SETTINGS), graph) for graph in STRATEGIES]
    ticks = walk(120)
    for start in range(0, len(ticks), 8):
        feed.push("AAA", ticks[start : start + 8])
        await ada.at_tick(sessions[0][0], start + 8)
    monkeypatch.undo()
    for session, graph in sessions:
        assert (await ada.at_tick(session, len(ticks))).status == pb.SESSION_STATUS_RUNNING
        await assert_as_alone(ada, session, graph, ticks)
    struck = await ada.reached(struck, lambda found: found.status == pb.SESSION_STATUS_HALTED)
    assert struck.halt_reason == "trap"
    assert max(together) == len(STRATEGIES) + 1
    (*before, halt) = await ada.events(struck, struck.last_sequence)
    alone = expected(DOOMED, ticks[:24])
    assert [(e.sequence, e.cash) for e in before] == [(int(e["number"]), fixed.text(e["cash"])) for e in alone]
    assert (halt.kind, halt.reason) == (pb.SESSION_EVENT_KIND_HALT, "trap")


async def test_sessions_move_to_a_new_fleet_as_they_are(
    trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions come and go until most modules of the fleet are nobody's."""
    monkeypatch.setattr(fleet_module, "_KEPT_IDLE", 0)
    made: list[Fleet] = []
    new = Fleet.__init__

    def counted(fleet: Fleet) -> None:
        made.append(fleet)
        new(fleet)

    ada = await trader()
    kept = [(await ada.started(graph, "AAA", settings=TICK_SETTINGS), graph) for graph in STRATEGIES[:2]]
    ticks = walk(100)
    feed.push("AAA", ticks[:50])
    for session, _ in kept:
        await ada.at_tick(session, 50)
    monkeypatch.setattr(Fleet, "__init__", counted)
    others = [await ada.started(threshold(150 + i, 50), "AAA", settings=TICK_SETTINGS) for i in range(4)]
    for session in others:
        await ada.stop(session, pb.STOP_MODE_KEEP)
    feed.push("AAA", ticks[50:])
    for session, graph in kept:
        await ada.at_tick(session, len(ticks))
        await assert_as_alone(ada, session, graph, ticks)
    assert made
