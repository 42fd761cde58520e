"""The parts of candles and what counts as long, short or near, with TA-Lib's settings.

A part is measured against the mean of the same part of the candles before, so that a pattern means the same on a quiet
day and on a wild one. TA-Lib keeps that mean as a running sum of prices in f64; whether a body that equals the mean is
longer than it hangs on how that sum was rounded, so the sums here are taken in TA-Lib's order, from the same bar on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from algotrade.engine.ir import F64, I32, Expr, const, select
from algotrade.engine.site import Site, Slot

MOST_KEPT: Final = 16  # candles that a pattern and its means reach back, and more


@dataclass(frozen=True, slots=True)
class Setting:
    """What a part is compared with: ``factor`` times the mean of that part of ``period`` candles, or of this one."""

    part: str
    period: int
    factor: float


BODY_LONG = Setting("body", 10, 1.0)
BODY_SHORT = Setting("body", 10, 1.0)
BODY_DOJI = Setting("range", 10, 0.1)
SHADOW_LONG = Setting("body", 0, 1.0)
SHADOW_VERY_LONG = Setting("body", 0, 2.0)
SHADOW_SHORT = Setting("shadows", 10, 1.0)
SHADOW_VERY_SHORT = Setting("range", 10, 0.1)
NEAR = Setting("range", 5, 0.2)
FAR = Setting("range", 5, 0.6)


class Candles:
    """The last candles, by how many bars ago they are; for use where there are ``lookback`` before this one."""

    def __init__(self, site: Site, lookback: int) -> None:
        self.site, self.lookback = site, lookback
        self._totals: dict[tuple[Setting, int], Slot] = {}
        self._prices = {field: site.bar(field) for field in ("open", "high", "low", "close")}
        for series in self._prices.values():
            series.keep(MOST_KEPT)
        self.count = self._prices["close"].count()

    def price(self, field: str, ago: int) -> Expr:
        series = self._prices[field]
        return series.ago(const(I32, ago)) if ago else series.value

    def open(self, ago: int) -> Expr:
        return self.price("open", ago)

    def high(self, ago: int) -> Expr:
        return self.price("high", ago)

    def low(self, ago: int) -> Expr:
        return self.price("low", ago)

    def close(self, ago: int) -> Expr:
        return self.price("close", ago)

    def white(self, ago: int) -> Expr:
        """Whether it did not fall."""
        return self.close(ago) >= self.open(ago)

    def black(self, ago: int) -> Expr:
        return self.close(ago) < self.open(ago)

    def top(self, ago: int) -> Expr:
        """The upper end of the body."""
        return select(self.white(ago), self.close(ago), self.open(ago))

    def bottom(self, ago: int) -> Expr:
        return select(self.white(ago), self.open(ago), self.close(ago))

    def body(self, ago: int) -> Expr:
        return (self.close(ago) - self.open(ago)).op1("abs")

    def upper(self, ago: int) -> Expr:
        """The shadow above the body."""
        return self.high(ago) - self.top(ago)

    def lower(self, ago: int) -> Expr:
        return self.bottom(ago) - self.low(ago)

    def gap_up(self, ago: int, before: int) -> Expr:
        """Whether one body lies wholly above another."""
        return self.bottom(ago) > self.top(before)

    def gap_down(self, ago: int, before: int) -> Expr:
        return self.top(ago) < self.bottom(before)

    def part(self, name: str, ago: int) -> Expr:
        parts: dict[str, Callable[[int], Expr]] = {
            "body": self.body,
            "range": lambda n: self.high(n) - self.low(n),
            "shadows": lambda n: self.upper(n) + self.lower(n),
        }
        return parts[name](ago)

    def mean(self, setting: Setting, ago: int) -> Expr:
        """What counts for the candle ``ago``: from those before it, or from itself where the setting has no period."""
        if setting.period == 0:
            return self.part(setting.part, ago) * setting.factor
        if (setting, ago) not in self._totals:
            self._totals[setting, ago] = self.site.slot(F64)
        mean = self._totals[setting, ago].get() / float(setting.period) * setting.factor
        return mean / 2.0 if setting.part == "shadows" else mean

    def advance(self) -> None:
        """Move the sums on by a candle, once the pattern has looked at them."""
        for (setting, ago), total in self._totals.items():
            comes, goes = self.part(setting.part, ago), self.part(setting.part, ago + setting.period)
            total.set(total.get() + (comes - goes))

    def begin(self) -> None:
        """Gather the first sums, on the candles before the pattern is first looked for."""
        for (setting, ago), total in self._totals.items():
            last = self.lookback - ago
            with self.site.f.when((self.count > last - setting.period) & (self.count <= last)):
                total.set(total.get() + self.part(setting.part, 0))
