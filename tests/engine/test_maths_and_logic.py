"""Arithmetic, windows and conditions that remember, held to their definitions written out over whole histories."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import series
from agreement import InterpretedInstance
from graphs import drawing

from algotrade.engine import native
from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings

Number = float | None  # None: NaN
Truth = bool | None
COUNT = 400
HALF_HOUR = 1_800 * 1_000_000_000


def bars() -> Records:
    """Closes of few different values, so that conditions come, go, tie and repeat; a bar every half hour."""
    rng = np.random.default_rng(3)
    made = series.at_closes(*rng.choice([1.0, 2.0, 2.5, 3.0, 4.0, 5.5], COUNT))
    made["volume"] = rng.integers(0, 5, COUNT)
    made["ts"] = 1_709_510_400_000_000_000 + np.arange(COUNT) * HALF_HOUR  # 4 March 2024, a Monday, 00:00
    return made


BARS = bars()
X = [close / series.SCALE for close in BARS["close"].tolist()]
V = [float(volume) for volume in BARS["volume"].tolist()]
GAPPY: list[Number] = [math.sqrt(x - 2) if x >= 2 else None for x in X]  # NaN below 2
SOURCES = {
    "x": "price",
    "v": "volume",
    "two": ("constant", {"value": 2}),
    "less": "sub",
    "gappy": "sqrt",
    "low": ("compare", {"op": "<", "value": 2.5}),
    "high": ("compare", {"op": ">", "value": 3}),
    "idle": ("compare", {"op": "==", "value": 0}),
    "unsure": ("compare", {"op": ">", "value": 1}),  # unknown where gappy is NaN
}
WIRES = "x>less.a two>less.b less>gappy x>low.a x>high.a v>idle.a gappy>unsure.a"
LOW, HIGH, IDLE = [x < 2.5 for x in X], [x > 3 for x in X], [v == 0 for v in V]
UNSURE: list[Truth] = [None if g is None else g > 1 for g in GAPPY]


def run(kind: str, params: dict[str, Any], wires: str) -> list[Any]:
    """A node's only output at every close; the wires lead from SOURCES to it, called ``n``."""
    document = drawing({**SOURCES, "n": (kind, params), "end": "hold"}, f"{WIRES} {wires} high>end")
    artefact = compile_strategy(document, probe=True).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings())
    found = []
    for index in range(COUNT):
        sessions.run(slot, BARS[index : index + 1])
        found.append(sessions.probes(slot)["n", "value"])
    return found


def samples(values: Sequence[Number], of: Callable[[list[float]], Number]) -> list[Number]:
    """A function of the samples so far at each bar; a NaN is none, and gives NaN."""
    seen: list[float] = []
    found = []
    for value in values:
        if value is not None:
            seen.append(value)
        found.append(None if value is None else of(seen))
    return found


def window(n: int, of: Callable[[list[float]], float]) -> Callable[[list[float]], Number]:
    return lambda seen: of(seen[-n:]) if len(seen) >= n else None


def each(of: Callable[..., Number], *inputs: Sequence[Number]) -> list[Number]:
    return [None if None in row else of(*row) for row in zip(*inputs, strict=True)]


def away(x: float) -> float:
    return math.copysign(math.floor(abs(x) + 0.5), x)


