"""Exact integer arithmetic in the IR: products of two 64-bit amounts never lose a digit."""

from __future__ import annotations

from algotrade.engine.ir import F64, I32, I64, Expr, Function, Var, const, select

OVERFLOW = -1
_LOW = 0xFFFF_FFFF
_ESTIMATED = 2.0**50
_SMALL = 2**61


def muldiv() -> Function:
    """``muldiv(a, b, c, up)`` = a·b/c for a, b >= 0 and c > 0, rounded down, or up where ``up`` is 1.

    Returns OVERFLOW where the result does not fit into 63 bits. The product is formed in 32-bit limbs and divided by
    long division in base 2**32 (Knuth, The Art of Computer Programming 2, algorithm D, for two digits).
    """
    f = Function("muldiv", [I64, I64, I64, I32], I64)
    a, b, c, up = f.args
    with f.when(b.eq(c)):  # a rate of one: no slippage, the whole of the equity
        f.ret(a)
    _estimate(f)
    low, high = _product(f, a, b)
    carry = f.let((c - 1) * up.to(I64))
    f.set(low, low + carry)
    f.set(high, high + low.op2("lt_u", carry).to(I64))
    with f.when(high.eq(0)):
        quotient = f.let(low.op2("div_u", c))
        f.ret(select(quotient < 0, const(I64, OVERFLOW), quotient))
    with f.when(high.op2("ge_u", c)):
        f.ret(OVERFLOW)
    shift = f.let(c.op1("clz"))  # at least 1, since c is positive
    divisor = f.let(c.op2("shl", shift))
    top, bottom = f.let(divisor.op2("shr_u", 32)), f.let(divisor & _LOW)
    f.set(high, high.op2("shl", shift) | low.op2("shr_u", 64 - shift))
    f.set(low, low.op2("shl", shift))
    first = _digit(f, high, low.op2("shr_u", 32), top, bottom)
    f.set(high, high.op2("shl", 32) + low.op2("shr_u", 32) - first * divisor)
    second = _digit(f, high, low & _LOW, top, bottom)
    quotient = f.let(first.op2("shl", 32) + second)
    f.ret(select(quotient < 0, const(I64, OVERFLOW), quotient))
    return f


def _estimate(f: Function) -> None:
    """Return at once where f64 comes close enough: the usual case, at half the cost of the long division.

    Below 2**50 the estimate of the quotient is off by less than 5 · 2**-53 · 2**50 < 1, so its whole part is off by one
    at most. With c below 2**61 what remains fits into 64 bits, where wrapping arithmetic has it exactly.
    """
    a, b, c, up = f.args
    estimate = f.let(a.to(F64) * b.to(F64) / c.to(F64))
    with f.when((estimate < _ESTIMATED) & (c < _SMALL)):
        quotient = f.var(I64, estimate.to(I64))
        rest = f.var(I64, a * b - quotient * c)
        below = f.let((rest < 0).to(I64))
        f.set(quotient, quotient - below)
        f.set(rest, rest + below * c)
        above = f.let((rest >= c).to(I64))
        f.set(quotient, quotient + above)
        f.set(rest, rest - above * c)
        f.ret(quotient + (up & rest.ne(0)).to(I64))


def _product(f: Function, a: Expr, b: Expr) -> tuple[Var, Var]:
    """The low and high 64 bits of a·b, as locals."""
    a0, a1 = f.let(a & _LOW), f.let(a.op2("shr_u", 32))
    b0, b1 = f.let(b & _LOW), f.let(b.op2("shr_u", 32))
    low, mid_1, mid_2 = f.let(a0 * b0), f.let(a0 * b1), f.let(a1 * b0)
    carry = f.let(low.op2("shr_u", 32) + (mid_1 & _LOW) + (mid_2 & _LOW))
    return (
        f.var(I64, (low & _LOW) | carry.op2("shl", 32)),
        f.var(I64, a1 * b1 + mid_1.op2("shr_u", 32) + mid_2.op2("shr_u", 32) + carry.op2("shr_u", 32)),
    )


def _digit(f: Function, high: Expr, next_digit: Expr, top: Expr, bottom: Expr) -> Expr:
    """One base 2**32 digit of the quotient: an estimate from the leading digits, corrected at most twice."""
    following = f.let(next_digit)
    digit = f.var(I64, high.op2("div_u", top))
    rest = f.var(I64, high - digit * top)
    for _ in range(2):  # without branches: nothing predicts how the digits fall
        too_big = digit.op2("shr_u", 32).ne(0) | (digit * bottom).op2("gt_u", rest.op2("shl", 32) | following)
        excess = f.let((rest.op2("shr_u", 32).eq(0) & too_big).to(I64))
        f.set(digit, digit - excess)
        f.set(rest, rest + excess * top)
    return digit
