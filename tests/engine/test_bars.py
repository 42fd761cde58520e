"""Bars are built inside the module: here from random ticks, against a plain builder and the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agreement import Outcome, compiled, trade_rows
from graphs import drawing
from oracle.backtest import SECONDS, Tick, replay
from oracle.random_graphs import case
from oracle.random_ticks import stream

from algotrade.engine.bars import BarBuilder, build_bars
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.records import BAR, MARKER, TICK, Records, bar_ticks
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import INTERVALS, RunSettings
from algotrade.engine.trades import TradeBook

FIELDS = ("open", "high", "low", "close")
Built = tuple[float, ...]


def records(ticks: list[Tick]) -> Records:
    out = np.zeros(len(ticks), TICK)
    for i, (ts, price, size) in enumerate(ticks):
        out[i] = (ts, price or 0, size, i + 1, MARKER if price is None else 0, 0)
    return out


def plain_bars(ticks: list[Tick], interval: str) -> list[Built]:
    """(start, open, high, low, close, volume) of each closed bar, by grouping: the first whole, the last over."""
    if interval == "tick":
        return [(ts, *(price / 1e8,) * 4, size) for ts, price, size in ticks if price is not None]
    width = SECONDS[interval] * 1_000_000_000
    groups: dict[int, list[tuple[int, float]]] = {}
    for ts, price, size in ticks:
        if price is not None:
            groups.setdefault(ts - ts % width, []).append((price, size))
    seen, last = ticks[0][0], ticks[-1][0]
    whole = [(start, group) for start, group in groups.items() if seen <= start and start + width <= last]
    return [bar(start, group) for start, group in whole]


def bar(start: int, group: list[tuple[int, float]]) -> Built:
    prices = [price / 1e8 for price, _ in group]
    volume = 0.0
    for _, size in group:
        volume += size
    return (start, prices[0], max(prices), min(prices), prices[-1], volume)


def watcher() -> Artefact:
    """A probed strategy whose ports are the fields of each bar it is shown."""
    nodes: dict[str, Any] = {name: ("price", {"field": name}) for name in FIELDS}
    nodes |= {"volume": "volume", "start": ("time", {"field": "timestamp"}), "any": "or", "end": "hold"}
    wires = ["any>end"]
    for name in (*FIELDS, "volume", "start"):
        nodes[f"is_{name}"] = ("compare", {"op": ">", "value": 0})
        wires += [f"{name}>is_{name}.a", f"is_{name}>any"]
    artefact = compile_strategy(drawing(nodes, " ".join(wires)), probe=True).artefact
    assert artefact is not None
    return artefact


@pytest.mark.parametrize("seed", range(10))
def test_module_builds_the_bars_of_a_plain_builder(seed: int) -> None:
    interval, ticks = stream(seed)
    sessions = Sessions(watcher())
    slot = sessions.add(RunSettings(interval=interval))
    built: list[Built] = []
    for tick in records(ticks)[:, None]:
        sessions.step(tick)
        if sessions.state(slot).bars > len(built):
            probes = sessions.probes(slot)
            fields = [probes[name, "value"] for name in (*FIELDS, "volume")]
            built.append((probes["start", "value"] or 0.0, *(f or 0.0 for f in fields)))
    expected = [(start / 1e9, *rest) for start, *rest in plain_bars(ticks, interval)]
    assert len(built) > 50
    assert built == expected


@pytest.mark.parametrize("seed", range(25))
def test_the_reference_builds_them_too_however_ticks_are_cut(seed: int) -> None:
    interval, ticks = stream(seed)
    if interval == "tick":
        interval = "1s"
    width, all_ticks, rng = INTERVALS[interval], records(ticks), np.random.default_rng(seed)
    built = build_bars(all_ticks, width)
    assert [(row[0], *(p / 1e8 for p in row[1:5]), row[5]) for row in built.tolist()] == plain_bars(ticks, interval)
    builder, parts = BarBuilder(width), []
    for part in np.split(all_ticks, np.sort(rng.integers(0, len(all_ticks), 60))):
        parts.append(builder.take(part))
    assert np.concatenate(parts).tobytes() == built.tobytes()
    marker = np.zeros(1, TICK)
    marker["ts"], marker["flags"] = all_ticks["ts"][-1] + width, MARKER
    assert builder.open.tobytes() == builder.take(marker).tobytes(), "closing it changes nothing else"
    assert len(builder.open) == 0


def test_bars_of_a_feed_of_bars_come_back_as_they_were() -> None:
    bars = np.zeros(7, BAR)
    bars["ts"] = np.arange(7) * 86_400 * 10**9
    bars["open"], bars["high"], bars["low"], bars["close"] = 5, 9, 2, 4 + np.arange(7) % 3
    bars["volume"] = np.arange(7) / 4
    ticks = bar_ticks(bars)
    assert build_bars(ticks, 0).tobytes() == bars.tobytes()
    builder = BarBuilder(0)
    assert builder.take(ticks[:-1]).tobytes() == bars[:-1].tobytes()
    assert builder.open[["ts", "open", "high", "low"]].tolist() == bars[-1:][["ts", "open", "high", "low"]].tolist()


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_sessions_trade_ticks_as_the_oracle_does(first: int) -> None:
    """Random strategies on random ticks, in batches of random lengths, bars closed by ticks and by markers."""
    compared = 0
    for seed in range(first, first + 20):
        one, (interval, ticks) = case(seed), stream(seed)
        settings = one.settings | {"interval": interval, "initial_cash": "10000"}
        expected = replay(one.document, ticks, settings, one.parameters)
        if expected.fragile:
            continue
        artefact = compiled(one.document).artefact
        assert artefact is not None
        outcome = Outcome(
            trade_rows(expected.trades), dict(expected.rejections), expected.final_equity, expected.bars,
            expected.warmup_bars, None, dict(expected.notices),
        )  # fmt: skip
        assert in_batches(artefact, RunSettings.parse(settings), one.parameters, records(ticks), seed) == outcome, seed
        compared += 1
    assert compared >= 10


def in_batches(
    artefact: Artefact, settings: RunSettings, parameters: dict[str, Any], ticks: Records, seed: int
) -> Outcome:
    rng = np.random.default_rng(seed)
    sessions = Sessions(artefact)
    slot = sessions.add(settings, parameters)
    book = TradeBook(artefact.manifest.nodes)
    start = 0
    while start < len(ticks):
        end = start + int(rng.integers(1, 200))
        book.apply(sessions.step(ticks[start:end]))
        start = end
    state = sessions.state(slot)
    trades = trade_rows([*book.closed, *([book.open] if book.open else [])])
    return Outcome(
        trades, dict(book.rejections), state.equity, state.bars, state.warmup_bars, book.halted, dict(book.notices)
    )
