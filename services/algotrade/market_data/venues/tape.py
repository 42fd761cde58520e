"""One symbol's tape: what a venue says of it, made whole. Pure: it is told the time and does nothing itself.

1. While the venue is connected and no trade is missing, trades pass as they come: LIVE.
2. When the connection is lost, or a trade is missing for longer than disorder takes, the tape says GAP. Trades wait,
   and time stands still: a marker now would make the missing ones late.
3. It asks for what is missing (`fetch`). What is fetched is passed on, then what waited, then LIVE.
4. What cannot be had is given up after a while, counted and said: LIVE again, with the number of trades lost.
5. Where all is well but nobody trades for long, the tape says STALE.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from algotrade.engine.records import TICK
from algotrade.market_data.feed import FeedChange, FeedItem, FeedState, FeedTicks, FeedTime, Resume
from algotrade.market_data.venues.line import TradeLine
from algotrade.market_data.venues.said import Beat, Doubt, Down, Fill, FillFailed, Heard, Trade, Trades, Up
from algotrade.platform import limits
from algotrade.platform.clock import SECOND_NS

NEVER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TapeRules:
    """How patient a tape is; nanoseconds throughout."""

    patience_ns: int = SECOND_NS // 4  # so long may trades come in disorder
    give_up_ns: int = 120 * SECOND_NS  # so long is tried to fetch what is missing
    stale_ns: int = 60 * SECOND_NS  # nobody trades for so long
    retry_ns: int = SECOND_NS  # between two tries
    marker_ns: int = SECOND_NS
    grace_ns: int = SECOND_NS // 2  # a trade may come so long after the venue's clock says its time


class Tape:
    """The state of one symbol at a venue."""

    joins = True  # numbers tell repeats

    def __init__(self, resume: Resume, rules: TapeRules, now_ns: int, venue: str = "") -> None:
        """Go on where the log stands, if it was a tape of the same venue: numbers of another mean nothing here."""
        self._prefix = f"{venue}:"
        self.counts: Counter[str] = Counter()  # what happened since somebody last took it away
        self._rules = rules
        number = resume.trade_id.removeprefix(self._prefix)
        self._line = TradeLine(int(number) if number != resume.trade_id and number.isdecimal() else None)
        self._state = resume.state
        self._begun = resume.sequence > 0
        self._up = False
        self._doubt = False  # trades may be missing that nobody has named
        self._hole_ns: int | None = None  # since when trades are missing
        self._connected_ns = now_ns
        self._traded_ns = now_ns
        self._fetching = False
        self._fetch_ns = 0  # not before this
        self._lost = 0
        self._unknown = self._begun and self._line.last is None  # whether more is lost, nobody can say

    def fetch(self, now_ns: int) -> int | None:
        """Return the number after which trades are to be fetched now; None where none are, or they are already."""
        wanted = self._up and (self._doubt or (self._line.hole and self._state == FeedState.GAP))
        if not wanted or self._fetching or now_ns < self._fetch_ns:
            return None
        self._fetching = True
        return self._line.last

    def due_ns(self) -> int:
        """Return when something is to be decided even if nothing comes."""
        if not self._up or self._line.last is None:
            return NEVER
        if self._doubt or self._line.hole:
            begun_ns = self._connected_ns if self._hole_ns is None else self._hole_ns
            patience_ns = NEVER if self._state == FeedState.GAP else begun_ns + self._rules.patience_ns
            waits = self._fetching or not (self._doubt or self._state == FeedState.GAP)
            return min(patience_ns, NEVER if waits else self._fetch_ns, begun_ns + self._rules.give_up_ns)
        return NEVER if self._state == FeedState.STALE else self._traded_ns + self._rules.stale_ns

    def begin(self, now_ns: int) -> list[FeedItem]:
        """Say that nothing is known yet of what happened since the log ended."""
        return self._become(FeedState.GAP, now_ns, "the feed is opened") if self._begun else []

    def hear(self, heard: Heard | None, now_ns: int) -> list[FeedItem]:
        """Take what was heard, or None where time has passed; return what to log, in order."""
        items: list[FeedItem] = []
        match heard:
            case Trades(_, trades, snapshot):
                items = self._traded(trades, now_ns, snapshot=snapshot)
            case Beat(_, _, number) if number is not None:
                self._line.name(number)
            case Doubt():
                self._doubt |= self._line.last is not None
                self.counts["doubts"] += 1
            case Up():
                self._up, self._connected_ns, self._traded_ns = True, now_ns, now_ns
                self._doubt |= self._state == FeedState.GAP and self._line.last is not None
                self._fetch_ns = now_ns
            case Down(cause):
                self._up, self._hole_ns = False, None
                items = self._become(FeedState.GAP, now_ns, cause) if self._begun else []
            case Fill(trades, complete):
                items = self._filled(trades, complete=complete)
                if self._line.hole:  # the venue does not have them yet
                    self._fetch_ns = now_ns + self._rules.retry_ns
            case FillFailed(reason):
                self.counts["backfills_failed"] += 1
                self._fetching = False
                self._fetch_ns = now_ns + self._rules.retry_ns
                items = self._become(FeedState.GAP, now_ns, f"missing trades cannot be fetched: {reason}")
        items += self._settle(now_ns)
        if isinstance(heard, Beat):
            items += self._time(heard.ts)
        return items

    def _traded(self, trades: Sequence[Trade], now_ns: int, *, snapshot: bool) -> list[FeedItem]:
        if snapshot:
            if trades:
                self._line.name(max(trade.number for trade in trades))
            return []
        self._traded_ns = now_ns
        far = self._line.far
        passed = self._line.take(trades)
        self.counts["bad_number"] += max(0, self._line.far - far)
        self._doubt |= self._line.far > limits.FAR_TRADES_BELIEVED
        if self._state == FeedState.STALE and not self._line.hole and self._up and not self._doubt:
            return [*self._become(FeedState.LIVE, now_ns, "trades come again"), *self._ticks(passed)]
        return self._ticks(passed)

    def _filled(self, trades: Sequence[Trade], *, complete: bool) -> list[FeedItem]:
        self.counts["backfills"] += 1
        self._doubt = self._fetching = False
        before = self._line.duplicates
        passed = self._line.take(trades, trusted=True)
        self._line.duplicates = before  # it was asked for more than was missing
        self._line.forget_named()
        self.counts["backfilled"] += len(passed)
        if not complete:
            passed += self._give_up(min((trade.number for trade in trades), default=None))
        return self._ticks(passed)

    def _settle(self, now_ns: int) -> list[FeedItem]:
        """Decide in which state the feed is now."""
        items: list[FeedItem] = []
        if self._line.last is None:
            return items
        self._begun = True
        self.counts["duplicates"] += self._line.duplicates
        self._line.duplicates = 0
        if not self._up:
            return items
        if self._missing_too_long(now_ns):
            self._unknown = self._unknown or self._doubt
            self._doubt = False
            items += self._ticks(self._give_up())
            if self._line.far:  # the venue is somewhere else altogether: begin anew with its next trade
                self._line, self._unknown = TradeLine(), True
                return items
        if self._line.hole or self._doubt:
            self._hole_ns = now_ns if self._hole_ns is None else self._hole_ns
            if now_ns - self._hole_ns >= self._rules.patience_ns:
                items += self._become(FeedState.GAP, now_ns, "trades are missing")
            return items
        self._hole_ns = None
        if now_ns - self._traded_ns >= self._rules.stale_ns:
            return items + self._become(FeedState.STALE, now_ns, "no trade for long")
        if self._state == FeedState.GAP:
            whole = not (self._lost or self._unknown)
            items += self._become(FeedState.LIVE, now_ns, self._what_is_lost(), filled=whole)
        return items

    def _what_is_lost(self) -> str:
        lost, unknown = self._lost, self._unknown
        self._lost, self._unknown = 0, False
        if lost:
            return f"{lost} trades are missing for good"
        return "what was missed nobody knows" if unknown else "nothing is missing"

    def _missing_too_long(self, now_ns: int) -> bool:
        if self._line.waiting > limits.MAX_WAITING_TRADES:
            return True
        return self._hole_ns is not None and now_ns - self._hole_ns >= self._rules.give_up_ns

    def _give_up(self, until: int | None = None) -> list[Trade]:
        lost, passed = self._line.give_up(until)
        while until is None and self._line.hole:
            more, following = self._line.give_up()
            lost, passed = lost + more, passed + following
        self._lost += lost
        self.counts["lost"] += lost
        return passed

    def _become(self, state: FeedState, now_ns: int, detail: str, *, filled: bool = False) -> list[FeedItem]:
        if state == self._state:
            return []
        self._state = state
        if state == FeedState.GAP:
            self.counts["gaps"] += 1
        return [FeedChange(state, now_ns, detail, filled=filled)]

    def _time(self, ts: int) -> list[FeedItem]:
        """Let time pass as the venue's clock says, while nothing is missing before it."""
        uncertain = self._state == FeedState.GAP or self._line.hole or self._doubt
        if uncertain or self._line.last is None or not self._up:
            return []
        step = self._rules.marker_ns
        return [FeedTime((ts - self._rules.grace_ns) // step * step)]

    def _ticks(self, passed: Sequence[Trade]) -> list[FeedItem]:
        good = [trade for trade in passed if not trade.wrong]
        if len(good) < len(passed):
            self.counts.update(trade.wrong for trade in passed if trade.wrong)
        if not good:
            return []
        self.counts["trades"] += len(good)
        numbers, times, prices, sizes, flags, _ = zip(*good, strict=True)
        ticks = np.zeros(len(good), TICK)
        ticks["ts"], ticks["price"], ticks["size"], ticks["flags"] = times, prices, sizes, flags
        return [FeedTicks(ticks, [f"{self._prefix}{number}" for number in numbers])]
