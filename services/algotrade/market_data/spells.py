"""When a symbol's feed had gaps, and whose ticks it brought: what bars are marked by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from algotrade.engine.records import MARKER, Records
from algotrade.platform.ticks import from_batch
from algotrade.v1 import types_pb2
from algotrade.v1.events_pb2 import FeedStateChange, MarketDataUpdate

Part = Records | FeedStateChange  # of what a symbol's records say, in their order
KEPT: Final = 1_000  # gaps, and changes of the source; of older ones nothing is known
ALWAYS_NS: Final = 2**63 - 1


@dataclass(slots=True)
class _Gap:
    """Times (ns of events) between which trades are missing, or may be."""

    begin_ns: int
    end_ns: int = ALWAYS_NS


@dataclass(slots=True)
class _Stretch:
    """Times of the first and the last trade (ns) in a row that one provider brought."""

    source: str
    begin_ns: int
    end_ns: int


@dataclass(slots=True)
class Spells:
    """One symbol's, in the order of its log. ``source``: the provider whose ticks come first."""

    source: str
    _gaps: deque[_Gap] = field(default_factory=lambda: deque(maxlen=KEPT))
    _stretches: deque[_Stretch] = field(default_factory=lambda: deque(maxlen=KEPT))
    _open: _Gap | None = None
    _last_ns: int = -1  # time of the newest tick or marker

    def take(self, part: Part) -> None:
        """Take what a record says."""
        if not isinstance(part, FeedStateChange):
            self._ticks(part)
            return
        self.source = part.source or self.source
        if part.state == types_pb2.FEED_STATE_GAP:
            if self._open is None:
                self._open = _Gap(self._last_ns)
                self._gaps.append(self._open)
        elif self._open is not None:
            gap, self._open = self._open, None
            if part.filled:
                self._gaps.remove(gap)
            else:
                gap.end_ns = max(part.event_time.ToNanoseconds(), self._last_ns)

    def gapped(self, start_ns: int, end_ns: int) -> bool:
        """Whether trades of a stretch of time may be missing, as far as is known."""
        return any(gap.begin_ns < end_ns and gap.end_ns >= start_ns for gap in self._gaps)

    def sources(self, start_ns: int, end_ns: int) -> str:
        """Return whose trades a stretch of time has; several are joined by a plus."""
        within = (one.source for one in self._stretches if one.begin_ns < end_ns and one.end_ns >= start_ns)
        return "+".join(dict.fromkeys(within))

    def _ticks(self, ticks: Records) -> None:
        if not len(ticks):
            return
        self._last_ns = int(ticks["ts"][-1])
        times = ticks["ts"][ticks["flags"] & MARKER == 0]
        if not len(times):
            return
        if not self._stretches or self._stretches[-1].source != self.source:
            self._stretches.append(_Stretch(self.source, int(times[0]), int(times[-1])))
        self._stretches[-1].end_ns = int(times[-1])


def spells_of(updates: Iterable[MarketDataUpdate], source: str) -> Spells:
    """Read what records of a symbol say, in their order; those of a writer that was fenced are passed over."""
    spells, epoch = Spells(source), 0
    for update in updates:
        if update.epoch >= epoch:
            epoch = update.epoch
            spells.take(update.feed_state if update.HasField("feed_state") else from_batch(update.ticks))
    return spells
