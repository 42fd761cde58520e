"""A test run: a graph over made-up bars, to see whether it does anything before there is any data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from algotrade.engine import fixed
from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import BAR, Records
from algotrade.engine.runtime import Sessions, SessionState
from algotrade.engine.settings import INTERVALS, RunSettings, SettingsError
from algotrade.engine.trades import TradeBook
from algotrade.platform import limits
from algotrade.platform.errors import InvalidArgument, ResourceExhausted

DEFAULT_BARS: Final = 1_000
CONCURRENT_RUNS: Final = 1
BARS_A_CALL: Final = 100
START_NS: Final = 1_704_067_200_000_000_000  # 2024-01-01T00:00:00Z, a Monday
START_PRICE: Final = 100.0
VOLATILITY: Final = 0.01  # a bar, as a fraction
PRICE_STEP: Final = fixed.SCALE // 100
MEAN_VOLUME: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What happened: the session at its last bar, its trades, and what every port held there (None: undefined)."""

    state: SessionState
    book: TradeBook
    ports: Mapping[tuple[str, str], float | bool | None]
    last_bar_ns: int


def random_walk(seed: int, count: int, interval_ns: int) -> Records:
    """Make bars (BAR records) whose prices walk at random; the same arguments give the same bars."""
    random = np.random.Generator(np.random.PCG64(seed))
    steps = VOLATILITY * random.standard_normal(count)
    closes = START_PRICE * np.exp(np.cumsum(steps))
    opens = np.concatenate([[START_PRICE], closes[:-1]])
    above, below = np.exp(VOLATILITY / 2 * np.abs(random.standard_normal((2, count))))
    prices = {
        "open": opens,
        "high": np.maximum(opens, closes) * above,
        "low": np.minimum(opens, closes) / below,
        "close": closes,
    }
    bars = np.zeros(count, BAR)
    bars["ts"] = START_NS + np.arange(count) * interval_ns
    for name, values in prices.items():
        bars[name] = np.maximum(np.rint(values * (fixed.SCALE / PRICE_STEP)), 1).astype(np.int64) * PRICE_STEP
    bars["volume"] = np.round(random.exponential(MEAN_VOLUME, count), 2)
    return bars


class TestRunner:
    """Runs trials off the event loop, one at a time."""

    __test__ = False

    def __init__(self) -> None:
        """Begin idle."""
        self._running = asyncio.Semaphore(CONCURRENT_RUNS)

    async def run(
        self, graph: str, seed: int, count: int, settings: Mapping[str, str | bool], parameters: Mapping[str, str]
    ) -> Trial:
        """Run a graph that compiles over ``count`` bars, 0 being the default.

        Raises InvalidArgument naming a setting or parameter, ResourceExhausted where the run would cost too much.
        """
        parsed = _settings(settings)
        async with self._running:
            return await asyncio.to_thread(_run, graph, seed, count or DEFAULT_BARS, parsed, parameters)


def _run(graph: str, seed: int, count: int, settings: RunSettings, parameters: Mapping[str, str]) -> Trial:
    probed = compile_strategy(graph, probe=True).artefact
    if probed is None:
        raise ValueError("the graph does not compile")
    interval = "1h" if settings.interval == "native" else settings.interval
    bars = random_walk(seed, count, INTERVALS[interval])
    sessions = Sessions(probed)
    try:
        slot = sessions.add(replace(settings, interval="native"), parameters)  # the bars are as long as they should be
    except SettingsError as error:
        raise _bad(f"parameters.{error.field}", error) from error
    book, done = TradeBook(probed.manifest.nodes), 0
    latest = time.thread_time() + limits.MAX_TEST_RUN_SECONDS
    while done < count and not sessions.is_halted(slot):
        if time.thread_time() > latest:
            raise _too_costly(done)
        taken, events = sessions.run(slot, bars[done : done + BARS_A_CALL])
        book.apply(events)
        done += taken
    return Trial(sessions.state(slot), book, sessions.probes(slot), int(bars["ts"][done - 1]))


def _settings(given: Mapping[str, str | bool]) -> RunSettings:
    try:
        settings = RunSettings.parse(given)
    except SettingsError as error:
        raise _bad(f"settings.{error.field}", error) from error
    if settings.interval == "tick":
        raise _bad("settings.interval", SettingsError("interval", "a test run has bars, no ticks"))
    return settings


def _too_costly(done: int) -> ResourceExhausted:
    return ResourceExhausted(
        "LIMIT_REACHED",
        f"a test run has {limits.MAX_TEST_RUN_SECONDS:g} seconds, which is {done} bars of this strategy; take fewer",
        limit="test_run_seconds",
        value=limits.MAX_TEST_RUN_SECONDS,
    )


def _bad(field: str, error: SettingsError) -> InvalidArgument:
    return InvalidArgument("SETTINGS_INVALID", f"{field}: {error.message}", violations=[(field, error.message)])
