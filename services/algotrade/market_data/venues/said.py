"""What a venue says, in one language for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Trade(NamedTuple):
    """A trade: its venue's number, time (ns), price (units of 1e-8), size, BUYER or SELLER.

    Where something cannot be, ``wrong`` says what, and only the number counts: the trade did happen.
    """

    number: int
    ts: int = 0
    price: int = 0
    size: float = 0.0
    flags: int = 0
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of a symbol in any order. A snapshot is of the past: it tells how far the venue is, and nothing new."""

    symbol: str
    trades: Sequence[Trade]
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """The venue lives: its time (ns), of one symbol or of all (empty), and the number of the last trade if it says."""

    symbol: str
    ts: int
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Complaint:
    """The venue refuses something that was asked for, in its words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A frame is missing on the connection: of which symbol, nobody knows."""


@dataclass(frozen=True, slots=True)
class Up:
    """The connection stands and the symbol is asked for."""


@dataclass(frozen=True, slots=True)
class Down:
    """The connection is gone."""

    cause: str


@dataclass(frozen=True, slots=True)
class Fill:
    """Trades fetched for a hole. ``complete``: they reach back to what was asked for."""

    trades: Sequence[Trade]
    complete: bool


@dataclass(frozen=True, slots=True)
class FillFailed:
    """They could not be fetched."""

    reason: str


Said = Trades | Beat | Complaint | Doubt
Heard = Trades | Beat | Doubt | Up | Down | Fill | FillFailed
