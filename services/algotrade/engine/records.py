"""The records that cross the edge of an artefact, as numpy types laid out exactly as in its memory.

Times are nanoseconds since the epoch, UTC; prices, quantities and amounts are integers in units of 1e-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]

BAR: Final = np.dtype(
    [("ts", "<i8"), ("open", "<i8"), ("high", "<i8"), ("low", "<i8"), ("close", "<i8"), ("volume", "<f8")]
)
TICK: Final = np.dtype(
    [("ts", "<i8"), ("price", "<i8"), ("size", "<f8"), ("seq", "<i8"), ("flags", "<i4"), ("pad", "<i4")]
)

# Tick flags.
INTERPOLATED: Final = 1  # not a trade: a point on the assumed path inside a bar
CLOSES_BAR: Final = 2  # the fourth tick of a native bar
MARKER: Final = 4  # a time marker: no price, it only says that time has come this far
BUYER: Final = 8  # the buyer took the liquidity: the trade was made at an ask
SELLER: Final = 16  # the seller did: it was made at a bid

EVENT: Final = np.dtype(
    [
        ("slot", "<i4"),  # which session of the program
        ("kind", "<i4"),
        ("node", "<i4"),  # index into the manifest's nodes, or -1
        ("reason", "<i4"),
        ("number", "<i8"),  # 1, 2, 3 … within the session
        ("ts", "<i8"),
        ("tick_seq", "<i8"),
        ("price", "<i8"),
        ("quantity", "<i8"),  # negative where the position is short
        ("amount", "<i8"),  # what was paid or received, before the fee
        ("fee", "<i8"),
        ("cost", "<i8"),  # exits: the share of the position's cost, negative for a short: what its entry brought in
        ("entry_fee", "<i8"),  # exits: the share of the entry's fee
        ("pnl", "<i8"),  # exits: amount received, or less amount paid, - fee - cost - entry_fee
        ("cash", "<i8"),  # after the event
    ]
)


class EventKind(IntEnum):
    """What an artefact reports."""

    ENTRY = 1
    EXIT = 2
    REJECTION = 3
    AMBIGUOUS = 4  # the exit just before depended on the assumed path inside its bar
    HALT = 5
    NOTICE = 6  # a notify node has something to say


class Reason(IntEnum):
    """Why: of an exit without a node of its own, a rejection or a halt."""

    NODE = 0
    STOP_LOSS = 1
    TAKE_PROFIT = 2
    FLATTEN = 3
    TRAILING_STOP = 4
    BREAK_EVEN = 5
    FORCED_CLOSE = 6
    INSUFFICIENT_CASH = 16
    BELOW_MIN_NOTIONAL = 17
    POSITION_LIMIT = 18
    HALTED = 19
    STALE_DATA = 20
    WARMING_UP = 21
    ALREADY_LONG = 22
    ALREADY_SHORT = 23
    SHORT_NOT_ALLOWED = 24
    NO_ENTRY = 25
    NO_STOP = 26  # the size is to follow from a stop, and there is none on the losing side of the price
    NO_LEVEL = 27  # the price that an order should wait for is none
    DAILY_LOSS_LIMIT = 28
    MAX_TRADES_PER_DAY = 29
    EXPIRED = 30
    CANCELLED = 31  # by an exit decided while the entry waited for its price
    AMOUNT_OVERFLOW = 32

    @property
    def label(self) -> str:
        """The name on the wire and in results, such as ``insufficient_cash``."""
        return self.name.lower()


def joined(kind: np.dtype[Any], parts: Iterable[Records]) -> Records:
    """Return records (shape n) of a kind, part behind part. numpy's own way goes through the fields in Python."""
    return np.frombuffer(bytearray().join(part.data for part in parts), kind)


def bar_ticks(bars: Records, first_seq: int = 1) -> Records:
    """Spread bars (shape n) over their four ticks (shape 4 n), path ``tradingview``.

    Open (real), the extreme nearer to the open (equal distance: high), the other, close. All carry the bar's start
    as their time; the whole volume arrives with the fourth, which closes the bar.
    """
    ticks = np.zeros(len(bars) * 4, TICK)
    quad = ticks.reshape(len(bars), 4)
    high_first = bars["high"] - bars["open"] <= bars["open"] - bars["low"]
    quad["ts"] = bars["ts"][:, None]
    quad["price"][:, 0] = bars["open"]
    quad["price"][:, 1] = np.where(high_first, bars["high"], bars["low"])
    quad["price"][:, 2] = np.where(high_first, bars["low"], bars["high"])
    quad["price"][:, 3] = bars["close"]
    quad["size"][:, 3] = bars["volume"]
    quad["flags"][:, 1:] = INTERPOLATED
    quad["flags"][:, 3] |= CLOSES_BAR
    ticks["seq"] = np.arange(first_seq, first_seq + len(ticks))
    return ticks
