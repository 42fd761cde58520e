"""The tape of a venue that numbers nothing: what was missed cannot be known, what was repeated only guessed.

Rows that are alike within one frame are trades; a row that an earlier frame had as often already is a repeat. A lost
connection is a gap, which ends when the connection is back: what happened in between is missing for good, and said so.
Time is our own clock's, less a grace, while the venue is connected.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

import numpy as np

from algotrade.engine.records import TICK
from algotrade.market_data.feed import FeedChange, FeedItem, FeedState, FeedTicks, FeedTime, Resume
from algotrade.market_data.venues.said import Down, Heard, Trade, Trades, Up
from algotrade.market_data.venues.tape import NEVER, TapeRules
from algotrade.platform import limits


class LooseTape:
    """The state of one symbol at such a venue."""

    joins = False  # frames tell repeats

    def __init__(self, resume: Resume, rules: TapeRules, now_ns: int) -> None:
        """Go on where the log stands."""
        self.counts: Counter[str] = Counter()
        self._rules = rules
        self._state = resume.state
        self._begun = resume.sequence > 0
        self._up = False
        self._traded_ns = now_ns
        self._told_ns = now_ns
        self._seen: OrderedDict[Trade, int] = OrderedDict()  # how often a frame had a row like this

    def begin(self, now_ns: int) -> list[FeedItem]:
        """Say that what happened since the log ended is missing."""
        return self._become(FeedState.GAP, now_ns, "the feed is opened") if self._begun else []

    def fetch(self, now_ns: int) -> int | None:
        """Nothing can be fetched."""
        return None

    def due_ns(self) -> int:
        """Return when time is to be told, or the symbol is stale."""
        if not self._up or not self._begun:
            return NEVER
        stale_ns = NEVER if self._state == FeedState.STALE else self._traded_ns + self._rules.stale_ns
        return min(self._told_ns + self._rules.marker_ns + self._rules.grace_ns, stale_ns)

    def hear(self, heard: Heard | None, now_ns: int) -> list[FeedItem]:
        """Take what was heard, or None where time has passed; return what to log, in order."""
        match heard:
            case Trades(_, trades):
                return self._traded(trades, now_ns)
            case Up():
                self._up, self._traded_ns = True, now_ns
                return self._become(FeedState.LIVE, now_ns, "what was missed nobody knows") if self._begun else []
            case Down(cause):
                self._up = False
                return self._become(FeedState.GAP, now_ns, cause) if self._begun else []
        return self._passed(now_ns)

    def _traded(self, trades: Sequence[Trade], now_ns: int) -> list[FeedItem]:
        good = [trade for trade in trades if not trade.wrong]
        self.counts.update(trade.wrong for trade in trades if trade.wrong)
        fresh = sorted(self._unseen(good), key=lambda trade: trade.ts)
        if not fresh:
            return []
        self._begun, self._traded_ns = True, now_ns
        self.counts["trades"] += len(fresh)
        _, times, prices, sizes, flags, _ = zip(*fresh, strict=True)
        ticks = np.zeros(len(fresh), TICK)
        ticks["ts"], ticks["price"], ticks["size"], ticks["flags"] = times, prices, sizes, flags
        return [*self._become(FeedState.LIVE, now_ns, "trades come"), FeedTicks(ticks)]

    def _unseen(self, trades: Sequence[Trade]) -> list[Trade]:
        """Return the trades that no earlier frame had."""
        fresh: list[Trade] = []
        for trade, count in Counter(trades).items():
            before = self._seen.get(trade, 0)
            fresh += [trade] * (count - before)
            self._seen[trade] = max(count, before)
            self._seen.move_to_end(trade)
        while len(self._seen) > limits.MAX_RECENT_TRADE_IDS:
            self._seen.popitem(last=False)
        self.counts["duplicates"] += len(trades) - len(fresh)
        return fresh

    def _passed(self, now_ns: int) -> list[FeedItem]:
        """Let time pass."""
        if not self._up or not self._begun:
            return []
        items: list[FeedItem] = []
        if now_ns - self._traded_ns >= self._rules.stale_ns:
            items = self._become(FeedState.STALE, now_ns, "no trade for long")
        ts = (now_ns - self._rules.grace_ns) // self._rules.marker_ns * self._rules.marker_ns
        if ts > self._told_ns:
            self._told_ns = ts
            items.append(FeedTime(ts))
        return items

    def _become(self, state: FeedState, now_ns: int, detail: str) -> list[FeedItem]:
        if state == self._state:
            return []
        self._state = state
        self.counts["gaps"] += state == FeedState.GAP
        return [FeedChange(state, now_ns, detail)]
