"""Turn columns of text into times, exact prices and sizes.

Each parser has a fast way in polars for the spellings that files are full of, guarded by a strict pattern, and an
exact way in Python for whatever is left. A value neither accepts is reported with its reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import polars as pl

from algotrade.engine import fixed
from algotrade.engine.limits import MAX_AMOUNT

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_NS: Final = -(2**63) + 1
_MAX_NS: Final = 2**63 - 1
_DAY_NS: Final = 86_400_000_000_000

# The fast ways take these spellings only; the rest is for the exact ways.
_FAST_EPOCH: Final = r"^\d{9,19}$"
_FAST_TIME: Final = (
    r"^(?:1[7-9]\d\d|20\d\d|21\d\d)-\d\d-\d\d"
    r"(?:[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1\d|2[0-3]):[0-5]\d)?)?$"
)
_FAST_PRICE: Final = r"^\d{1,10}(?:\.\d{1,8})?$"
_FAST_SIZE: Final = r"^\d{1,300}(?:\.\d{1,300})?$"

_EPOCH_TEXT = re.compile(r"([+-]?)(\d{1,20})(?:\.(\d*))?", re.ASCII)
_BASIC_DATE = re.compile(r"(?:19|20|21)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_ISO = re.compile(
    r"(?P<year>\d{4})(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,30}))?)?)?"
    r" ?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_EXPONENT = re.compile(r"(\d*)(?:\.(\d*))?[eE]([+-]?\d{1,3})", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The values of a column (anything where bad) and what is wrong: row -> reason."""

    values: npt.NDArray[Any]
    bad: Mapping[int, str]


def parse_times(column: pl.Series) -> Parsed:
    """ISO 8601, an epoch in s, ms, µs or ns, or a column of times -> int64 nanoseconds since the epoch, UTC."""
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        return _parse(column.cast(pl.Int64).cast(pl.String), _datetime_ns(column), _refuse_range)
    column = _as_text(column)
    text = pl.col(column.name)
    # The first value says which of the two nearly all are.
    first = next((value for value in column.head(100) if value), "")
    if first.isdigit():
        fast = pl.when(text.str.contains(_FAST_EPOCH)).then(_epoch_ns(text))
    else:
        fast = pl.when(text.str.contains(_FAST_TIME)).then(_iso_ns(text))
    return _parse(column, _run(column, fast), time_ns)


def parse_prices(column: pl.Series) -> Parsed:
    """Decimals (an exponent is understood, a float is its shortest decimal) -> int64 in units of 1e-8, exactly."""
    column = _as_text(column)
    text = pl.col(column.name)
    point = text.str.find(".", literal=True)
    decimals = pl.when(point.is_null()).then(0).otherwise(text.str.len_bytes() - point - 1)
    power = pl.lit(10, pl.Int64).pow(pl.lit(8, pl.Int64) - decimals.cast(pl.Int64))
    digits = text.str.replace(".", "", literal=True).cast(pl.Int64, strict=False)
    units = pl.when(text.str.contains(_FAST_PRICE)).then(digits * power)
    return _parse(column, _run(column, pl.when(units > 0).then(units)), price_units)


def parse_sizes(column: pl.Series) -> Parsed:
    """Decimals or numbers -> float64, finite and not below zero."""
    if column.dtype.is_numeric() and not column.dtype.is_decimal():
        number = pl.col(column.name).cast(pl.Float64)
        fast = pl.when(number.is_finite() & (number >= 0)).then(number + 0.0)
        return _parse(column.cast(pl.String), _run(column, fast), size_number)
    column = _as_text(column)
    text = pl.col(column.name)
    fast = pl.when(text.str.contains(_FAST_SIZE)).then(text.cast(pl.Float64, strict=False))
    return _parse(column, _run(column, fast), size_number)


def _as_text(column: pl.Series) -> pl.Series:
    return column if column.dtype == pl.String else column.cast(pl.String)


def _run(column: pl.Series, fast: pl.Expr) -> pl.Series:
    return column.to_frame().select(fast.alias("value")).to_series()


def _parse(column: pl.Series, parsed: pl.Series, exact: Callable[[str], Any]) -> Parsed:
    """Fill what the fast way left open."""
    values = parsed.fill_null(0).to_numpy().copy()
    bad: dict[int, str] = {}
    for row in np.flatnonzero(parsed.is_null().to_numpy()).tolist():
        field = (column[row] or "").strip()
        try:
            values[row] = exact(field)
        except ValueError as error:
            bad[row] = f"{column.name} {error if field else 'is empty'}"
    return Parsed(values, bad)


# The fast ways


