"""When exchanges are open. Holidays, half days and lunch are the library's, which is slow to import: on first use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from algotrade.platform.clock import SECOND_NS

DAY_NS: Final = 86_400 * SECOND_NS
BEFORE_NS: Final = 14 * DAY_NS  # an exchange is closed for no longer
AHEAD_NS: Final = 200 * DAY_NS
_COLUMNS: Final = ("opens", "closes", "break_starts", "break_ends")


class UnknownExchangeError(ValueError):
    """No calendar has that code."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Whether an exchange is open, and when that changes next (ns)."""

    is_open: bool
    until_ns: int


class Hours(Protocol):
    """When something is traded."""

    async def at(self, ns: int) -> Moment:
        """Tell of a moment; the opening belongs to the open time, the close does not."""
        ...


class ExchangeHours:
    """The port over exchange_calendars."""

    def __init__(self, exchange: str) -> None:
        """Take the code, such as XNYS. UnknownExchangeError."""
        from exchange_calendars import get_calendar_names

        if exchange not in get_calendar_names():
            raise UnknownExchangeError(f"{exchange}: no exchange's calendar has that code; NYSE and Nasdaq are XNYS")
        self.exchange = exchange
        self._opens: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._closes = self._opens

    async def at(self, ns: int) -> Moment:
        """Tell of a moment."""
        if not len(self._closes) or not self._opens[0] <= ns < self._opens[-1]:
            await asyncio.to_thread(self._read, ns)
        place = int(np.searchsorted(self._opens, ns, side="right"))
        if ns < (close_ns := int(self._closes[place - 1])):
            return Moment(is_open=True, until_ns=close_ns)
        return Moment(is_open=False, until_ns=int(self._opens[place]))

    def _read(self, ns: int) -> None:
        """Read the openings and closes around a time; a lunch is a close."""
        from exchange_calendars import get_calendar

        first, last = (np.datetime64(at_ns, "ns").astype("datetime64[D]") for at_ns in (ns - BEFORE_NS, ns + AHEAD_NS))
        calendar = get_calendar(self.exchange, start=str(first), end=str(last))
        times = {name: getattr(calendar, name).to_numpy("datetime64[ns]") for name in _COLUMNS}
        breaks = ~np.isnat(times["break_starts"])
        opens = np.concatenate([times["opens"], times["break_ends"][breaks]])
        closes = np.concatenate([times["closes"], times["break_starts"][breaks]])
        self._opens, self._closes = (np.sort(edges.astype(np.int64)) for edges in (opens, closes))
