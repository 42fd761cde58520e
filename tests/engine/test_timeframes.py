"""Coarser timeframes, held to a plain reading: of each clock only bars that have ended, once each and in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import series
from agreement import InterpretedInstance
from graphs import drawing
from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.engine import native
from algotrade.engine.backtest import backtest
from algotrade.engine.compile import Compilation, compile_strategy
from algotrade.engine.records import TICK, Records, bar_ticks
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings, SettingsError

MINUTE = 60 * 1_000_000_000
LENGTH = {"5m": 5, "15m": 15, "1h": 60, "4h": 240}  # in minutes
Values = list[float | None]

# Every clock, clocks mixed, state on each of them, and a held condition.
NODES = {
    "x": "price",
    **{f"x{t}": ("price", {"timeframe": t}) for t in LENGTH},
    "high1h": ("price", {"field": "high", "timeframe": "1h"}),
    "volume5m": ("volume", {"timeframe": "5m"}),
    "atr5m": ("atr", {"timeperiod": 3, "timeframe": "5m"}),
    "mean5m": ("mean", {"timeperiod": 3}),
    "mean1h": ("mean", {"timeperiod": 2}),
    "one": ("constant", {"value": 1}),
    "more1h": "add",
    "above": "sub",  # 1h beside 15m: runs on 15m
    "last": "lag",  # of that
    "counted": "counter",
    "up": ("compare", {"op": ">"}),
    "every": ("compare", {"op": ">", "value": 0}),
    "b": "buy",
    "often": ("every_n_bars", {"n": 11}),
    "s": "sell",
}
WIRES = (
    "x5m>mean5m x1h>mean1h mean1h>more1h.a one>more1h.b x15m>above.a x1h>above.b above>last"
    " x15m>up.a x1h>up.b up>counted.input x>every.a up>b often>s"
)


def minutes(closes: Sequence[float], gaps: Sequence[int], start: int = 0) -> Records:
    """Bars that stand so many minutes apart."""
    made = series.at_closes(*closes)
    made["ts"] = (start + np.concatenate([[0], np.cumsum(gaps)])) * MINUTE
    made["high"] += 50_000_000
    made["low"] -= 25_000_000
    made["volume"] = np.arange(1, len(made) + 1)
    return made


def run(compilation: Compilation, bars: Records, names: Sequence[str]) -> dict[str, Values]:
    assert compilation.artefact is not None
    sessions = Sessions(compilation.artefact)
    slot = sessions.add(RunSettings.parse({"native_seconds": 60}))
    found: dict[str, Values] = {name: [] for name in names}
    for index in range(len(bars)):
        sessions.run(slot, bars[index : index + 1])
        probes = sessions.probes(slot)
        for name in names:
            found[name].append(probes[name, "value"])
    return found


class Reference:
    """What each port shows at a bar, from the definition alone: the whole history is looked at anew every time."""

    def __init__(self, bars: Records) -> None:
        self.rows = [
            tuple(bars[name][i].item() / (1 if name in ("ts", "volume") else series.SCALE) for name in bars.dtype.names)
            for i in range(len(bars))
        ]

    def closed(self, end: int, length: int) -> list[tuple[int, float, float, float, float]]:
        """Bars of so many minutes that had ended by a time: (end, high, low, close, volume), whole ones only."""
        width = length * MINUTE
        groups: dict[int, list[Any]] = {}
        for row in self.rows:
            if row[0] + MINUTE <= end:
                groups.setdefault(int(row[0]) // width * width, []).append(row)
        return [
            (start + width, max(r[2] for r in g), min(r[3] for r in g), g[-1][4], sum(r[5] for r in g))
            for start, g in groups.items()
            if start + width <= end and start >= self.rows[0][0]
        ]

    def close(self, end: int, length: int) -> float | None:
        bars = self.closed(end, length)
        return bars[-1][3] if bars else None

    def mean(self, end: int, length: int, n: int) -> float | None:
        closes = [bar[3] for bar in self.closed(end, length)]
        return sum(closes[-n:]) / n if len(closes) >= n else None

    def at(self, index: int) -> dict[str, float | None]:
        end = int(self.rows[index][0]) + MINUTE
        shown: dict[str, float | None] = {f"x{t}": self.close(end, length) for t, length in LENGTH.items()}
        hours, fives = self.closed(end, 60), self.closed(end, 5)
        shown["high1h"] = hours[-1][1] if hours else None
        shown["volume5m"] = fives[-1][4] if fives else None
        shown["mean5m"], shown["mean1h"] = self.mean(end, 5, 3), self.mean(end, 60, 2)
        shown["more1h"] = None if shown["mean1h"] is None else shown["mean1h"] + 1
        # At each quarter of an hour's end, with the hour as it was known then.
        samples: list[float] = []
        above: float | None = None
        counted = 0
        for quarter in self.closed(end, 15):
            hour = self.close(quarter[0], 60)
            above = None if hour is None else quarter[3] - hour
            samples += [] if above is None else [above]
            counted += hour is not None and quarter[3] > hour
        shown["above"] = above
        shown["last"] = samples[-2] if above is not None and len(samples) > 1 else None
        shown["counted"] = counted if self.closed(end, 15) else None
        return shown


@settings(max_examples=25)
@given(
    st.integers(0, 300),
    st.lists(
        st.tuples(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 3, 7, 20, 70, 300]), st.sampled_from([7, 8, 9.5, 10, 12])),
        min_size=5,
        max_size=220,
    ),
)
def test_only_bars_that_have_ended(start: int, steps: list[tuple[int, float]]) -> None:
    bars = minutes([8, *(close for _, close in steps)], [gap for gap, _ in steps], start)
    reference = Reference(bars)
    names = list(reference.at(0))
    found = run(compile_strategy(drawing(NODES, WIRES), probe=True), bars, names)
    for index in range(len(bars)):
        expected = reference.at(index)
        for name in names:
            got = found[name][index]
            if name == "counted" and expected[name] is None:
                assert got is None
            else:
                assert got == pytest.approx(expected[name]), (name, index)


def walk(count: int, seed: int = 4) -> Records:
    rng = np.random.default_rng(seed)
    gaps = rng.choice([1, 1, 1, 1, 2, 6, 40], count - 1)
    return minutes(np.round(100 + np.cumsum(rng.normal(0, 1, count)).clip(-90), 2).tolist(), gaps.tolist())


def outcome(bars: Records) -> list[Any]:
    artefact = compile_strategy(drawing(NODES, WIRES)).artefact
    assert artefact is not None
    result = backtest(artefact, bars, RunSettings.parse({"native_seconds": 60}))
    return [tuple(event)[1:] for event in result.events.tolist()]


@pytest.mark.parametrize("cut", [101, 350, 599])
def test_the_future_changes_nothing_that_was_decided(cut: int) -> None:
    bars = walk(900)
    other = walk(900, seed=99)
    joined = np.concatenate([bars[:cut], other[cut:]])
    joined["ts"][cut:] = bars["ts"][cut:]
    until = int(bars["ts"][cut])
    before = [event for event in outcome(bars) if event[4] < until]
    assert before == [event for event in outcome(joined) if event[4] < until]
    assert before == [event for event in outcome(bars[:cut]) if event[4] < until]
    assert len(before) > 5


def test_bars_ticks_and_the_interpreter_agree() -> None:
    bars = walk(400)
    compilation = compile_strategy(drawing(NODES, WIRES), probe=True)
    assert compilation.artefact is not None
    assert compilation.program is not None
    run_settings = RunSettings.parse({"interval": "1m"})
    by_bars, by_ticks = Sessions(compilation.artefact), Sessions(compilation.artefact)
    with patch.object(native, "Instance", lambda *_: InterpretedInstance(compilation.program)):
        interpreted = Sessions(compilation.artefact)
    for sessions in (by_bars, by_ticks, interpreted):
        sessions.add(run_settings)
    ticks = bar_ticks(bars)
    assert ticks.dtype == TICK
    events = [by_bars.run(0, bars[i : i + 1])[1] for i in range(len(bars))]
    stepped = [by_ticks.step(ticks[4 * i : 4 * i + 4]) for i in range(len(bars))]
    mirrored = [interpreted.step(ticks[4 * i : 4 * i + 4]) for i in range(len(bars))]
    told = [
        np.concatenate(parts)[["kind", "node", "number", "ts", "price", "cash"]]
        for parts in (events, stepped, mirrored)
    ]
    assert len(told[0]) > 5
    assert told[0].tolist() == told[1].tolist() == told[2].tolist()
    assert by_bars.probes(0) == by_ticks.probes(0) == interpreted.probes(0)


def test_an_action_acts_when_its_clock_closes_a_bar() -> None:
    """Above its mean all the time; it is asked once an hour, not every minute of the hour that follows."""
    document = drawing(
        {"h": ("price", {"timeframe": "1h"}), "is": ("compare", {"op": ">", "value": 0}), "b": "buy"}, "h>is.a is>b"
    )
    artefact = compile_strategy(document).artefact
    assert artefact is not None
    bars = minutes([10.0] * 300, [1] * 299)
    result = backtest(artefact, bars, RunSettings())
    assert artefact.report.warmup_by_timeframe == {"1h": 0}
    assert [trade.entry_ts // MINUTE for trade in result.trades] == [60]  # decided as the first hour ends
    assert result.rejections == {"already_long": 4}  # as each of the next ends; the fifth ends with the data


def test_no_entry_is_held_through_the_hour() -> None:
    """A guard reads what is held, on the run's own clock."""
    nodes = {
        "x": "price",
        "always": ("compare", {"op": ">", "value": 0}),
        "b": "buy",
        "h": ("price", {"timeframe": "1h"}),
        "s": ("stop_loss", {}),
    }
    artefact = compile_strategy(drawing(nodes, "x>always.a always>b h>s.level")).artefact
    assert artefact is not None
    closes = [10.0] * 60 + [20.0] * 5 + [9.0] * 5
    result = backtest(artefact, minutes(closes, [1] * 69), RunSettings())
    first = result.trades[0]
    assert first.exit_reason == "stop_loss"
    assert first.exit_ts is not None
    assert first.exit_ts // MINUTE == 65