NUMBERS: dict[str, tuple[str, dict[str, Any], str, list[Number]]] = {
    "power": ("power", {}, "x>n.a v>n.b", each(lambda x, v: x**v, X, V)),
    "power of NaN": ("power", {}, "gappy>n.a v>n.b", each(lambda x, v: x**v, GAPPY, V)),
    "abs": ("abs", {}, "less>n", [abs(x - 2) for x in X]),
    "neg": ("neg", {}, "gappy>n", each(lambda x: -x, GAPPY)),
    "ln": ("ln", {}, "less>n", [math.log(x - 2) if x > 2 else None for x in X]),
    "exp": ("exp", {}, "less>n", [math.exp(x - 2) for x in X]),
    "sqrt": ("sqrt", {}, "less>n", GAPPY),
    "round": ("round", {}, "less>n", [away(x - 2) for x in X]),
    "floor": ("floor", {}, "less>n", [math.floor(x - 2) for x in X]),
    "ceil": ("ceil", {}, "less>n", [math.ceil(x - 2) for x in X]),
    "clamp": ("clamp", {"low": 1.5, "high": 3}, "x>n", [min(3, max(1.5, x)) for x in X]),
    "clamp of NaN": ("clamp", {"low": 0.5, "high": 1}, "gappy>n", each(lambda x: min(1, max(0.5, x)), GAPPY)),
    "lag": ("lag", {"n": 3}, "gappy>n", samples(GAPPY, lambda s: s[-4] if len(s) > 3 else None)),
    "pct_change": ("pct_change", {"n": 2}, "x>n", samples(X, lambda s: s[-1] / s[-3] - 1 if len(s) > 2 else None)),
    "change of nothing": (
        "pct_change",
        {},
        "v>n",
        samples(V, lambda s: s[-1] / s[-2] - 1 if len(s) > 1 and s[-2] else None),
    ),
    **{
        f"{name} {n} of {source}": (name, {"timeperiod": n}, f"{source}>n", samples(values, window(n, of)))
        for name, of in (
            ("max", max),
            ("min", min),
            ("sum", math.fsum),
            ("mean", statistics.fmean),
            ("median", statistics.median),
        )
        for n in (2, 5, 6, 64)
        for source, values in (("x", X), ("gappy", GAPPY))
    },
    "minof": ("minof", {}, "x>n v>n gappy>n", each(min, X, V, GAPPY)),
    "maxof": ("maxof", {}, "x>n v>n two>n", each(max, X, V, [2.0] * COUNT)),
    "sumof": ("sumof", {}, "x>n v>n gappy>n", each(lambda *row: sum(row), X, V, GAPPY)),
    "cumsum": ("cumsum", {}, "gappy>n.input", samples(GAPPY, math.fsum)),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(case: str) -> None:
    kind, params, wires, expected = NUMBERS[case]
    assert_numbers(run(kind, params, wires), expected)


def assert_numbers(got: list[Number], expected: list[Number]) -> None:
    assert [x is None for x in got] == [x is None for x in expected]
    assert [x for x in got if x is not None] == pytest.approx([x for x in expected if x is not None], rel=1e-12)


def test_a_sum_begins_anew() -> None:
    total, expected = 0.0, []
    for x, reset in zip(X, LOW, strict=True):
        total = x if reset else total + x
        expected.append(total)
    assert_numbers(run("cumsum", {}, "x>n.input low>n.reset"), expected)


def test_select() -> None:
    expected = [None if u is None else (x if u else v) for u, x, v in zip(UNSURE, X, V, strict=True)]
    assert_numbers(run("select", {}, "unsure>n.when x>n.a v>n.b"), expected)


# ------------------------------------------------------------------ conditions


def test_between() -> None:
    expected = [None if g is None else 0.5 <= g <= math.sqrt(1) for g in GAPPY]
    assert run("between", {"low": 0.5, "high": 1}, "gappy>n") == expected
    assert True in expected
    assert False in expected


def test_xor_is_known_where_all_are() -> None:
    expected = [None if u is None else low ^ high ^ u for low, high, u in zip(LOW, HIGH, UNSURE, strict=True)]
    assert run("xor", {}, "low>n high>n unsure>n") == expected


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("kind", "sign"), [("rising", 1), ("falling", -1)])
def test_moves_in_a_row(kind: str, sign: int, n: int) -> None:
    def moved(seen: list[float]) -> Number:
        if len(seen) <= n:
            return None
        return all(sign * (b - a) > 0 for a, b in zip(seen[-n - 1 : -1], seen[-n:], strict=True))

    assert run(kind, {"n": n}, "gappy>n") == samples(GAPPY, moved)


def test_edge_counts_unknown_as_false() -> None:
    states = [bool(u) for u in UNSURE]
    expected = [now and not before for before, now in zip([False, *states], states, strict=False)]
    assert run("edge", {}, "unsure>n") == expected


@pytest.mark.parametrize("n", [1, 2, 4])
def test_runs_of_bars(n: int) -> None:
    states = [bool(u) for u in UNSURE]
    held = [index >= n - 1 and all(states[index - n + 1 : index + 1]) for index in range(COUNT)]
    within = [any(states[max(0, index - n + 1) : index + 1]) for index in range(COUNT)]
    assert run("holdfor", {"n": n}, "unsure>n") == held
    assert run("withinlast", {"n": n}, "unsure>n") == within


def test_latch_lets_reset_win() -> None:
    on, expected = False, []
    for high, idle in zip(HIGH, IDLE, strict=True):
        on = (on or high) and not idle
        expected.append(on)
    assert any(high and idle for high, idle in zip(HIGH, IDLE, strict=True))
    assert run("latch", {}, "high>n.set idle>n.reset") == expected


@pytest.mark.parametrize("scope", ["day", "session"])
def test_once_per(scope: str) -> None:
    seen: set[Any] = set()
    expected = []
    for ts, high in zip(BARS["ts"].tolist(), HIGH, strict=True):
        key = datetime.fromtimestamp(ts // 10**9, UTC).date() if scope == "day" else scope
        expected.append(high and key not in seen)
        if high:
            seen.add(key)
    assert run("once_per", {"scope": scope}, "high>n") == expected


def test_every_n_bars() -> None:
    assert run("every_n_bars", {"n": 7}, "") == [(index + 1) % 7 == 0 for index in range(COUNT)]


@pytest.mark.parametrize(
    ("start", "end", "days", "zone"),
    [
        ("09:30", "16:00", "mon-fri", "America/New_York"),
        ("22:00", "02:30", "fri,sun", "UTC"),
        ("00:00", "24:00", "sat-mon", "Asia/Kolkata"),
    ],
)
def test_time_window(start: str, end: str, days: str, zone: str) -> None:
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    wanted = {"mon-fri": names[:5], "fri,sun": ("fri", "sun"), "sat-mon": ("sat", "sun", "mon")}[days]
    expected = []
    for ts in BARS["ts"].tolist():
        local = datetime.fromtimestamp(ts // 10**9, UTC).astimezone(ZoneInfo(zone))
        clock, day = local.strftime("%H:%M"), local.weekday()
        if start < end:
            inside = start <= clock < end
        else:
            inside = clock >= start or clock < end
            day -= clock < end
        expected.append(inside and names[day % 7] in wanted)
    assert 0 < sum(expected) < COUNT
    assert run("time_window", {"from": start, "to": end, "days": days, "timezone": zone}, "") == expected


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"from": "9:30"}, "from"),
        ({"to": "24:01"}, "to"),
        ({"days": "monday"}, "days"),
        ({"from": "10:00", "to": "10:00"}, "to"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
    ],
)
def test_a_window_that_cannot_be(params: dict[str, str], param: str) -> None:
    found = compile_strategy(drawing({"n": ("time_window", params), "end": "hold"}, "n>end")).diagnostics
    assert [(d.node_id, d.param) for d in found] == [("n", param)]


