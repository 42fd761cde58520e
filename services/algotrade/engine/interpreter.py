"""Runs the IR directly, one closure an expression: the slow reference that every fast path is held to."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from algotrade.engine.ir import (
    Call,
    Expr,
    Function,
    If,
    Program,
    Return,
    Run,
    Set,
    Statement,
    Store,
    Type,
    While,
)  # fmt: skip

Locals = list[Any]
Evaluate = Callable[[Locals], Any]
Step = Callable[[Locals], tuple[Any] | None]

_BITS: Final[Mapping[Type, int]] = {"i32": 32, "i64": 64}
_FORMAT: Final[Mapping[Type, struct.Struct]] = {
    "i32": struct.Struct("<i"),
    "i64": struct.Struct("<q"),
    "f64": struct.Struct("<d"),
}
_NAN: Final = float("nan")


class TrapError(Exception):
    """The program did what WebAssembly forbids: divided an integer by zero, or left its memory."""


def _wrap(type: Type, value: int) -> int:
    half = 1 << (_BITS[type] - 1)
    return ((value + half) & (2 * half - 1)) - half


def _unsigned(type: Type, value: int) -> int:
    return value & ((1 << _BITS[type]) - 1)


def _float_divide(a: float, b: float) -> float:
    if b != 0.0:
        return a / b
    if a == 0.0 or a != a:
        return _NAN
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _float_multiply(a: float, b: float) -> float:
    return a * b


def _quotient(a: int, b: int) -> int:
    if b == 0:
        raise TrapError("integer divide by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: int, b: int) -> int:
    return a - _quotient(a, b) * b


_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
_INTEGER: Final[Mapping[str, Callable[[int, int], int]]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div_s": _quotient, "rem_s": _remainder,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor,
}  # fmt: skip
_UNSIGNED: Final[Mapping[str, Callable[[int, int], int]]] = {"div_u": _quotient, "rem_u": _remainder}
_FLOAT: Final[Mapping[str, Callable[[float, float], float]]] = {
    "add": operator.add, "sub": operator.sub, "mul": _float_multiply, "div": _float_divide,
}  # fmt: skip
_FLOAT_UNARY: Final[Mapping[str, Callable[[float], float]]] = {
    "abs": abs,
    "neg": operator.neg,
    "ceil": lambda x: float(math.ceil(x)) if math.isfinite(x) else x,
    "floor": lambda x: float(math.floor(x)) if math.isfinite(x) else x,
    "trunc": lambda x: float(math.trunc(x)) if math.isfinite(x) else x,
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else _NAN,
}


class Interpreter:
    """A program and its memory. ``call`` runs an exported function by name, as a WebAssembly host would."""

    def __init__(self, program: Program, memory_bytes: int) -> None:
        self.memory = bytearray(memory_bytes)
        for at, raw in program.data:
            self.memory[at : at + len(raw)] = raw
        self._functions = {function.name: function for function in program.functions}
        self._compiled: dict[str, Callable[..., Any]] = {}

    def call(self, name: str, *args: float) -> Any:
        return self._function(name)(*args)

    def _function(self, name: str) -> Callable[..., Any]:
        if name not in self._compiled:
            self._compiled[name] = self._compile(self._functions[name])
        return self._compiled[name]

    def _compile(self, function: Function) -> Callable[..., Any]:
        body = self._block(function.body)
        blank: Locals = [0.0 if t == "f64" else 0 for t in function.locals]

        def run(*args: float) -> Any:
            result = body([*args, *blank])
            return result[0] if result else None

        return run

    def _block(self, statements: Sequence[Statement]) -> Step:
        steps = [self._statement(s) for s in statements]

        def run(local: Locals) -> tuple[Any] | None:
            for step in steps:
                if (result := step(local)) is not None:
                    return result
            return None

        return run

    def _statement(self, s: Statement) -> Step:
        match s:
            case Set():
                return self._set(s)
            case Store():
                return self._store(s)
            case If():
                return self._if(s)
            case While():
                return self._while(s)
            case Run():
                evaluate = self._expr(s.call)

                def call(local: Locals) -> None:
                    evaluate(local)

                return call
            case Return():
                if s.value is None:
                    return lambda local: (None,)
                value = self._expr(s.value)
                return lambda local: (value(local),)

    def _set(self, s: Set) -> Step:
        index, value = s.index, self._expr(s.value)

        def assign(local: Locals) -> None:
            local[index] = value(local)

        return assign

    def _store(self, s: Store) -> Step:
        address, value, offset, memory = self._expr(s.address), self._expr(s.value), s.offset, self.memory
        pack = _FORMAT[s.value.type].pack_into

        def store(local: Locals) -> None:
            pack(memory, self._within(address(local) + offset), value(local))

        return store

    def _within(self, address: int) -> int:
        if not 0 <= address < len(self.memory):
            raise TrapError("out of bounds memory access")
        return address

    def _if(self, s: If) -> Step:
        condition, then, otherwise = self._expr(s.condition), self._block(s.then), self._block(s.otherwise)
        return lambda local: then(local) if condition(local) else otherwise(local)

    def _while(self, s: While) -> Step:
        condition, body = self._expr(s.condition), self._block(s.body)

        def loop(local: Locals) -> tuple[Any] | None:
            while condition(local):
                if (result := body(local)) is not None:
                    return result
            return None

        return loop

    def _expr(self, e: Expr) -> Evaluate:
        if e.op == "get":
            index = e.imm
            return operator.itemgetter(index)
        if e.op == "const":
            value = e.imm() if callable(e.imm) else e.imm
            return lambda local: value
        args = [self._expr(a) for a in e.args]
        if e.op == "load":
            address, offset, memory, unpack = args[0], e.imm, self.memory, _FORMAT[e.type].unpack_from
            assert isinstance(offset, int)
            return lambda local: unpack(memory, self._within(address(local) + offset))[0]
        if e.op == "select":
            then, otherwise, condition = args

            def choose(local: Locals) -> Any:
                a, b = then(local), otherwise(local)
                return a if condition(local) else b

            return choose
        if isinstance(e, Call):
            return self._call(e, args)
        return _operator(e, args)

    def _call(self, e: Call, args: list[Evaluate]) -> Evaluate:
        name = e.function.name

        def call(local: Locals) -> Any:
            return self._function(name)(*[a(local) for a in args])

        return call


def _operator(e: Expr, args: list[Evaluate]) -> Evaluate:
    type, op = e.args[0].type, e.op
    if len(args) == 1:
        return _unary(e, type, args[0])
    a, b = args
    if op in _COMPARE:
        compare = _COMPARE[op]
        return lambda local: 1 if compare(a(local), b(local)) else 0
    if type == "f64":
        combine = _FLOAT[op]
        return lambda local: combine(a(local), b(local))
    if op in ("shl", "shr_s", "shr_u"):
        return _shift(op, type, a, b)
    if op.removesuffix("_u") in _COMPARE:
        compare = _COMPARE[op.removesuffix("_u")]
        return lambda local: 1 if compare(_unsigned(type, a(local)), _unsigned(type, b(local))) else 0
    if op in _UNSIGNED:
        apply = _UNSIGNED[op]
        return lambda local: _wrap(type, apply(_unsigned(type, a(local)), _unsigned(type, b(local))))
    apply = _INTEGER[op]
    return lambda local: _wrap(type, apply(a(local), b(local)))


def _shift(op: str, type: Type, a: Evaluate, b: Evaluate) -> Evaluate:
    mask = _BITS[type] - 1
    if op == "shl":
        return lambda local: _wrap(type, a(local) << (b(local) & mask))
    if op == "shr_s":
        return lambda local: a(local) >> (b(local) & mask)
    return lambda local: _wrap(type, _unsigned(type, a(local)) >> (b(local) & mask))


def _unary(e: Expr, type: Type, a: Evaluate) -> Evaluate:
    op = e.op
    if type == "f64" and op in _FLOAT_UNARY:
        apply = _FLOAT_UNARY[op]
        return lambda local: apply(a(local))
    if op == "eqz":
        return lambda local: 1 if a(local) == 0 else 0
    if op == "clz":
        bits = _BITS[type]
        return lambda local: bits - _unsigned(type, a(local)).bit_length()
    if op.endswith("_to_f64"):
        return lambda local: float(a(local))
    if op.startswith("f64_to_"):
        half = 1 << (_BITS[e.type] - 1)

        def saturate(local: Locals) -> int:
            x = a(local)
            if x != x:
                return 0
            return max(-half, min(half - 1, math.trunc(x))) if math.isfinite(x) else (half - 1 if x > 0 else -half)

        return saturate
    if op == "f64_as_i64":
        return lambda local: _FORMAT["i64"].unpack(_FORMAT["f64"].pack(a(local)))[0]
    if op == "i64_as_f64":
        return lambda local: _FORMAT["f64"].unpack(_FORMAT["i64"].pack(a(local)))[0]
    if op == "i32_to_i64":
        return a
    if op == "i64_to_i32":
        return lambda local: _wrap("i32", a(local))
    raise TypeError(f"no meaning for {op} of {type}")
