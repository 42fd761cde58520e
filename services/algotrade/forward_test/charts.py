"""Keeps the bars that charts of sessions are drawn on.

1. A chart belongs to a symbol and an interval. It follows the log by itself, beside the worker, so that the worker
   writes nothing for it; a thousand sessions on the same bars cost what one costs.
2. Bars and the place that they reach are stored in one transaction, and only by who stood at the place before: what is
   read twice is stored once, and what was not stored is read again.
3. What a session held and had at the close of a bar follows from its own events, which are stored when they happen
   (see `points`). So no point can be missing or there twice, whatever stops when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from algotrade.engine.bars import BarBuilder
from algotrade.engine.records import CLOSES_BAR, MARKER, Records
from algotrade.engine.settings import INTERVALS, SECOND
from algotrade.forward_test.batch import Batch, RecordError
from algotrade.forward_test.source import Source
from algotrade.platform import limits
from algotrade.platform.bus import OffsetOutOfRange
from algotrade.platform.log import logger
from algotrade.platform.ticks import FeedReader

log = logger(__name__)

RETRY_SECONDS: Final = 5.0
TICKS_A_BATCH: Final = 2**16
STORED_RECORDS: Final = 5_000  # a place is stored after so many, though no bar has closed
BATCHES_A_TURN: Final = 100
TICK_CHART: Final = SECOND  # a session whose bars are ticks is drawn on bars of a second


def chart_interval(interval: str) -> int:
    """Return the length in nanoseconds of the bars that a session of an interval is drawn on; 0: those of its feed."""
    return TICK_CHART if interval == "tick" else INTERVALS[interval]


@dataclass(frozen=True, slots=True)
class ChartBar:
    """A closed bar. ``closed_offset`` and ``closed_sequence``: of the record and the tick that closed it."""

    start_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: float
    closed_offset: int
    closed_sequence: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A chart that sessions are drawn on, and the first record that any of them has read and the chart lacks."""

    symbol: str
    interval: int
    partition: int
    begin: int


@dataclass(slots=True)
class Chart:
    """A chart as far as it has come; ``stored`` is the place in its row, None where it has none.

    ``untidied``: bars stored since old ones were last removed; enough to remove some where nobody knows.
    """

    symbol: str
    interval: int
    partition: int
    offset: int
    reader: FeedReader
    builder: BarBuilder
    stored: int | None = None
    closed: list[ChartBar] = field(default_factory=list)  # since
    untidied: int = limits.CHART_BARS_TIDIED

    @property
    def key(self) -> tuple[str, int]:
        """What it is named by."""
        return self.symbol, self.interval

    @property
    def is_due(self) -> bool:
        """Whether it should be stored."""
        return bool(self.closed) or self.offset - (self.stored or 0) >= STORED_RECORDS

    def take(self, batch: Batch) -> None:
        """Move behind a batch that begins here. Raises RecordError."""
        stretch = batch.stretch(self.symbol, self.reader)
        self.reader = stretch.reader.copy()
        bars = self.builder.take(stretch.ticks)
        for bar, sequence in zip(bars.tolist(), _closers(bars, stretch.ticks, self.interval), strict=True):
            ts, opened, high, low, close, volume = bar[:6]
            offset = stretch.offset_of(sequence)
            self.closed.append(ChartBar(ts, opened, high, low, close, volume, offset, sequence))
        self.offset = batch.end

    def skip_to(self, offset: int) -> None:
        """Go on elsewhere: what lies between is not known, and neither is the bar that it would have ended."""
        self.offset, self.builder = offset, BarBuilder(self.interval)


def _closers(bars: Records, ticks: Records, interval: int) -> list[int]:
    """Return the sequence of the tick that closed each bar."""
    if not interval:
        closing = ticks["seq"][(ticks["flags"] & (CLOSES_BAR | MARKER)) == CLOSES_BAR]
        return [int(sequence) for sequence in closing[len(closing) - len(bars) :]]
    return [int(ticks["seq"][np.argmax(ticks["ts"] >= ts + interval)]) for ts in bars["ts"].tolist()]


