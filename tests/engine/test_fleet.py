"""Many artefacts in one call: each does what it does alone, whatever becomes of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graphs import drawing, sma_cross, threshold
from series import at_closes

from algotrade.engine import fleet as fleet_module
from algotrade.engine import wasm
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.fixed import SCALE
from algotrade.engine.fleet import Fleet, FleetSessions
from algotrade.engine.records import EVENT, Records, bar_ticks
from algotrade.engine.runtime import Sessions, portable
from algotrade.engine.settings import RunSettings

DOCUMENTS: list[dict[str, Any]] = [
    threshold(110, 92),
    sma_cross(2, 5),
    threshold(100, 80, size=50),
    drawing({"p": "price", "c": ("compare", {"op": ">", "value": 0}), "b": "buy"}, "p>c.a c>b"),  # rejected at each bar
    sma_cross(3, 9),
]
NOBODY = np.zeros(0, EVENT)


def compiled(document: dict[str, Any]) -> Artefact:
    compilation = compile_strategy(document)
    assert compilation.artefact is not None, compilation.diagnostics
    return compilation.artefact


@pytest.fixture(scope="module")
def artefacts() -> list[Artefact]:
    return [compiled(document) for document in DOCUMENTS]


@pytest.fixture(scope="module")
def ticks() -> Records:
    rng = np.random.default_rng(5)
    return bar_ticks(at_closes(*(100 + 20 * np.sin(np.arange(200) / 5) + rng.normal(0, 4, 200)).round(2).tolist()))


def settings_of(index: int) -> list[RunSettings]:
    return [RunSettings(initial_cash=(1_000 + 10 * index + i) * SCALE) for i in range(1 + index % 3)]


def manned(fleet: Fleet, artefacts: list[Artefact]) -> list[FleetSessions]:
    members = [fleet.sessions(artefact) for artefact in artefacts]
    for index, member in enumerate(members):
        for settings in settings_of(index):
            member.add(settings)
    return members


def alone(artefact: Artefact, index: int) -> Sessions:
    sessions = Sessions(artefact)
    for settings in settings_of(index):
        sessions.add(settings)
    return sessions


def rows(sessions: Sessions) -> list[bytes]:
    return [portable(sessions.snapshot(slot)) for slot in sessions.slots]


def in_order(events: Records) -> bytes:
    """Events by slot, each slot's in their order."""
    return bytes(events[np.argsort(events["slot"], kind="stable")].tobytes())


@pytest.mark.parametrize("size", [1, 7, 256, 257, 800])
def test_each_does_what_it_does_alone(artefacts: list[Artefact], ticks: Records, size: int) -> None:
    fleet = Fleet()
    members = manned(fleet, artefacts)
    events: dict[int, list[Records]] = {index: [] for index in range(len(members))}
    for start in range(0, len(ticks), size):
        stepped = fleet.step(members, ticks[start : start + size])
        assert not stepped.trapped
        for index, found in stepped.events.items():
            events[index].append(found)
    for index, (artefact, member) in enumerate(zip(artefacts, members, strict=True)):
        reference = alone(artefact, index)
        expected = reference.step(ticks)
        assert len(expected)
        assert in_order(np.concatenate(events[index])) == in_order(expected)
        assert rows(member) == rows(reference)


def test_some_members_step_and_the_others_stay(artefacts: list[Artefact], ticks: Records) -> None:
    fleet = Fleet()
    members = manned(fleet, artefacts)
    stepped = fleet.step([members[3], members[1]], ticks)
    assert set(stepped.events) == {0, 1}
    assert rows(members[3]) == rows(_stepped(artefacts[3], 3, ticks))
    assert rows(members[1]) == rows(_stepped(artefacts[1], 1, ticks))
    assert rows(members[0]) == rows(alone(artefacts[0], 0))


