"""What a feed says becomes what the log says: checked, in order, numbered. What cannot be is counted, with a reason.

Ticks enter the log once, in order of time, or not at all. The rules, in this order:
`bad_price` a price not above zero · `bad_size` a size below zero or not a number · `future` a time further ahead of
the clock than clocks differ · `jump` a price too far from the last one, where the feed has a band · `late` a time
before that of a tick already taken · `duplicate` a trade id seen before.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from algotrade.engine.records import MARKER, TICK, Records
from algotrade.market_data.feed import FeedTicks, Resume
from algotrade.platform import limits

CONFIRMED: Final = 5  # so many prices in a row far from the last and near each other are believed
_BEFORE_ALL_TIME: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class Taken:
    """The outcome of one call: numbered ticks (dtype TICK), and how many were left out by reason."""

    ticks: Records
    left_out: Counter[str]


class SymbolAggregate:
    """The state of one symbol's feed: last number, last time, last price, recent trade ids."""

    def __init__(self, resume: Resume, band: float = 0.0) -> None:
        """Go on where the log stands. ``band``: a fraction; 0 believes every price."""
        self.sequence = resume.sequence
        self.event_ns = resume.event_ns if resume.sequence else _BEFORE_ALL_TIME
        self.price = resume.price
        self.trade_id = resume.trade_id
        self._band = band
        self._strange = 0  # a price outside the band, and how many in a row have been near it
        self._alike = 0
        self._recent_ids: deque[str] = deque(maxlen=limits.MAX_RECENT_TRADE_IDS)
        self._known_ids: set[str] = set()

    def take(self, fed: FeedTicks, latest_ns: int | None = None) -> Taken:
        """Check and number ticks. None may be later than ``latest_ns``, where that is given."""
        ticks = fed.ticks
        left_out: Counter[str] = Counter()
        keep = np.ones(len(ticks), np.bool_)

        def drop(wrong: Records, reason: str) -> None:
            count = int(np.count_nonzero(keep & wrong))
            if count:
                left_out[reason] += count
                keep[wrong] = False

        drop(ticks["price"] <= 0, "bad_price")
        drop(~(np.isfinite(ticks["size"]) & (ticks["size"] >= 0)), "bad_size")
        if latest_ns is not None:
            drop(ticks["ts"] > latest_ns, "future")
        if self._band:
            drop(self._jumps(ticks["price"], keep), "jump")
        if fed.trade_ids is None:
            times = np.where(keep, ticks["ts"], self.event_ns)
            drop(ticks["ts"] < np.maximum.accumulate(np.append(self.event_ns, times))[:-1], "late")
        else:
            self._follow_ids(ticks["ts"].tolist(), fed.trade_ids, keep, left_out)
            if keep.any():
                self.trade_id = fed.trade_ids[int(np.flatnonzero(keep)[-1])]
        return Taken(self._numbered(ticks[keep]), left_out)

    def marker(self, ts: int) -> Records:
        """Return a marker (shape 1) saying that time has come to ``ts``, or none where a tick or marker said so."""
        markers = np.zeros(int(ts > self.event_ns), TICK)
        markers["ts"] = ts
        markers["flags"] = MARKER
        return self._numbered(markers)

    def _jumps(self, prices: Records, keep: Records) -> Records:
        """Tell which prices are outside the band around the one before.

        A lone one is a mistake. When several in a row are near each other, it is the market that has moved: from then
        on they are believed, those before are left out.
        """
        known = prices[keep]
        before = np.append(self.price or known[:1], known[:-1])
        jumps = np.zeros(len(prices), np.bool_)
        if not len(known) or (not self._alike and np.all(np.abs(known - before) <= self._band * before)):
            return jumps
        last = self.price
        for index in np.flatnonzero(keep).tolist():
            price = int(prices[index])
            if not last or abs(price - last) <= self._band * last:
                last, self._alike = price, 0
                continue
            near = self._alike and abs(price - self._strange) <= self._band * self._strange
            self._strange, self._alike = price, self._alike + 1 if near else 1
            if self._alike >= CONFIRMED:
                last, self._alike = price, 0
            else:
                jumps[index] = True
        return jumps

    def _follow_ids(
        self, times: Sequence[int], trade_ids: Sequence[str], keep: Records, left_out: Counter[str]
    ) -> None:
        """Drop late ticks and repeats, one at a time: what is dropped sets neither the time nor a trade id."""
        last_ns = self.event_ns
        for index in np.flatnonzero(keep).tolist():
            trade_id = trade_ids[index]
            if times[index] < last_ns or trade_id in self._known_ids:
                keep[index] = False
                left_out["late" if times[index] < last_ns else "duplicate"] += 1
                continue
            last_ns = times[index]
            if len(self._recent_ids) == self._recent_ids.maxlen:
                self._known_ids.discard(self._recent_ids[0])
            self._recent_ids.append(trade_id)
            self._known_ids.add(trade_id)

    def _numbered(self, ticks: Records) -> Records:
        ticks = ticks.copy()
        if len(ticks):
            ticks["seq"] = np.arange(self.sequence + 1, self.sequence + 1 + len(ticks))
            self.sequence += len(ticks)
            self.event_ns = int(ticks["ts"][-1])
            self.price = int(ticks["price"][-1]) or self.price
        return ticks
