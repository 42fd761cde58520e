"""What the emitter writes means what the interpreter does: random expressions and statements, run both ways."""

from __future__ import annotations

import math
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.engine.ir import F64, I32, I64, Expr, Function, Type, Var, const, select

from .programs import Both

INT_BINARY = ["add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u"]
COMPARE = ["eq", "ne", "lt", "le", "gt", "ge"]
UNSIGNED_COMPARE = ["lt_u", "le_u", "gt_u", "ge_u"]
FLOAT_BINARY = ["add", "sub", "mul", "div"]
FLOAT_UNARY = ["abs", "neg", "ceil", "floor", "trunc", "sqrt"]
EDGES = {
    "i32": st.one_of(st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]), st.integers(-(2**31), 2**31 - 1)),
    "i64": st.one_of(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1)),
    "f64": st.floats(allow_nan=True, allow_infinity=True),
}


@st.composite
def expression(draw: st.DrawFn, kind: Type, variables: list[Var], depth: int) -> Expr:
    """Draw an expression of a type over the variables."""
    usable = [v for v in variables if v.type == kind]
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(usable)) if usable and draw(st.booleans()) else const(kind, draw(EDGES[kind]))

    def part(of: Type) -> Expr:
        return draw(expression(of, variables, depth - 1))

    choice = draw(st.sampled_from(["binary", "unary", "select", "compare", "convert"]))
    if choice == "select":
        return select(part(I32), part(kind), part(kind))
    if choice == "compare" and kind == I32:
        of: Type = draw(st.sampled_from([I32, I64, F64]))
        ops = COMPARE if of == F64 else COMPARE + UNSIGNED_COMPARE
        return part(of).op2(draw(st.sampled_from(ops)), part(of))
    if choice == "convert":
        source: Type = draw(st.sampled_from([t for t in (I32, I64, F64) if t != kind]))
        return part(source).to(kind)
    if choice == "unary":
        if kind == F64:
            return part(F64).op1(draw(st.sampled_from(FLOAT_UNARY)))
        return part(I64).op1("eqz") if kind == I32 and draw(st.booleans()) else part(kind).op1("clz")
    return part(kind).op2(draw(st.sampled_from(FLOAT_BINARY if kind == F64 else INT_BINARY)), part(kind))


def same(a: float, b: float) -> bool:
    """Equal, NaN counting as equal to NaN; the sign of a zero does not matter to anything the engine does."""
    return a == b or (math.isnan(a) and math.isnan(b))


@settings(max_examples=400)
@given(st.data())
def test_expressions(data: st.DataObject) -> None:
    kind: Type = data.draw(st.sampled_from([I32, I64, F64]))
    f = Function("f", [I32, I64, F64], kind, export=True)
    f.ret(data.draw(expression(kind, f.args, 4)))
    both = Both([f])
    for _ in range(3):
        a, b = both.call("f", data.draw(EDGES["i32"]), data.draw(EDGES["i64"]), data.draw(EDGES["f64"]))
        assert same(a, b)


@given(st.integers(0, 60), st.integers(-5, 60))
def test_loops_branches_calls_and_memory(count: int, limit: int) -> None:
    """Squares into memory until a limit, through a call; the sum of what was stored comes back."""
    square = Function("square", [I64], I64)
    square.ret(square.args[0] * square.args[0])
    f = Function("f", [I32, I32], I64, export=True)
    n, most = f.args
    i, total = f.var(I32, 0), f.var(I64, 0)
    with f.while_(i < n):
        with f.when(i.eq(most)):
            f.ret(total)
        f.store(i.op2("shl", 3), f.call(square, i.to(I64)), 256)
        with f.when((i & 1).eq(0)) as even:
            f.set(total, total + i.op2("shl", 3).load(I64, 256))
        with f.otherwise(even):
            f.set(total, total - 1)
        f.set(i, i + 1)
    f.ret(total)
    both = Both([square, f])
    stop = limit if 0 <= limit < count else count
    expected = sum(k * k if k % 2 == 0 else -1 for k in range(stop))
    assert both.call("f", count, limit) == (expected, expected)
    wasm, interpreted = both.memories
    assert wasm == interpreted
    assert struct.unpack_from(f"<{stop}q", wasm, 256) == tuple(k * k for k in range(stop))


def test_constant_data() -> None:
    f = Function("f", [], I64, export=True)
    f.ret(const(I32, 64).load(I64) + const(I32, 72).load(I64))
    both = Both([f], [(64, struct.pack("<qq", 7, 9))])
    assert both.call("f") == (16, 16)
