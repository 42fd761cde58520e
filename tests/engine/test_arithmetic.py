"""Products and quotients of money, held to Python's unbounded integers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.engine.arithmetic import OVERFLOW, muldiv

from .programs import Both

LARGEST = 2**63 - 1
# Amounts as they occur, and around the limbs' edges.
AMOUNT = st.one_of(
    st.integers(0, LARGEST),
    st.integers(0, 10**13),
    st.integers(2**49, 2**52),
    st.integers(2**60, 2**62),
    st.sampled_from([0, 1, 10**8, 10**12, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**62, LARGEST]),
)


@pytest.fixture(scope="module")
def both() -> Both:
    function = muldiv()
    function.export = True
    return Both([function])


@settings(max_examples=4_000)
@given(AMOUNT, AMOUNT, AMOUNT.filter(bool), st.booleans())
def test_muldiv(both: Both, a: int, b: int, c: int, up: bool) -> None:
    exact = -(-a * b // c) if up else a * b // c
    expected = exact if exact <= LARGEST else OVERFLOW
    assert both.call("muldiv", a, b, c, int(up)) == (expected, expected)


@settings(max_examples=3_000)
@given(st.integers(1, 2**51), st.integers(1, 2**62), st.integers(-2, 2), st.booleans())
def test_muldiv_around_whole_quotients(both: Both, quotient: int, c: int, off: int, up: bool) -> None:
    """Products a hair from a multiple of the divisor, where an estimate would be off by one."""
    a = quotient * c + off
    if 0 <= a <= LARGEST:
        exact = -(-a // c) if up else a // c
        assert both.call("muldiv", a, 1, c, int(up)) == (exact, exact)
    b = 10**8
    exact = -(-quotient * b // (b + off)) if up else quotient * b // (b + off)
    assert both.call("muldiv", quotient, b, b + off, int(up)) == (exact, exact)
