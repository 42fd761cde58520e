"""Sessions side by side in one memory: independent, movable, bounded."""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues

import numpy as np
import pytest
from graphs import drawing, threshold
from series import at_closes

from algotrade.engine.backtest import Backtests, backtest
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.fixed import SCALE
from algotrade.engine.records import EventKind, Records, bar_ticks
from algotrade.engine.runtime import EXITS_ONLY, HALTED, Sessions
from algotrade.engine.settings import RunSettings, SettingsError

SETTINGS = RunSettings()
PRICES = [100, 111, 112, 90, 95, 115, 116, 80, 120, 121]


def compiled(document: dict[str, object]) -> Artefact:
    compilation = compile_strategy(document)
    assert compilation.artefact is not None, compilation.diagnostics
    return compilation.artefact


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return compiled(threshold(110, 92))


@pytest.fixture(scope="module")
def ticks() -> Records:
    return bar_ticks(at_closes(*PRICES))


def test_sessions_do_not_touch_each_other(artefact: Artefact, ticks: Records) -> None:
    alone = Sessions(artefact)
    first = alone.add(RunSettings(fee_bps=0))
    expected = alone.step(ticks)
    together = Sessions(artefact)
    slots = [together.add(RunSettings(fee_bps=bps * SCALE)) for bps in (0, 10, 20)]
    events = together.step(ticks)
    own = events[events["slot"] == slots[0]]
    assert (own[list(own.dtype.names[1:])] == expected[list(own.dtype.names[1:])]).all()
    assert together.state(slots[0]) == alone.state(first)
    assert len({together.state(slot).cash for slot in slots}) == 3


def test_rows_survive_growth_and_removal(artefact: Artefact, ticks: Records) -> None:
    sessions = Sessions(artefact)
    slots = [sessions.add(RunSettings(initial_cash=(1000 + i) * SCALE)) for i in range(100)]
    sessions.remove(slots[3])
    sessions.step(ticks[:12])
    assert [sessions.state(s).cost > 0 for s in slots if s != slots[3]] == [True] * 99
    assert sessions.add(SETTINGS) == slots[3]
    assert sessions.state(slots[3]).cash == SETTINGS.initial_cash
    with pytest.raises(KeyError):
        sessions.state(1_000)


@pytest.mark.parametrize("cut", [1, 7, 9, 14, 30])
def test_a_snapshot_goes_on_in_another_memory(artefact: Artefact, ticks: Records, cut: int) -> None:
    whole = Sessions(artefact)
    slot = whole.add(SETTINGS)
    expected = whole.step(ticks)
    before = Sessions(artefact)
    moved_from = before.add(SETTINGS)
    head = before.step(ticks[:cut])
    after = Sessions(artefact)
    for _ in range(3):
        after.add(RunSettings(initial_cash=SCALE))
    moved_to = after.add(RunSettings(initial_cash=SCALE))
    after.restore(moved_to, before.snapshot(moved_from))
    tail = after.step(ticks)  # from the start again: what it has seen is skipped
    tail = tail[tail["slot"] == moved_to]
    assert np.concatenate([head, tail])["number"].tolist() == expected["number"].tolist()
    assert np.concatenate([head, tail])["cash"].tolist() == expected["cash"].tolist()
    assert after.state(moved_to) == whole.state(slot)


def test_a_snapshot_of_another_artefact_is_refused(artefact: Artefact) -> None:
    sessions = Sessions(artefact)
    with pytest.raises(ValueError, match="bytes"):
        sessions.restore(sessions.add(SETTINGS), b"short")


def test_exits_only_takes_no_entry_but_leaves(artefact: Artefact, ticks: Records) -> None:
    sessions = Sessions(artefact)
    slot = sessions.add(SETTINGS)
    sessions.step(ticks[:12])
    assert sessions.state(slot).quantity > 0
    sessions.set_mode(slot, EXITS_ONLY)
    events = sessions.step(ticks[12:])
    assert sessions.state(slot).quantity == 0
    assert set(events["kind"]) == {EventKind.EXIT, EventKind.REJECTION}


def test_halted_takes_nothing(artefact: Artefact, ticks: Records) -> None:
    sessions = Sessions(artefact)
    slot = sessions.add(SETTINGS)
    sessions.set_mode(slot, HALTED)
    assert len(sessions.step(ticks)) == 0
    assert sessions.state(slot).bars == 0


