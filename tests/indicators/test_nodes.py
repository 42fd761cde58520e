"""What holds for every indicator of the catalogue: gaps, lookbacks, bound parameters, module and interpreter."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import series
from graphs import drawing

from algotrade.engine.compile import compile_strategy
from algotrade.engine.node_type import Category, NodeType, ParamKind, PortKind
from algotrade.engine.nodes import CATALOGUE
from algotrade.engine.nodes.patterns import PATTERNS
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings
from algotrade.engine.site import Site
from indicators.cases import TALIB, Case, Prices
from indicators.ports import Ports, compiled, interpreted, values, wired
from indicators.test_indicators import RELATIVE, error

FAMILIES = (
    Category.OVERLAP,
    Category.MOMENTUM,
    Category.VOLUME,
    Category.VOLATILITY,
    Category.STATISTICS,
    Category.PATTERN,
)
INDICATORS = {name: node for name, node in CATALOGUE.items() if node.category in FAMILIES} | {
    "heikin_ashi": CATALOGUE["heikin_ashi"]
}
OPEN = [name for name, node in INDICATORS.items() if any(not port.required for port in node.inputs)]
MINUTE = 60 * 1_000_000_000
OF_INPUTS = sorted(kind for kind, indicator in TALIB.items() if indicator.inputs)
# x is the close, except that it is not a number on bars without volume: 0 / 0 - 0 / 0.
GAPS: dict[str, Any] = {"c": "price", "v": "volume", "one": "div", "none": "sub", "x": "add"}
GAP_WIRES = "v>one.a v>one.b one>none.a one>none.b c>x.a none>x.b"
SMALL = 3


def with_gaps(bars: Records, share: float = 0.2) -> Records:
    rng = np.random.default_rng(3)
    bars["volume"] = np.where(rng.random(len(bars)) < share, 0, np.maximum(1, bars["volume"]))
    bars["volume"][:3] = (0, 5, 0)
    return bars


@lru_cache(maxsize=1)
def gapped() -> tuple[Prices, Ports, np.ndarray[Any, Any]]:
    """Prices without the gaps, the ports with them, and which bars are gaps."""
    bars = with_gaps(series.walk(10_000_000_000, 400))
    nodes, wires = dict(GAPS), [GAP_WIRES]
    nodes["y"] = ("price", {"field": "high"})
    for kind in OF_INPUTS:
        for case in TALIB[kind].cases(kind):
            nodes[case.name] = (case.kind, case.params)
            wires += [f"{source}>{case.name}.{port}" for port, source in zip(case.inputs, "xy", strict=False)]
    gaps = bars["volume"] == 0
    return Prices.of(bars[~gaps]), values(compiled(nodes, " ".join(wires)), bars), gaps


@pytest.mark.parametrize("kind", OF_INPUTS)
def test_a_gap_is_not_a_sample(kind: str) -> None:
    """What is not a number is not consumed: the node stays as it was, and gives no number."""
    prices, found, gaps = gapped()
    indicator = TALIB[kind]
    for case in indicator.cases(kind):
        expected = indicator.expected(prices, case.params)
        for port, want in zip((port.name for port in CATALOGUE[kind].outputs), expected, strict=True):
            got = found[case.name, port]
            assert np.isnan(got[gaps]).all(), f"{case.name}.{port}"
            assert error(got[~gaps], want, indicator.allowed(prices)) <= RELATIVE, f"{case.name}.{port}"


def small(node: NodeType) -> dict[str, Any]:
    """Short periods, each another, so that a few bars are enough and no two are taken for each other."""
    ints = [param for param in node.params if param.kind is ParamKind.INT]
    return {param.name: SMALL + i for i, param in enumerate(ints)}


def wires_to(name: str, node: NodeType, *sources: str) -> list[str]:
    return [f"{source}>{name}.{port.name}" for port, source in zip(node.inputs, sources, strict=False)]


@lru_cache(maxsize=1)
def every_node() -> Any:
    """One graph of all indicators over a series with gaps, and every pattern."""
    nodes, wires = GAPS | {"y": "volume"}, [GAP_WIRES]
    for name, node in INDICATORS.items():
        nodes[name] = (name, small(node))
        wires += wires_to(name, node, "x", "y")
    nodes |= {pattern: ("candle_pattern", {"name": pattern}) for pattern in PATTERNS}
    return compiled(nodes, " ".join(wires))


@pytest.mark.parametrize("name", ["walk", "constant", "jumps"])
def test_module_and_interpreter_agree_to_the_bit(name: str) -> None:
    bars = series.walk(10_000_000_000) if name == "walk" else series.AWKWARD[name]()
    bars = with_gaps(bars[:90].copy(), 0.1)
    module, interpreter = values(every_node(), bars), interpreted(every_node(), bars)
    for port, got in module.items():
        assert np.array_equal(got, interpreter[port], equal_nan=True), port


@pytest.mark.parametrize("name", INDICATORS)
def test_first_value_comes_with_the_lookback(name: str) -> None:
    """On the bar that the warm-up names, at every output, and on every bar from there on."""
    node = INDICATORS[name]
    build = compiled({"x": "price", "y": "volume", name: (name, small(node))}, " ".join(wires_to(name, node, "x", "y")))
    assert build.artefact is not None
    lookback = build.artefact.report.warmup_bars
    bars = series.walk(10_000_000_000, 120)
    bars["volume"] += 1
    found = values(build, bars)
    for port in node.outputs:
        missing = np.isnan(found[name, port.name])
        assert missing[:lookback].all()
        assert not missing[lookback:].any()


def test_nodes_that_read_bars_take_a_timeframe(monkeypatch: pytest.MonkeyPatch) -> None:
    reading: set[str] = set()
    read = Site.bar
    monkeypatch.setattr(Site, "bar", lambda site, name: (reading.add(site.node.type.name), read(site, name))[1])
    compiled(dict(zip(OPEN, OPEN, strict=True)))
    every_node.__wrapped__()
    assert reading == {name for name, node in INDICATORS.items() if node.param("timeframe")}


def test_a_timeframe_is_the_bars_of_that_length() -> None:
    """On minute bars, what a node of a quarter of an hour shows as one ends is what it shows on bars of that length."""
    minutes = series.walk(10_000_000_000, 15 * 60)
    minutes["ts"] = np.arange(len(minutes)) * MINUTE
    groups = minutes.reshape(-1, 15)
    quarters = groups[:, 0].copy()
    quarters["high"], quarters["low"] = groups["high"].max(axis=1), groups["low"].min(axis=1)
    quarters["close"], quarters["volume"] = groups["close"][:, -1], groups["volume"].sum(axis=1)

    def build(timeframe: dict[str, str]) -> Any:
        nodes: dict[str, Any] = {"x": ("price", timeframe), "y": ("volume", timeframe)}
        wires = []
        for name, node in INDICATORS.items():
            named = timeframe if node.param("timeframe") else {}
            nodes[name] = (name, small(node) | named)
            wires += wires_to(name, node, "x", "y") if name not in OPEN else []
        return compiled(nodes, " ".join(wires))

    settings = RunSettings.parse({"native_seconds": 60})
    fine, coarse = values(build({"timeframe": "15m"}), minutes, settings=settings), values(build({}), quarters)
    for name, node in INDICATORS.items():
        for port in node.outputs:
            got = fine[name, port.name][14::15]
            assert np.array_equal(got, coarse[name, port.name], equal_nan=True), f"{name}.{port.name}"
            held = fine[name, port.name][15 * 40 : 15 * 40 + 14]
            assert np.array_equal(held, np.full(14, fine[name, port.name][15 * 40 - 1]), equal_nan=True), name


def bound(node: NodeType) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """A node's parameters as parameters of the strategy, their declarations, and values for a run."""
    params, declared, given = {}, [], {}
    for i, param in enumerate(param for param in node.params if param.kind in (ParamKind.INT, ParamKind.NUMBER)):
        value: Any = SMALL + i if param.kind is ParamKind.INT else 0.5
        most = 40 if param.kind is ParamKind.INT else 1
        name = f"{node.name}_{param.name}"
        kind = "int" if param.kind is ParamKind.INT else "float"
        least = param.minimum if param.kind is ParamKind.INT else 0.5
        if param.name == "periods":
            value, most, least = 12.0, 1000, 1
        declared.append({"name": name, "type": kind, "default": most, "min": least, "max": most, "step": 1})
        params[param.name], given[name] = {"param": name}, value
    return params, declared, given


