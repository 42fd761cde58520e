"""Runs worked out by hand: daily rows from a few prices, and what was filled, as short as it can be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oracle.backtest import Result, Row
from oracle.settings import SCALE, units

Runner = Callable[..., Result]

DAY = 86_400 * 1_000_000_000


def rows(*bars: tuple[Any, ...], width: int = DAY) -> list[Row]:
    """Rows from (open, high, low, close), a day each; one number means a bar that did not move."""
    out: list[Row] = []
    for i, bar in enumerate(bars):
        o, h, low, c = (units(x) for x in (bar if len(bar) == 4 else bar * 4))
        out.append((i * width, o, h, low, c, 1.0))
    return out


def fills(result: Result) -> list[tuple[Any, ...]]:
    """(entry day, price, exit day, price, reason) of each trade, prices as written."""
    return [
        (
            t.entry_ts // DAY,
            t.entry_price / SCALE,
            t.exit_ts and t.exit_ts // DAY,
            t.exit_price and t.exit_price / SCALE,
            t.exit_reason,
        )
        for t in result.trades
    ]