def test_flatten_sells_at_the_next_tick(artefact: Artefact, ticks: Records) -> None:
    sessions = Sessions(artefact)
    slot = sessions.add(SETTINGS)
    sessions.step(ticks[:12])
    sessions.flatten(slot)
    (event,) = sessions.step(ticks[12:13])
    assert (event["kind"], event["price"]) == (EventKind.EXIT, 90 * SCALE)
    sessions.flatten(slot)  # nothing is held: nothing happens
    assert len(sessions.step(ticks[13:14])) == 0


def test_parameters_are_bound_when_a_session_starts() -> None:
    document = drawing(
        {
            "close": "price",
            "fast": ("sma", {"timeperiod": {"param": "n"}}),
            "above": ("compare", {"op": ">", "value": {"param": "limit"}}),
            "buy": ("buy", {"size": {"param": "share"}}),
        },
        "close>fast fast>above.a above>buy",
        parameters=[
            {"name": "n", "type": "int", "default": 2, "min": 2, "max": 5},
            {"name": "limit", "type": "float", "default": 1e9},
            {"name": "share", "type": "float", "default": 100, "min": 1, "max": 100},
        ],
    )
    sessions = Sessions(compiled(document))
    idle = sessions.add(SETTINGS)
    half = sessions.add(RunSettings(fee_bps=0), {"n": 5, "limit": "10.5", "share": 50})
    assert [sessions.state(s).warmup_bars for s in (idle, half)] == [1, 4]
    sessions.step(bar_ticks(at_closes(10, 10, 10, 10, 13, 11, 11)))
    assert sessions.state(idle).quantity == 0
    # The mean of the first five is 10.6, so half of 10,000 is spent at 11, the open after it.
    assert sessions.state(half).cost == pytest.approx(5_000 * SCALE, abs=11)


@pytest.mark.parametrize(
    ("given", "name"), [({"m": 3}, "m"), ({"n": 1}, "n"), ({"n": 6}, "n"), ({"n": 2.5}, "n"), ({"n": "x"}, "n")]
)
def test_parameters_that_the_strategy_does_not_allow(given: dict[str, object], name: str) -> None:
    document = drawing(
        {"close": "price", "mean": ("sma", {"timeperiod": {"param": "n"}}), "up": "crossover", "buy": "buy"},
        "close>mean close>up.a mean>up.b up>buy",
        parameters=[{"name": "n", "type": "int", "default": 2, "min": 2, "max": 5}],
    )
    sessions = Sessions(compiled(document))
    with pytest.raises(SettingsError) as error:
        sessions.add(SETTINGS, given)
    assert error.value.field == name
    assert sessions.slots == []


def test_a_full_log_loses_nothing() -> None:
    """Far more rejections than one log holds, over ticks and over bars."""
    artefact = compiled(threshold(1, 0.5, size=1))
    bars = at_closes(*([100.0] * 200_000))
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings(interval="native"))
    batches = [bar_ticks(bars[i:][:50_000], 1 + 4 * i) for i in range(0, len(bars), 50_000)]
    numbers = np.concatenate([sessions.step(batch)["number"] for batch in batches])
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    again, done = Sessions(artefact), 0
    other = again.add(SETTINGS)
    counts = []
    while done < len(bars):
        taken, events = again.run(other, bars[done:])
        done += taken
        counts.append(len(events))
    assert sum(counts) == len(numbers)
    assert again.state(other).cash == sessions.state(slot).cash


@pytest.mark.parametrize("interval", ["native", "5m"])
def test_held_bars_give_what_copied_bars_give(artefact: Artefact, interval: str) -> None:
    bars = at_closes(*PRICES * 30)
    many = Backtests(artefact, bars)
    for fee in (0, 25):
        settings = RunSettings(interval=interval, fee_bps=fee * SCALE)
        once, again = backtest(artefact, bars, settings), many.run(settings)
        assert once.trades == again.trades
        assert once.state == again.state
        assert once.trades


def test_a_fork_compiles_and_runs(artefact: Artefact) -> None:
    """A child of a process that has compiled: it must not wait for threads that it does not have."""
    assert Sessions(artefact).slots == []
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_run_in_fork, args=(answers,))
    child.start()
    assert answers.get(timeout=60) == 1
    child.join(60)
    assert child.exitcode == 0


def _run_in_fork(answers: multiprocessing.queues.Queue[int]) -> None:
    again = compiled(threshold(110, 91))
    answers.put(len(backtest(again, at_closes(*PRICES[:4]), SETTINGS).trades))