def test_parameters_bound_when_a_run_starts() -> None:
    """The same bits as with constants, from memory that is sized for more."""
    loose: dict[str, Any] = {"x": "price", "y": "volume"}
    fixed = dict(loose)
    wires, declared, given = [], [], {}
    for name, node in INDICATORS.items():
        params, declarations, chosen = bound(node)
        if not params:
            continue
        loose[name] = (name, params)
        fixed[name] = (name, {key: chosen[value["param"]] for key, value in params.items()})
        wires += wires_to(name, node, "x", "y")
        declared += declarations
        given |= chosen
    bars = series.walk(10_000_000_000, 200)
    late = values(compiled(loose, " ".join(wires), declared), bars, given)
    early = values(compiled(fixed, " ".join(wires)), bars)
    assert len(loose) > 60
    for port, want in early.items():
        assert np.array_equal(late[port], want, equal_nan=True), port


def test_periods_that_size_memory_have_a_bound() -> None:
    for node in INDICATORS.values():
        for param in node.params:
            if param.kind is ParamKind.INT:
                assert param.sizes_memory
                assert param.maximum is not None
                assert param.unit == "bars"


def test_a_join_of_many_bound_averages_compiles() -> None:
    """Found while the catalogue grew: the warm-up of n inputs was an expression of 2 to the n parts."""
    parameters = [{"name": "n", "type": "int", "default": 5, "min": 2, "max": 50, "step": 1}]
    nodes: dict[str, Any] = {"p": "price", "any": "or", "end": "hold"}
    wires = ["any>end"]
    for i in range(60):
        nodes |= {f"f{i}": ("sma", {"timeperiod": {"param": "n"}}), f"c{i}": "compare"}
        wires += [f"p>f{i}", f"p>c{i}.a", f"f{i}>c{i}.b", f"c{i}>any"]
    artefact = compile_strategy(drawing(nodes, " ".join(wires), parameters)).artefact
    assert artefact is not None
    assert artefact.report.warmup_bars == 4