def test_since_and_when() -> None:
    since, last, expected_since, expected_when = None, None, [], []
    for high, g in zip(HIGH, GAPPY, strict=True):
        since = 0 if high else None if since is None else since + 1
        last = g if high and g is not None else last
        expected_since.append(since)
        expected_when.append(last)
    assert_numbers(run("bars_since", {}, "high>n"), expected_since)
    assert_numbers(run("value_when", {}, "high>n.when gappy>n.value"), expected_when)


def test_counter() -> None:
    count, expected = 0, []
    for high, idle in zip(HIGH, IDLE, strict=True):
        count = (0 if idle else count) + high
        expected.append(count)
    assert_numbers(run("counter", {}, "high>n.input idle>n.reset"), expected)


def test_cooldown() -> None:
    silent, expected = 0, []
    for high in HIGH:
        passed = high and silent == 0
        silent = 5 if passed else max(0, silent - 1)
        expected.append(passed)
    assert run("cooldown", {"bars": 5}, "high>n") == expected


def test_once_per_position() -> None:
    """One in each position and one in each time without: it buys once, so the position itself decides."""
    nodes = {"p": "price", "is": ("compare", {"op": ">", "value": 0}), "once": ("once_per", {"scope": "position"})}
    nodes |= {"b": "buy", "every": ("every_n_bars", {"n": 4}), "x": "sell"}
    artefact = compile_strategy(drawing(nodes, "p>is.a is>once once>b every>x"), probe=True).artefact
    assert artefact is not None
    sessions = Sessions(artefact)
    slot, found = sessions.add(RunSettings()), []
    for index in range(9):
        sessions.run(slot, BARS[index : index + 1])
        found.append(sessions.probes(slot)["once", "value"])
    # Bought at the second open and sold at the fifth and ninth: a new time begins at the closes of those bars.
    assert found == [True, True, False, False, True, True, False, False, True]


CONDITIONS = {
    "between": ({}, "gappy>n"),
    "xor": ({}, "low>n high>n unsure>n"),
    "rising": ({"n": 2}, "gappy>n"),
    "edge": ({}, "unsure>n"),
    "holdfor": ({"n": 3}, "unsure>n"),
    "withinlast": ({"n": 3}, "unsure>n"),
    "latch": ({}, "high>n.set idle>n.reset"),
    "once_per": ({"scope": "day"}, "high>n"),
    "time_window": ({"from": "22:00", "to": "02:30", "timezone": "Asia/Kolkata"}, ""),
    "bars_since": ({}, "high>n"),
    "value_when": ({}, "high>n.when gappy>n.value"),
    "counter": ({}, "high>n.input idle>n.reset"),
    "cooldown": ({"bars": 5}, "high>n"),
    "select": ({}, "unsure>n.when x>n.a v>n.b"),
}


def test_the_interpreter_agrees_to_the_last_bit() -> None:
    """Every node of this page at once: all ports of both, after each bar."""
    nodes: dict[str, Any] = {**SOURCES, "end": "hold"}
    wires = [WIRES, "high>end"]
    cases = [(kind, params, links) for kind, params, links, _ in NUMBERS.values()]
    cases += [(kind, params, links) for kind, (params, links) in CONDITIONS.items()]
    for index, (kind, params, links) in enumerate(cases):
        nodes[f"n{index}"] = (kind, params)
        wires.append(links.replace(">n", f">n{index}"))
    compilation = compile_strategy(drawing(nodes, " ".join(wires)), probe=True)
    assert compilation.artefact is not None
    assert compilation.program is not None
    by_wasm = Sessions(compilation.artefact)
    with patch.object(native, "Instance", lambda *_: InterpretedInstance(compilation.program)):
        by_interpreter = Sessions(compilation.artefact)
    slots = [sessions.add(RunSettings()) for sessions in (by_wasm, by_interpreter)]
    for index in range(150):
        for sessions, slot in zip((by_wasm, by_interpreter), slots, strict=True):
            sessions.run(slot, BARS[index : index + 1])
        assert by_wasm.probes(slots[0]) == by_interpreter.probes(slots[1])
