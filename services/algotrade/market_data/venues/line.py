"""Trades numbered without holes by their venue: each is passed on once, and only when all before it have been."""

from __future__ import annotations

from collections.abc import Iterable

from algotrade.market_data.venues.said import Trade
from algotrade.platform import limits


class TradeLine:
    """How far a symbol's trades are passed on, and those that came before their turn."""

    def __init__(self, last: int | None = None) -> None:
        """Go on after a number; None: with the first trade that comes, or after the first number that is named."""
        self.last = last
        self.duplicates = 0
        self.far = 0  # trades in a row whose numbers were too far ahead to be believed
        self._named = last or 0  # the greatest number that the venue has told of
        self._waiting: dict[int, Trade] = {}

    @property
    def hole(self) -> bool:
        """Whether trades are known to be missing."""
        return self.last is not None and self._named > self.last

    @property
    def waiting(self) -> int:
        """How many trades wait for others."""
        return len(self._waiting)

    def name(self, number: int) -> None:
        """Take note that the venue has come to a number."""
        if self.last is None:
            self.last = number
        if number <= self.last + limits.MAX_TRADES_AHEAD:
            self._named = max(self._named, number)

    def forget_named(self) -> None:
        """Believe only in trades that came: nobody has the others."""
        self._named = max(self.last or 0, max(self._waiting, default=0))

    def take(self, trades: Iterable[Trade], *, trusted: bool = False) -> list[Trade]:
        """Take trades in any order; return those whose turn has come, in order. ``trusted`` ones may be far ahead."""
        for trade in sorted(trades):
            if self.last is None:
                self.last = trade.number - 1
            if not trusted and trade.number > self.last + limits.MAX_TRADES_AHEAD:
                self.far += 1
                continue
            self.far = 0
            if trade.number <= self.last or trade.number in self._waiting:
                self.duplicates += 1
                continue
            self._waiting[trade.number] = trade
            self._named = max(self._named, trade.number)
        return self._follow()

    def give_up(self, until: int | None = None) -> tuple[int, list[Trade]]:
        """Go on where the next known trade is, or all are before ``until``: how many are lost, whose turn has come."""
        if self.last is None:
            return 0, []
        first = min(self._waiting, default=self._named + 1)
        if until is not None:
            first = min(first, until)
        lost = max(0, first - self.last - 1)
        self.last += lost
        return lost, self._follow()

    def _follow(self) -> list[Trade]:
        passed = []
        while self.last is not None and (trade := self._waiting.pop(self.last + 1, None)) is not None:
            passed.append(trade)
            self.last += 1
        return passed
