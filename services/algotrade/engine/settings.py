"""Run settings: all that a run depends on beside the artefact, its parameters and the data (docs/strategy.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from algotrade.engine import fixed
from algotrade.engine.calendar import zone_table
from algotrade.engine.limits import MAX_AMOUNT

SECOND: Final = 1_000_000_000
INTERVALS: Final[Mapping[str, int]] = {
    "tick": 0,
    "native": 0,
    "1s": SECOND,
    "5s": 5 * SECOND,
    "15s": 15 * SECOND,
    "1m": 60 * SECOND,
    "5m": 300 * SECOND,
    "15m": 900 * SECOND,
    "30m": 1_800 * SECOND,
    "1h": 3_600 * SECOND,
    "4h": 14_400 * SECOND,
    "1d": 86_400 * SECOND,
}
FILLS: Final = ("next_tick", "close")
PATHS: Final = ("tradingview", "worst")


class SettingsError(ValueError):
    """A run setting that cannot be; ``field`` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Amounts, percentages and basis points are integers in units of 1e-8."""

    interval: str = "native"
    initial_cash: int = 10_000 * fixed.SCALE
    fee_bps: int = 10 * fixed.SCALE
    slippage_bps: int = 0
    fill: str = "next_tick"
    lot_step: int = 1
    price_step: int = 1
    min_notional: int = 0
    max_position_percent: int = 100 * fixed.SCALE
    allow_short: bool = False
    path: str = "tradingview"
    day_timezone: str = "UTC"
    native_seconds: int = 0  # how long a native bar lasts, in units of 1e-8; 0: not said

    @property
    def bar_length_ns(self) -> int:
        """From a bar's start to its end; 0 where each tick is a bar, or where it is native and not said."""
        if self.interval == "native":
            return self.native_seconds * SECOND // fixed.SCALE
        return INTERVALS[self.interval]

    def check_timeframes(self, timeframes: Iterable[str]) -> None:
        """Raise SettingsError where a strategy's timeframes are no multiples of the run's bars."""
        own = self.bar_length_ns
        for timeframe in timeframes:
            if self.interval == "native" and not own:
                raise SettingsError(
                    "interval", f"the strategy reads {timeframe} bars, so say how long the run's own are"
                )
            if own and (own > INTERVALS[timeframe] or INTERVALS[timeframe] % own):
                raise SettingsError(
                    "interval", f"{timeframe}, which the strategy reads, is no multiple of {own / SECOND:g} seconds"
                )

    def check_short(self, *, sells_short: bool) -> None:
        """Raise SettingsError where a strategy sells short and the run does not allow it."""
        if sells_short and not self.allow_short:
            raise SettingsError("allow_short", "the strategy sells short")

    @staticmethod
    def parse(values: Mapping[str, Any]) -> RunSettings:
        """Read settings by name; numbers may be JSON numbers or decimal strings. Raises SettingsError."""
        known = {field.name for field in fields(RunSettings)}
        for name in values:
            if name not in known:
                raise SettingsError(name, "there is no such setting")
        return RunSettings(**{name: _PARSERS[name](name, value) for name, value in values.items()})

    def as_text(self) -> dict[str, str | bool]:
        """Every setting as ``parse`` reads it, amounts as decimals."""
        texts: dict[str, str | bool] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            texts[field.name] = value if isinstance(value, str | bool) else fixed.text(value)
        return texts


def _decimal(low: int, high: int) -> Callable[[str, Any], int]:
    def parse(name: str, value: Any) -> int:
        try:
            units = fixed.from_number(value)
        except ValueError as e:
            raise SettingsError(name, str(e)) from None
        if not low <= units <= high:
            raise SettingsError(name, f"{value} is outside {fixed.text(low)} to {fixed.text(high)}")
        return units

    return parse


def _choice(choices: tuple[str, ...]) -> Callable[[str, Any], str]:
    def parse(name: str, value: Any) -> str:
        if value not in choices:
            raise SettingsError(name, f"{value!r} is not one of {', '.join(choices)}")
        return str(value)

    return parse


def _flag(name: str, value: Any) -> bool:
    if value in (True, "true") or value in (False, "false"):
        return value in (True, "true")
    raise SettingsError(name, f"{value!r} is not true or false")


def _zone(name: str, value: Any) -> str:
    try:
        zone_table(value if isinstance(value, str) else "")
    except ValueError as e:
        raise SettingsError(name, str(e)) from None
    return str(value)


_PARSERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "interval": _choice(tuple(INTERVALS)),
    "initial_cash": _decimal(1, MAX_AMOUNT),
    "fee_bps": _decimal(0, 10_000 * fixed.SCALE),
    "slippage_bps": _decimal(0, 9_999 * fixed.SCALE),
    "fill": _choice(FILLS),
    "lot_step": _decimal(1, MAX_AMOUNT),
    "price_step": _decimal(1, MAX_AMOUNT),
    "min_notional": _decimal(0, MAX_AMOUNT),
    "max_position_percent": _decimal(1, 100 * fixed.SCALE),
    "allow_short": _flag,
    "path": _choice(PATHS),
    "day_timezone": _zone,
    "native_seconds": _decimal(0, INTERVALS["1d"] * 366 // SECOND * fixed.SCALE),
}
