"""IR to WebAssembly: each expression and statement has one short encoding."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from algotrade.engine import wasm
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
    While,
)  # fmt: skip

_GET, _SET, _CALL, _SELECT, _RETURN = b"\x20", b"\x21", b"\x10", b"\x1b", b"\x0f"
_BLOCK, _LOOP, _IF, _ELSE, _END, _BR, _BR_IF = b"\x02\x40", b"\x03\x40", b"\x04\x40", b"\x05", b"\x0b", b"\x0c", b"\x0d"
_EQZ, _UNREACHABLE = b"\x45", b"\x00"
_unsigned = lru_cache(4096)(wasm.unsigned)
_signed = lru_cache(4096)(wasm.signed)


class _Body:
    """The instructions of one function."""

    def __init__(self, indices: Mapping[str, int]) -> None:
        self.indices = indices
        self.out = bytearray()
        self.calls: list[str] = []

    def expr(self, e: Expr) -> None:
        out, op = self.out, e.op
        if op == "get":
            out += _GET + _unsigned(e.imm)
        elif op == "const":
            value = e.imm() if callable(e.imm) else e.imm
            if e.type == "f64":
                out += b"\x44" + struct.pack("<d", value)
            else:
                out += (b"\x41" if e.type == "i32" else b"\x42") + _signed(value)
        elif op == "load":
            self.expr(e.args[0])
            out += wasm.LOAD[e.type] + _unsigned(e.imm)
        else:
            for argument in e.args:
                self.expr(argument)
            if op == "select":
                out += _SELECT
            elif isinstance(e, Call):
                self.calls.append(e.function.name)
                out += _CALL + _unsigned(self.indices[e.function.name])
            else:
                out += wasm.OPCODE[op, e.args[0].type]

    def block(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, s: Statement) -> None:
        match s:
            case Set():
                self.expr(s.value)
                self.out += _SET + _unsigned(s.index)
            case Store():
                self.expr(s.address)
                self.expr(s.value)
                self.out += wasm.STORE[s.value.type] + _unsigned(s.offset)
            case If():
                self.expr(s.condition)
                self.out += _IF
                self.block(s.then)
                if s.otherwise:
                    self.out += _ELSE
                    self.block(s.otherwise)
                self.out += _END
            case While():
                self.out += _BLOCK + _LOOP
                self.expr(s.condition)
                self.out += _EQZ + _BR_IF + b"\x01"
                self.block(s.body)
                self.out += _BR + b"\x00" + _END + _END
            case Run():
                self.expr(s.call)
            case Return():
                if s.value is not None:
                    self.expr(s.value)
                self.out += _RETURN


def encode_function(function: Function, indices: Mapping[str, int]) -> wasm.Code:
    """One function's code; calls are resolved by name through ``indices``."""
    body = _Body(indices)
    body.block(function.body)
    if function.result:
        body.out += _UNREACHABLE
    runs = [_unsigned(len(list(run))) + bytes([wasm.VALUE_TYPE[t]]) for t, run in groupby(function.locals)]
    code = wasm.vector(runs) + bytes(body.out) + _END
    results = (function.result,) if function.result else ()
    # An instruction takes a byte at least, so the length bounds how many there are.
    cost = len(body.out) * function.loops
    return wasm.Code(tuple(function.params), results, code, tuple(body.calls) * function.loops, cost)


def encode(program: Program, shared: Sequence[wasm.Code]) -> list[wasm.Code]:
    """A program's code. ``shared`` holds that of its first functions, which is already encoded."""
    indices = index_by_name(program.functions)
    return [*shared, *(encode_function(f, indices) for f in program.functions[len(shared) :])]


def module(program: Program, codes: Sequence[wasm.Code], custom: tuple[str, bytes]) -> bytes:
    """A program's module."""
    exports = [(f.name, i) for i, f in enumerate(program.functions) if f.export]
    return wasm.module(codes, exports, program.data, custom)


def index_by_name(functions: Sequence[Function]) -> dict[str, int]:
    return {function.name: index for index, function in enumerate(functions)}