def _datetime_ns(column: pl.Series) -> pl.Series:
    """The column's own integers in nanoseconds; null where they do not fit. A naive time is UTC."""
    unit = (column.dtype.time_unit or "us") if isinstance(column.dtype, pl.Datetime) else "ms"
    factor = {"ms": 10**6, "us": 10**3, "ns": 1}[unit]
    whole = pl.col(column.name).cast(pl.Datetime(unit)).dt.timestamp(unit)
    fits = whole.is_between(_MIN_NS // factor + 1, _MAX_NS // factor)
    return _run(column, pl.when(fits).then(whole * pl.lit(factor, pl.Int64)))


def _epoch_ns(text: pl.Expr) -> pl.Expr:
    digits, whole = text.str.len_bytes(), text.cast(pl.Int64, strict=False)
    ns: pl.Expr = pl.when(digits > 16).then(whole)
    for longest, power in ((16, 3), (13, 6), (10, 9)):
        scaled = pl.when(whole <= _MAX_NS // 10**power).then(whole * pl.lit(10**power, pl.Int64))
        ns = pl.when(digits <= longest).then(scaled).otherwise(ns)
    return ns


def _iso_ns(text: pl.Expr) -> pl.Expr:
    days = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    clock = text.str.slice(11, 8).str.to_time("%H:%M:%S", strict=False).cast(pl.Int64)
    fraction = text.str.extract(r"\.(\d{1,9})").str.pad_end(9, "0").cast(pl.Int64)
    offset = text.str.extract(r"^.{19}[^Z+-]*([+-]\d\d:\d\d)$")
    shift = (
        (offset.str.slice(1, 2).cast(pl.Int64) * 60 + offset.str.slice(4, 2).cast(pl.Int64))
        * pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
        * 60_000_000_000
    )
    of_day = pl.when(text.str.len_bytes() > 10).then(clock).otherwise(0)
    return days * _DAY_NS + of_day + fraction.fill_null(0) - shift.fill_null(0)


# The exact ways


def time_ns(text: str) -> int:
    """Nanoseconds since the epoch, UTC, of an ISO 8601 time (naive is UTC) or of an epoch by its digit count.

    Up to 10 digits are seconds, 11 to 13 milliseconds, 14 to 16 microseconds, more are nanoseconds; a fraction may
    follow. Eight digits that read as a date are refused: nobody can tell which of the two was meant.
    Raises ValueError.
    """
    epoch = _EPOCH_TEXT.fullmatch(text)
    ns = _epoch_text_ns(text, epoch) if epoch else _iso_text_ns(text)
    return ns if _MIN_NS <= ns <= _MAX_NS else _refuse_range(text)


def _refuse_range(text: str) -> NoReturn:
    raise ValueError(f"{text[:50]!r} is outside the years 1677 to 2262")


def _epoch_text_ns(text: str, match: re.Match[str]) -> int:
    sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
    if len(text) == 8 and _BASIC_DATE.fullmatch(text):
        raise ValueError(f"{text!r} may be a date or seconds since the epoch; write a date as 2020-01-31")
    digits = len(whole)
    power = 9 if digits <= 10 else 6 if digits <= 13 else 3 if digits <= 16 else 0
    if len(fraction) > power:
        raise ValueError(f"{text!r} is finer than a nanosecond")
    ns: int = int(whole) * 10**power + int(fraction.ljust(power, "0") or "0")
    return -ns if sign == "-" else ns


def _iso_text_ns(text: str) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:50]!r} is not an ISO 8601 time or an epoch")
    digits = (match["fraction"] or "").rstrip("0")
    if len(digits) > 9:
        raise ValueError(f"{text[:50]!r} is finer than a nanosecond")
    date, clock = (
        [int(match[part]) for part in ("year", "month", "day")],
        [int(match[part] or 0) for part in ("hour", "minute", "second")],
    )
    try:
        moment = datetime(date[0], date[1], date[2], clock[0], clock[1], clock[2], tzinfo=UTC)
        moment -= _offset(match["zone"] or "Z")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:50]!r} is not a time: {error}") from None
    return (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int(digits.ljust(9, "0"))


def _offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"offset {zone} must be in ±23:59")
    return timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)


def price_units(text: str) -> int:
    """Units of 1e-8 of a price above zero. Raises ValueError."""
    match = _EXPONENT.fullmatch(text)
    units = fixed.parse(_without_exponent(text, match) if match else text)
    if units <= 0:
        raise ValueError(f"{text} is not above zero")
    if units > MAX_AMOUNT:
        raise ValueError(f"{text} is too large")
    return units


def _without_exponent(text: str, match: re.Match[str]) -> str:
    whole, fraction, exponent = match[1] or "", match[2] or "", int(match[3])
    if not whole + fraction or abs(exponent) > 40:
        raise ValueError(f"{text!r} is not a decimal number")
    digits, point = whole + fraction, len(whole) + exponent
    digits = digits.rjust(len(digits) - min(point, 0), "0").ljust(point, "0")
    point = max(point, 0)
    return f"{digits[:point] or '0'}.{digits[point:] or '0'}"


def size_number(text: str) -> float:
    """A finite float not below zero. Raises ValueError."""
    if not _FLOAT.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:50]} is too large")
    if value < 0:
        raise ValueError(f"{text[:50]} is below zero")
    return value + 0.0
