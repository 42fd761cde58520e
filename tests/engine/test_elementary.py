"""Elementary functions: within a few units in the last place of the C library's, alike in module and interpreter."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.engine import elementary

from .programs import Both

ANY = st.floats(allow_nan=True, allow_infinity=True)
UNITS = 4


@pytest.fixture(scope="module")
def both() -> Both:
    functions = [elementary.ln(), elementary.ln_ratio(), elementary.exp(), elementary.power(), elementary.atan()]
    for function in functions:
        function.export = True
    return Both(functions)


def assert_close(both: Both, name: str, exact: float, *args: float, units: float = UNITS) -> None:
    module, interpreter = both.call(name, *args)
    assert module == interpreter or (math.isnan(module) and math.isnan(interpreter))
    if not math.isfinite(exact):
        assert math.isnan(module), (name, args)
        return
    room = units * math.ulp(exact) if abs(exact) > 1e-300 else 1e-310
    assert abs(module - exact) <= room, (name, args, module, exact)


def or_nan(function: Callable[..., float], *args: float) -> float:
    try:
        value = function(*args)
    except (ValueError, OverflowError, ZeroDivisionError):
        return math.nan
    return value if isinstance(value, float) else math.nan  # a complex root


@settings(max_examples=700)
@given(st.one_of(ANY, st.floats(0.4, 2.5), st.floats(1 - 1e-9, 1 + 1e-9)))
def test_ln(both: Both, x: float) -> None:
    assert_close(both, "ln", or_nan(math.log, x), x)


@settings(max_examples=700)
@given(st.floats(1e-8, 1e12), st.one_of(st.floats(1e-3, 1e3), st.floats(0.9, 1.1), st.floats(1 - 1e-9, 1 + 1e-9)))
def test_ln_ratio(both: Both, b: float, ratio: float) -> None:
    a = b * ratio
    with localcontext(Context(prec=60)):
        exact = float((Decimal(a) / Decimal(b)).ln())
    assert_close(both, "ln_ratio", exact, a, b, units=10)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 2.0), (math.nan, 1.0), (1.0, math.inf)])
def test_ln_ratio_of_no_prices(both: Both, a: float, b: float) -> None:
    assert_close(both, "ln_ratio", math.nan, a, b)


@settings(max_examples=700)
@given(st.one_of(ANY, st.floats(-750, 712), st.floats(-1, 1)))
def test_exp(both: Both, x: float) -> None:
    assert_close(both, "exp", or_nan(math.exp, x), x)


@settings(max_examples=700)
@given(st.one_of(ANY, st.floats(-3, 3)))
def test_atan(both: Both, x: float) -> None:
    assert_close(both, "atan", math.atan(x), x)


@settings(max_examples=700)
@given(
    st.one_of(st.floats(-1e6, 1e6, allow_subnormal=False), st.floats(0.5, 2)),
    st.one_of(st.floats(-70, 70), st.integers(-70, 70).map(float), st.floats(-1000, 1000), ANY),
)
def test_power(both: Both, a: float, b: float) -> None:
    """Off by a share of the exponent's size, since that is what the last place of a logarithm is multiplied by."""
    exact = or_nan(math.pow, a, b) if math.isfinite(b) else math.nan
    size = abs(b * math.log(abs(a))) if a and math.isfinite(b) else 0.0
    module, interpreter = both.call("power", a, b)
    assert module == interpreter or (math.isnan(module) and math.isnan(interpreter))
    if math.isfinite(exact) and not math.isnan(module):
        assert abs(module - exact) <= (UNITS + 8 * size + abs(b)) * math.ulp(exact) + 1e-307
    elif math.isfinite(b):  # at the very edge of the doubles one may be out and the other not
        assert math.isnan(module) == (not math.isfinite(exact)) or size > 709


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (3.0, 2.0, 9.0),
        (1.1, 2.0, 1.1 * 1.1),
        (-2.0, 3.0, -8.0),
        (2.0, -2.0, 0.25),
        (0.0, 0.0, 1.0),
        (-2.0, 101.0, -(2.0**101)),
    ],
)
def test_whole_powers(both: Both, a: float, b: float, expected: float) -> None:
    assert_close(both, "power", expected, a, b, units=100 if b > 64 else 0)


@pytest.mark.parametrize(("a", "b"), [(-2.0, 0.5), (0.0, -1.0), (math.nan, 0.0), (10.0, 400.0)])
def test_what_is_no_number(both: Both, a: float, b: float) -> None:
    assert_close(both, "power", math.nan, a, b)