def test_every_indicator_says_where_it_comes_from() -> None:
    for node in INDICATORS.values():
        assert node.source
        assert all(port.kind is PortKind.BOOL for port in node.outputs) == (node.category is Category.PATTERN)


def test_an_input_in_place_of_bars_brings_its_clock() -> None:
    """So that the deviation of hourly prices is of hours, whatever the run's bars are."""
    minutes = series.walk(10_000_000_000, 60 * 30)
    minutes["ts"] = np.arange(len(minutes)) * MINUTE
    kinds = [name for name, node in INDICATORS.items() if node.instead_of_bars]
    nodes: dict[str, Any] = {"x": ("price", {"timeframe": "1h"})}
    nodes |= {name: (name, {"timeperiod": 5}) for name in kinds}
    nodes |= {f"{name}_own": (name, {"timeperiod": 5, "timeframe": "1h"}) for name in kinds}
    build = compiled(nodes, " ".join(f"x>{name}.input" for name in kinds))
    found = values(build, minutes, settings=RunSettings.parse({"native_seconds": 60}))
    for name in kinds:
        assert np.array_equal(found[name, "value"], found[f"{name}_own", "value"], equal_nan=True)
        assert np.isfinite(found[name, "value"]).sum() > 1_000


def test_an_open_input_is_the_close() -> None:
    assert OPEN == ["vwma", "histvol", "bbwidth", "bbpercent"]
    cases = [Case(kind, {}, ("input",)) for kind in OPEN]
    bars = series.walk(10_000_000_000, 100)
    joined, open_ = values(wired(cases), bars), values(compiled(dict(zip(OPEN, OPEN, strict=True))), bars)
    for kind in OPEN:
        assert np.array_equal(open_[kind, "value"], joined[kind, "value"], equal_nan=True)