def test_events_beyond_what_one_call_can_carry_are_all_there(
    artefacts: list[Artefact], ticks: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log so short that a call ends in the middle of a module's rows, and room for little more than one log."""
    for module in ("algotrade.engine.runtime", "algotrade.engine.fleet"):
        monkeypatch.setattr(f"{module}.EVENTS_PER_LOG", 400)
    monkeypatch.setattr(fleet_module, "_LOG_BYTES", 3 * EVENT.itemsize)
    fleet = Fleet()
    members = [fleet.sessions(artefact) for artefact in artefacts]
    references = [Sessions(artefact) for artefact in artefacts]
    for i in range(40):
        for one in (*members, *references):
            one.add(RunSettings(initial_cash=(1_000 + i) * SCALE))
    stepped = fleet.step(members, ticks)
    for index, (member, reference) in enumerate(zip(members, references, strict=True)):
        assert in_order(stepped.events[index]) == in_order(reference.step(ticks))
        assert rows(member) == rows(reference)
    assert sum(len(events) for events in stepped.events.values()) > 4_000


def spoilt(above: float, below: float) -> Artefact:
    """A strategy whose module has an instruction that traps where the size of an order is read: at its first entry."""
    whole = compiled(threshold(above, below, size=12.345678))
    size = b"\x42" + wasm.signed(12_34567800)  # i64.const
    assert whole.wasm.count(size) == 1
    trap = b"\x00" + b"\x01" * (len(size) - 1)  # unreachable, and nothing behind it
    return Artefact(whole.wasm.replace(size, trap), whole.manifest)


@pytest.mark.parametrize("at", [0, 2, 5])
@pytest.mark.parametrize("size", [5, 800])
def test_one_that_traps_is_named_and_its_neighbours_are_as_without_it(
    artefacts: list[Artefact], ticks: Records, at: int, size: int
) -> None:
    fleet = Fleet()
    crowd = [*artefacts[:at], spoilt(110, 92), *artefacts[at:]]
    members = manned(fleet, crowd)
    references = [alone(artefact, index) for index, artefact in enumerate(crowd)]
    first = next(start for start in range(0, len(ticks), size) if (ticks["price"][: start + size] > 110 * SCALE).any())
    trapped: list[int] = []
    for start in range(0, len(ticks), size):
        sound = [index for index in range(len(members)) if index not in trapped]
        part = ticks[start : start + size]
        stepped = fleet.step([members[index] for index in sound], part)
        for place, index in enumerate(sound):
            if place in stepped.trapped:
                assert index == at
                assert start >= first
                assert "unreachable" in str(stepped.trapped[place])
                assert place not in stepped.events
                trapped.append(index)
            else:
                assert in_order(stepped.events.get(place, NOBODY)) == in_order(references[index].step(part))
    assert trapped == [at]
    for index, (member, reference) in enumerate(zip(members, references, strict=True)):
        if index != at:
            assert rows(member) == rows(reference)


def test_one_that_trapped_goes_on_from_its_row(ticks: Records) -> None:
    """What a module half did is left behind in its memory: a snapshot from before goes on in another."""
    fleet = Fleet()
    doomed, neighbour = manned(fleet, [spoilt(110, 92), compiled(threshold(110, 92, size=12.345678))])
    kept = doomed.snapshot(0)
    stepped = fleet.step([doomed, neighbour], ticks)
    assert set(stepped.trapped) == {0}
    fleet.release(doomed, sound=False)
    (second,) = manned(fleet, [neighbour.artefact])
    second.restore(0, kept)
    again = fleet.step([second], ticks)
    reference = alone(neighbour.artefact, 0)
    assert again.events[0].tobytes() == reference.step(ticks).tobytes()
    assert rows(second) == rows(reference)


def test_a_call_has_no_more_fuel_than_its_members_may_use(artefacts: list[Artefact], ticks: Records) -> None:
    """A report that promises too little: the call ends instead of going on, and names whose turn it was."""
    poor = replace(artefacts[1].manifest, report=replace(artefacts[1].report, fuel_per_bar=0))
    fleet = Fleet()
    (member,) = manned(fleet, [Artefact(artefacts[1].wasm, poor)])
    for _ in range(300):
        member.add(RunSettings())
    stepped = fleet.step([member], ticks)
    assert "fuel" in str(stepped.trapped[0])


def test_what_is_released_serves_the_next_of_its_kind_as_new(artefacts: list[Artefact], ticks: Records) -> None:
    fleet = Fleet()
    members = manned(fleet, artefacts)
    fleet.step(members, ticks[:600])
    for member in members:
        fleet.release(member)
    again = manned(fleet, artefacts)
    assert set(map(id, again)) == set(map(id, members))
    stepped = fleet.step(again, ticks)
    for index, member in enumerate(again):
        reference = _stepped(artefacts[index], index, ticks)
        assert rows(member) == rows(reference)
        assert (stepped.events[index]["number"] >= 1).all()


def test_a_fleet_is_worn_when_most_of_what_it_holds_is_nobodys(
    artefacts: list[Artefact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "_KEPT_IDLE", 2)
    fleet = Fleet()
    members = manned(fleet, artefacts)
    assert not fleet.worn
    for member in members[:3]:
        fleet.release(member)
    assert fleet.worn
    fleet.sessions(artefacts[0])
    assert not fleet.worn


def test_a_full_fleet_says_so(artefacts: list[Artefact], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "MAX_ARTEFACTS_PER_FLEET", 2)
    fleet = Fleet()
    for artefact in artefacts[:2]:
        fleet.sessions(artefact)
    with pytest.raises(MemoryError, match="2 artefacts"):
        fleet.sessions(artefacts[2])


def _stepped(artefact: Artefact, index: int, ticks: Records) -> Sessions:
    reference = alone(artefact, index)
    reference.step(ticks)
    return reference