class ChartStore(Protocol):
    """The port: where bars are kept."""

    async def wanted(self) -> list[Wanted]:
        """Return the charts that some session has moved beyond, or will."""
        ...

    async def place(self, wanted: Wanted) -> Chart:
        """Return a chart as it was stored; where there is none, one that begins where it is wanted from."""
        ...

    async def keep(self, charts: Sequence[Chart]) -> list[Chart]:
        """Store bars and places, those together; return the charts whose row somebody else has moved: nothing of theirs
        was stored."""
        ...

    async def forget(self, symbol: str, interval: int, most: int) -> None:
        """Remove what a chart has beyond so many of its newest bars; and charts of whose symbol there is no session."""
        ...


class Charter:
    """Moves charts along the log."""

    def __init__(
        self, store: ChartStore, source: Source, *, every_seconds: float, here: Callable[[], bool] = lambda: True
    ) -> None:
        """Take where bars are kept and ticks are read from, how often to look, and whether it is for this process."""
        self._here = here
        self._store = store
        self._source = source
        self._every_seconds = every_seconds
        self._charts: dict[tuple[str, int], Chart] = {}

    async def run(self) -> None:
        """Work for ever."""
        while True:
            try:
                moved = self._here() and await self.turn()
            except Exception as error:
                self._charts.clear()
                log.warning("charts.failed", error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await asyncio.sleep(0 if moved else self._every_seconds)

    async def turn(self) -> bool:
        """Move every chart that is wanted to the end of the log, or a good way; tell whether there may be more."""
        await self._reconcile(await self._store.wanted())
        moved = True
        for _ in range(BATCHES_A_TURN):
            moved = await self._advance_all()
            if not moved:
                break
        return moved

    async def _advance_all(self) -> bool:
        """Move every chart a batch further and store what that gave; tell whether any moved."""
        reads: dict[tuple[str, int], Batch | None] = {}
        moved = [await self._advance(chart, reads) for chart in self._charts.values()]
        due = [chart for chart in self._charts.values() if chart.is_due]
        if due:
            for chart in due:
                chart.untidied += len(chart.closed)
            for lost in await self._store.keep(due):
                del self._charts[lost.key]
            for chart in due:
                if chart.untidied >= limits.CHART_BARS_TIDIED:
                    await self._store.forget(*chart.key, limits.MAX_CHART_BARS)
                    chart.untidied = 0
        return any(moved)

    async def _reconcile(self, wanted: Sequence[Wanted]) -> None:
        keys = {(one.symbol, one.interval) for one in wanted}
        for key in self._charts.keys() - keys:
            del self._charts[key]
        for one in wanted:
            if (one.symbol, one.interval) not in self._charts:
                chart = await self._store.place(one)
                if chart.offset < one.begin:  # nobody was there to draw what lies between
                    chart.skip_to(one.begin)
                self._charts[chart.key] = chart

    async def _advance(self, chart: Chart, reads: dict[tuple[str, int], Batch | None]) -> bool:
        key = chart.symbol, chart.offset
        try:
            if key not in reads:
                reads[key] = await self._source.batch(
                    chart.symbol, chart.partition, chart.offset, limits.MAX_READ_RECORDS, TICKS_A_BATCH
                )
            batch = reads[key]
            if batch is None:
                return False
            await asyncio.to_thread(chart.take, batch)
        except OffsetOutOfRange as error:
            log.warning("chart.lost", symbol=chart.symbol, error=str(error))
            chart.skip_to(error.bounds.earliest)
        except RecordError as error:
            log.error("chart.unreadable", symbol=chart.symbol, error=str(error))  # noqa: TRY400
            chart.skip_to(chart.offset + 1)
        return True