def test_the_warm_up_counts_each_clock() -> None:
    nodes = {
        "x": "price",
        "h": ("price", {"timeframe": "1h"}),
        "mh": ("mean", {"timeperiod": {"param": "n"}}),
        "mx": ("mean", {"timeperiod": 30}),
        "up": ("compare", {"op": ">="}),
        "b": "buy",
    }
    parameters = [{"name": "n", "type": "int", "default": 3, "min": 1, "max": 5}]
    artefact = compile_strategy(drawing(nodes, "h>mh x>mx mx>up.a mh>up.b up>b", parameters)).artefact
    assert artefact is not None
    assert (artefact.report.warmup_bars, artefact.report.warmup_by_timeframe) == (29, {"1h": 2})
    bars = minutes([10.0] * 400, [1] * 399)
    for n in (1, 3, 4):
        result = backtest(artefact, bars, RunSettings(), {"n": n})
        assert result.trades[0].entry_ts // MINUTE == max(30, n * 60)


@pytest.mark.parametrize(
    ("given_settings", "field"),
    [({"interval": "4h"}, "interval"), ({"interval": "native"}, "interval"), ({"native_seconds": 7 * 60}, "interval")],
)
def test_bars_that_the_timeframe_is_no_multiple_of(given_settings: dict[str, Any], field: str) -> None:
    artefact = compile_strategy(drawing(NODES, WIRES)).artefact
    assert artefact is not None
    with pytest.raises(SettingsError) as error:
        Sessions(artefact).add(RunSettings.parse(given_settings))
    assert error.value.field == field


