"""A backtest: an artefact over the bars of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from algotrade.engine import fixed
from algotrade.engine.compile import Artefact
from algotrade.engine.equity import equity_curve
from algotrade.engine.records import EVENT, Records, joined
from algotrade.engine.runtime import Sessions, SessionState
from algotrade.engine.settings import INTERVALS, SECOND, RunSettings, SettingsError
from algotrade.engine.trades import Trade, TradeBook

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BacktestResult:
    """``data``: the bars that were run over, fewer than given where the run halted; ``events``: EVENT records."""

    artefact: Artefact
    data: Records
    settings: RunSettings
    events: Records
    state: SessionState

    @property
    def final_equity(self) -> int:
        return self.state.equity

    @property
    def bars(self) -> int:
        return self.state.bars

    @property
    def warmup_bars(self) -> int:
        return self.state.warmup_bars

    @cached_property
    def equity(self) -> npt.NDArray[np.float64]:
        """cash + quantity · close at the close of each bar of the data, in units of currency, shape (bars,)."""
        return equity_curve(self.data, self.events, self.settings.initial_cash)

    @cached_property
    def _book(self) -> TradeBook:
        book = TradeBook(self.artefact.manifest.nodes)
        book.apply(self.events)
        return book

    @property
    def trades(self) -> tuple[Trade, ...]:
        """Closed trades in order of exit, and last the open one, if any."""
        return (*self._book.closed, *([self._book.open] if self._book.open else []))

    @property
    def rejections(self) -> Mapping[str, int]:
        """How often each reason kept an order from happening."""
        return dict(self._book.rejections)

    @property
    def notices(self) -> Mapping[str, int]:
        """How often each notify node, by id, had something to say."""
        return dict(self._book.notices)

    @property
    def halted(self) -> str | None:
        """Why the session stopped before the last bar, or None."""
        return self._book.halted


def backtest(
    artefact: Artefact,
    bars: Records,
    settings: RunSettings,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> BacktestResult:
    """Run over bars (BAR records, by time). ``progress(done, total)`` is called now and then and may raise to cancel.

    Raises SettingsError for an interval that bars cannot serve or a parameter that does not exist or fit.
    """
    settings = fitting(settings, bars, artefact)
    sessions = Sessions(artefact)
    slot = sessions.add(settings, parameters)
    return _result(sessions, slot, bars, settings, lambda done: sessions.run(slot, bars[done:]), progress)


class Backtests:
    """Many backtests of one artefact over the same bars, which are copied into its memory once."""

    def __init__(self, artefact: Artefact, bars: Records) -> None:
        self._sessions, self._bars = Sessions(artefact), bars
        self._held = self._sessions.hold(bars)

    def run(
        self,
        settings: RunSettings,
        parameters: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        span: slice = slice(None),
    ) -> BacktestResult:
        """As `backtest`, over all the bars or a stretch of them."""
        sessions = self._sessions
        settings = fitting(settings, self._bars, sessions.artefact)
        held = self._held.part(span)
        slot = sessions.add(settings, parameters)
        try:
            return _result(
                sessions, slot, self._bars[span], settings, lambda done: sessions.run_held(slot, held, done), progress
            )
        finally:
            sessions.remove(slot)

    def warmup_bars(self, settings: RunSettings, parameters: Mapping[str, Any] | None = None) -> int:
        """How many of the run's bars the strategy needs before it may act."""
        slot = self._sessions.add(fitting(settings, self._bars, self._sessions.artefact), parameters)
        try:
            return self._sessions.state(slot).warmup_bars
        finally:
            self._sessions.remove(slot)


def _result(
    sessions: Sessions,
    slot: int,
    bars: Records,
    settings: RunSettings,
    feed: Callable[[int], tuple[int, Records]],
    progress: Progress | None,
) -> BacktestResult:
    """Feed all bars, as many at a time as ``feed`` takes from an index on."""
    parts: list[Records] = []
    done = 0
    while done < len(bars) and not sessions.is_halted(slot):
        taken, events = feed(done)
        parts.append(events)
        done += taken
        if progress is not None:
            progress(done, len(bars))
    return BacktestResult(sessions.artefact, bars[:done], settings, joined(EVENT, parts), sessions.state(slot))


def fitting(settings: RunSettings, bars: Records, artefact: Artefact) -> RunSettings:
    """The settings, with the length of native bars found in the data where the strategy has to know it.

    That is the least distance between two bars. Raises SettingsError for an interval that bars cannot serve.
    """
    check_interval(bars, settings)
    if artefact.report.timeframes and settings.interval == "native" and not settings.native_seconds and len(bars) > 1:
        length = int(np.diff(bars["ts"]).min())
        return replace(settings, native_seconds=length * fixed.SCALE // SECOND)
    return settings


def check_interval(bars: Records, settings: RunSettings) -> None:
    """Bars can be grouped to a coarser interval that they divide, never split into a finer one."""
    if settings.interval == "native":
        return
    if settings.interval == "tick":
        raise SettingsError("interval", "bars hold no ticks; use native or a coarser interval than theirs")
    wanted = INTERVALS[settings.interval]
    if len(bars) > 1:
        own = int(np.diff(bars["ts"]).min())
        if own > wanted or wanted % own:
            raise SettingsError(
                "interval", f"{settings.interval} is not a multiple of the bars' own {own / 1e9:g} seconds"
            )
