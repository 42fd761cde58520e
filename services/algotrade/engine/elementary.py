"""Elementary functions in the IR, so that module, interpreter and browser agree to the last bit.

Each reduces its argument to a short interval and sums a power series there, as many terms as a double can hold. They
are off by a few units in the last place at most (`tests/engine/test_elementary.py`). Formulas: Abramowitz and Stegun,
Handbook of Mathematical Functions, 4.1.27 (ln), 4.2.1 (exp), 4.4.42 (arctan).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

from algotrade.engine.ir import F64, I32, I64, Expr, Function, Var, const, select

NAN: Final = float("nan")
_FRACTION: Final = (1 << 52) - 1
_ONE: Final = 1023 << 52  # the bits of 1.0
_SUBNORMAL: Final = 2.0**-1022
_LN_2: Final = Decimal("0.69314718055994530941723212145817656807550013436026")
# ln 2 in two parts; the first has so few digits that its product with any exponent is exact.
_LN_2_HIGH: Final = math.ldexp(math.floor(math.ldexp(math.log(2), 32)), -32)
_LN_2_LOW: Final = float(_LN_2 - Decimal(_LN_2_HIGH))
_MOST_EXP: Final = 709.782712893384  # beyond it the result is no double
_LEAST_EXP: Final = -745.2
_LN_TERMS: Final = 11  # of s², at most 0.0295
_LEAST_APART: Final = 0.05
_RATIO_TERMS: Final = 6  # of s², at most 0.0025
_EXP_TERMS: Final = 14  # of r, at most 0.347
_ATAN_TERMS: Final = 12  # of t², at most 0.0396
_MOST_WHOLE_POWER: Final = 64  # up to here powers are products, so that x² is x · x


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Horner's scheme, the coefficient of the lowest power first."""
    value: Expr = const(F64, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value


@lru_cache(maxsize=1)
def ln() -> Function:
    """The natural logarithm; NaN unless 0 < x < infinity.

    x = 2^k · m with m around 1, and ln m = 2 artanh s = 2 (s + s³/3 + s⁵/5 + …) with s = (m - 1) / (m + 1).
    """
    f = Function("ln", [F64], F64)
    x = f.args[0]
    with f.when(((x > 0.0) & (x < math.inf)).op1("eqz")):
        f.ret(NAN)
    scaled, exponent = f.var(F64, x), f.var(I32, 0)
    with f.when(x < _SUBNORMAL):
        f.set(scaled, x * 2.0**54)
        f.set(exponent, -54)
    bits = f.let(scaled.bits())
    f.set(exponent, exponent + bits.op2("shr_u", 52).to(I32) - 1023)
    m = f.var(F64, ((bits & _FRACTION) | _ONE).bits())
    with f.when(m > math.sqrt(2)):
        f.set(m, m * 0.5)
        f.set(exponent, exponent + 1)
    s = f.let((m - 1.0) / (m + 1.0))
    z = f.let(s * s)
    rest = f.let(z * _polynomial(z, [1 / (2 * k + 3) for k in range(_LN_TERMS)]))
    k = f.let(exponent.to(F64))
    f.ret(k * _LN_2_HIGH + (2.0 * s + (2.0 * s * rest + k * _LN_2_LOW)))
    return f


@lru_cache(maxsize=1)
def ln_ratio() -> Function:
    """ln (a / b), exact to its last digits also where a and b hardly differ; NaN unless both are above 0 and finite.

    ln (a / b) = 2 artanh s with s = (a - b) / (a + b); the quotient a / b near 1 would lose digits of the difference.
    """
    f = Function("ln_ratio", [F64, F64], F64)
    a, b = f.args
    with f.when(((a > 0.0) & (b > 0.0)).op1("eqz")):
        f.ret(NAN)
    s = f.let((a - b) / (a + b))
    with f.when(s.op1("abs") < _LEAST_APART):
        z = f.let(s * s)
        f.ret(2.0 * s + 2.0 * s * z * _polynomial(z, [1 / (2 * k + 3) for k in range(_RATIO_TERMS)]))
    f.ret(f.call(ln(), a / b))
    return f


@lru_cache(maxsize=1)
def exp() -> Function:
    """e to the power of x; NaN where that is no double. exp x = 2^k · exp r with x = k ln 2 + r, |r| <= ln 2 / 2."""
    f = Function("exp", [F64], F64)
    x = f.args[0]
    with f.when((x <= _MOST_EXP).op1("eqz")):
        f.ret(NAN)
    with f.when(x < _LEAST_EXP):
        f.ret(0.0)
    k = f.let((x * (1 / math.log(2)) + 0.5).op1("floor"))
    r = f.let(x - k * _LN_2_HIGH - k * _LN_2_LOW)
    value = f.let(r * _polynomial(r, [1 / math.factorial(n) for n in range(1, _EXP_TERMS)]) + 1.0)
    # 2^k in two factors, since it may be beyond the doubles where the result is not.
    whole = f.let(k.to(I32))
    half = f.let(whole.op2("shr_s", 1))
    f.ret(value * _power_of_two(half) * _power_of_two(whole - half))
    return f


def _power_of_two(k: Expr) -> Expr:
    return (k + 1023).to(I64).op2("shl", 52).bits()


@lru_cache(maxsize=1)
def power() -> Function:
    """a to the power of b; NaN where that is no real number or no double. x to the power of 0 is 1.

    Whole powers up to 64 are products; others are exp (b ln a), with the sign of a whole power of a negative number.
    """
    f = Function("power", [F64, F64], F64, loops=_MOST_WHOLE_POWER.bit_length())
    a, b = f.args
    with f.when((a.eq(a) & b.eq(b)).op1("eqz")):
        f.ret(NAN)
    whole = f.let(b.eq(b.op1("floor")))
    with f.when(whole & (b.op1("abs") <= float(_MOST_WHOLE_POWER))):
        product = _whole_power(f, a, b)
        f.ret(product + (product - product))
    with f.when(a.eq(0.0)):
        f.ret(select(b > 0.0, const(F64, 0.0), NAN))
    with f.when((a < 0.0) & (whole ^ 1)):
        f.ret(NAN)
    size = f.let(f.call(exp(), b * f.call(ln(), a.op1("abs"))))
    half = f.let(b * 0.5)
    f.ret(select((a < 0.0) & half.ne(half.op1("floor")), size * -1.0, size))
    return f


def _whole_power(f: Function, a: Expr, b: Expr) -> Var:
    """By squaring; the reciprocal for a negative exponent."""
    product, square = f.var(F64, 1.0), f.var(F64, a)
    left = f.var(I32, b.op1("abs").to(I32))
    with f.while_(left.ne(0)):
        with f.when(left & 1):
            f.set(product, product * square)
        f.set(square, square * square)
        f.set(left, left.op2("shr_u", 1))
    with f.when(b < 0.0):
        f.set(product, 1.0 / product)
    return product


@lru_cache(maxsize=1)
def atan() -> Function:
    """The angle whose tangent is x, in radians; NaN for NaN.

    Beyond 1 it is the rest of the right angle; then the angle is halved twice, atan x = 2 atan (x / (1 + √(1 + x²))),
    and atan t = t - t³/3 + t⁵/5 - …
    """
    f = Function("atan", [F64], F64)
    x = f.args[0]
    size = f.let(x.op1("abs"))
    beyond = f.let(size > 1.0)
    t = f.var(F64, select(beyond, 1.0 / size, size))
    for _ in range(2):
        f.set(t, t / ((t * t + 1.0).op1("sqrt") + 1.0))
    z = f.let(t * t)
    series = [(-1) ** k / (2 * k + 1) for k in range(_ATAN_TERMS)]
    angle = f.let(4.0 * t * _polynomial(z, series))
    f.set(t, select(beyond, math.pi / 2 - angle, angle))
    f.ret(select(x < 0.0, t * -1.0, t))
    return f