def test_a_backtest_finds_how_long_its_bars_are() -> None:
    artefact = compile_strategy(drawing(NODES, WIRES)).artefact
    assert artefact is not None
    result = backtest(artefact, walk(50), RunSettings())
    assert result.settings.as_text()["native_seconds"] == "60"
    with pytest.raises(SettingsError, match="no multiple of 120"):
        backtest(artefact, minutes([10.0] * 5, [2] * 4), RunSettings())


def test_ticks_are_bars_without_length() -> None:
    """With each tick a bar of its own, the minute's bar is known with the first tick after it."""
    document = drawing(
        {"m": ("price", {"timeframe": "1m"}), "is": ("compare", {"op": ">", "value": 0}), "b": "buy"}, "m>is.a is>b"
    )
    artefact = compile_strategy(document, probe=True).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings.parse({"interval": "tick"}))
    ticks = np.zeros(5, TICK)
    ticks["ts"] = np.array([0, 20, 59, 60, 130]) * 1_000_000_000
    ticks["price"], ticks["size"], ticks["seq"] = np.array([1, 2, 3, 4, 5]) * series.SCALE, 1, np.arange(1, 6)
    seen = []
    for index in range(5):
        sessions.step(ticks[index : index + 1])
        seen.append(sessions.probes(slot)["m", "value"])
    assert seen == [None, None, None, 3.0, 4.0]
