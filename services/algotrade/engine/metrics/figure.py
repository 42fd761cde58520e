"""What a statistic is, what a run is judged by, and arithmetic in which something undefined stays undefined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from algotrade.engine import fixed
from algotrade.engine.records import Records

if TYPE_CHECKING:
    from algotrade.engine.trades import Trade

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Unit = Literal["percent", "ratio", "money", "count", "seconds"]
Value = float | int | str | None
Figure = tuple[str, float | None, Unit, str]  # name, value (money in units of 1e-8), unit, definition

SECOND: Final = 1_000_000_000
DAY: Final = 86_400 * SECOND
YEAR: Final = 31_557_600 * SECOND  # 365.25 days


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure. `value` is decimal text for money, None where undefined; `unit` says how to show it."""

    name: str
    value: Value
    unit: Unit
    definition: str


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is judged by.

    `bars`: BAR records, shape (n,), n > 0; `equity`: float64, shape (n,), at each close; amounts in units of 1e-8.
    """

    bars: Records
    equity: Floats
    initial_cash: int
    final_equity: int
    trades: Sequence[Trade]


def metric(name: str, number: float | None, unit: Unit, definition: str) -> Metric:
    """A figure as it is shown."""
    value: Value = number
    if number is None:
        value = None
    elif unit == "money":
        value = fixed.text(int(number))
    elif not np.isfinite(number):
        value = None
    elif unit == "count" and float(number).is_integer():
        value = int(number)
    return Metric(name, value, unit, definition)


def mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def over(top: float | None, bottom: float | None) -> float | None:
    return None if top is None or not bottom else top / bottom


def times(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left * right


def less(left: float | None, right: float) -> float | None:
    return None if left is None else left - right


def percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
