"""The port of a venue's past bars."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from algotrade.engine import fixed
from algotrade.engine.limits import MAX_AMOUNT
from algotrade.engine.records import Records
from algotrade.platform.clock import SECOND_NS

DAY_NS: Final = 86_400 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Candles:
    """Bars (dtype BAR, by time, on the grid of their interval), and what was left out, by reason.

    A time without a bar is one in which nobody traded, or of which the venue has none: it stays a hole.
    """

    bars: Records
    left_out: Counter[str] = field(default_factory=Counter)


class CandleSource(Protocol):
    """A venue that has bars."""

    @property
    def name(self) -> str:
        """The venue's name."""
        ...

    @property
    def intervals(self) -> Mapping[str, int]:
        """The lengths of bars it has, by name; nanoseconds."""
        ...

    @property
    def symbols(self) -> Sequence[str]:
        """Its symbols, where it has few; empty: those that the venue knows."""
        ...

    @property
    def page(self) -> int:
        """How many bars it gives at once."""
        ...

    async def candles(self, symbol: str, interval_ns: int, start_ns: int, end_ns: int) -> Candles:
        """Fetch the bars that start from one time to before another, no more than a page.

        VenueError where it is away, VenueRefused where it does not give them.
        """
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


def day_of(ts: int) -> int:
    """Return the midnight in UTC (ns) of a day's bar that is stamped by another: of the same date, hours later."""
    return ts - ts % DAY_NS


def bar_of(
    ts: int, prices: Sequence[Any], volume: Any, interval_ns: int
) -> tuple[int, int, int, int, int, float] | str:
    """Return a BAR's fields, or why it is none. ``prices``: open, high, low, close, as JSON has them."""
    try:
        opened, high, low, closed = (fixed.from_number(price) for price in prices)
    except ValueError:
        return "bad_price"
    if ts % interval_ns:
        return "off_grid"
    if not 0 < low <= min(opened, closed) <= max(opened, closed) <= high <= MAX_AMOUNT:
        return "bad_price"
    size = float(volume)
    if not (math.isfinite(size) and size >= 0):
        return "bad_size"
    return ts, opened, high, low, closed, size
