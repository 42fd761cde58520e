"""Decimal text to integers and back, exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algotrade.engine import fixed

UNITS = st.integers(-fixed.MAX, fixed.MAX)


@given(UNITS)
def test_text_is_read_back(units: int) -> None:
    assert fixed.parse(fixed.text(units)) == units


@given(UNITS)
def test_text_is_the_exact_decimal(units: int) -> None:
    written = fixed.text(units)
    assert Decimal(written) * fixed.SCALE == units
    assert "e" not in written.lower()
    assert not ("." in written and written.endswith("0"))


@given(st.floats(-1e9, 1e9))
def test_a_float_counts_as_its_shortest_decimal_or_is_refused(value: float) -> None:
    exact = Decimal(repr(value)) * fixed.SCALE
    if exact == exact.to_integral_value():
        assert fixed.from_number(value) == exact
    else:
        with pytest.raises(ValueError, match="decimals"):
            fixed.from_number(value)


@pytest.mark.parametrize("text", ["", ".", "-", "1e5", "1,000", "0x10", "NaN", "Infinity", "1.2.3", "٣", "1 2"])
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a decimal"):
        fixed.parse(text)


@pytest.mark.parametrize(
    ("text", "units"),
    [("10000", 10**12), ("0.1", 10**7), ("-3.5", -350_000_000), (".5", 5 * 10**7), ("5.", 5 * 10**8), ("+1", 10**8)],
)
def test_plain_decimals(text: str, units: int) -> None:
    assert fixed.parse(text) == units


def test_bounds() -> None:
    assert fixed.parse("0.00000001") == 1
    assert fixed.parse("1.000000010") == fixed.SCALE + 1  # a zero more says nothing more
    with pytest.raises(ValueError, match="decimals"):
        fixed.parse("0.000000001")
    with pytest.raises(ValueError, match="too large"):
        fixed.parse("92233720368.54775808")
    with pytest.raises(ValueError, match="too large"):
        fixed.parse("9" * 30)
    for value in (True, None, float("nan"), float("inf"), [1]):
        with pytest.raises(ValueError, match="not a decimal"):
            fixed.from_number(value)
