"""The run settings, and exact numbers: integers of 1e-8 and fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

SCALE = 100_000_000
DEFAULTS = {
    "interval": "native",
    "initial_cash": "10000",
    "fee_bps": "10",
    "slippage_bps": "0",
    "fill": "next_tick",
    "lot_step": "0.00000001",
    "price_step": "0.00000001",
    "min_notional": "0",
    "max_position_percent": "100",
    "allow_short": False,
    "path": "tradingview",
    "day_timezone": "UTC",
}


def units(value: Any) -> int:
    """An exact decimal as an integer of 1e-8."""
    scaled = Decimal(str(value)) * SCALE
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{value}: more than 8 decimals")
    return int(scaled)


def bps(value: Any) -> Fraction:
    return Fraction(Decimal(str(value))) / 10_000


def percent(value: Any) -> Fraction:
    return Fraction(Decimal(str(value))) / 100


@dataclass(frozen=True)
class Settings:
    """Run settings; money, prices and quantities in 1e-8, rates as exact fractions of one."""

    interval: str
    initial_cash: int
    fee: Fraction
    slippage: Fraction
    fill: str
    lot_step: int
    price_step: int
    min_notional: int
    max_position: Fraction
    allow_short: bool
    path: str
    day_timezone: str

    @staticmethod
    def parse(given: Mapping[str, Any]) -> Settings:
        s: dict[str, Any] = DEFAULTS | dict(given)
        return Settings(
            interval=s["interval"],
            initial_cash=units(s["initial_cash"]),
            fee=bps(s["fee_bps"]),
            slippage=bps(s["slippage_bps"]),
            fill=s["fill"],
            lot_step=units(s["lot_step"]),
            price_step=units(s["price_step"]),
            min_notional=units(s["min_notional"]),
            max_position=percent(s["max_position_percent"]),
            allow_short=s["allow_short"],
            path=s["path"],
            day_timezone=s["day_timezone"],
        )


def down(value: Fraction | int, step: int = 1) -> int:
    return math.floor(Fraction(value) / step) * step


def up(value: Fraction | int, step: int = 1) -> int:
    return math.ceil(Fraction(value) / step) * step
