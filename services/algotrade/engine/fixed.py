"""Money, prices and quantities as integers in units of 1e-8, and their decimal text."""

from __future__ import annotations

import re
from typing import Final

SCALE: Final = 100_000_000
DECIMALS: Final = 8
MAX: Final = 2**63 - 1

_DECIMAL = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?")


def parse(text: str) -> int:
    """Read a plain decimal such as ``"10000.5"`` exactly; return units of 1e-8.

    Raises ValueError for anything that is not a plain decimal (an exponent, a thousands separator, NaN), for more
    than eight decimals that are not zero, and for values outside a signed 64-bit integer.
    """
    match = _DECIMAL.fullmatch(text.strip()) if text.isascii() else None
    if match is None or not (match[2] or match[3]):
        raise ValueError(f"{text!r} is not a decimal number")
    sign, whole, fraction = match[1], match[2] or "0", (match[3] or "").rstrip("0")
    if len(fraction) > DECIMALS:
        raise ValueError(f"{text!r} has more than {DECIMALS} decimals")
    if len(whole) > 20:
        raise ValueError(f"{text!r} is too large")
    units = int(whole) * SCALE + int(fraction.ljust(DECIMALS, "0"))
    if units > MAX:
        raise ValueError(f"{text!r} is too large")
    return -units if sign == "-" else units


def from_number(value: object) -> int:
    """Units of 1e-8 of a JSON number or decimal string: a float counts as the shortest decimal that names it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a decimal number")  # noqa: TRY004 - one error for bad input
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{value!r} is not a decimal number")
        value = format(value, "f") if value == int(value) else _expanded(repr(value))
    return parse(str(value))


def _expanded(text: str) -> str:
    """Write ``1.5e-07`` without its exponent."""
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, point = whole + fraction, len(whole) + int(exponent)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:]}"


def text(units: int) -> str:
    """Units of 1e-8 as a plain decimal: no exponent, no trailing zeros."""
    units = int(units)
    whole, fraction = divmod(abs(units), SCALE)
    tail = f".{fraction:08d}".rstrip("0") if fraction else ""
    return f"{'-' if units < 0 else ''}{whole}{tail}"
