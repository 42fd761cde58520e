"""The binary format of a WebAssembly module (core specification, chapter 5), as far as artefacts need it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from algotrade.engine.ir import F64, I32, I64, Type

VALUE_TYPE: Final[dict[Type, int]] = {"i32": 0x7F, "i64": 0x7E, "f64": 0x7C}
HEADER: Final = b"\0asm\x01\0\0\0"
PAGE: Final = 65_536
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _MEMORY, _EXPORT, _START, _CODE, _DATA = 0, 1, 2, 3, 5, 7, 8, 10, 11

_INT_COMPARE = ("eqz", "eq", "ne", "lt", "lt_u", "gt", "gt_u", "le", "le_u", "ge", "ge_u")
_INT_ARITHMETIC = (
    "clz", "ctz", "popcnt", "add", "sub", "mul", "div_s", "div_u", "rem_s", "rem_u",
    "and", "or", "xor", "shl", "shr_s", "shr_u",
)  # fmt: skip
_FLOAT_COMPARE = ("eq", "ne", "lt", "gt", "le", "ge")
_FLOAT_ARITHMETIC = (
    "abs",
    "neg",
    "ceil",
    "floor",
    "trunc",
    "nearest",
    "sqrt",
    "add",
    "sub",
    "mul",
    "div",
    "min",
    "max",
)


def _table(first: int, names: Sequence[str], type: Type) -> dict[tuple[str, Type], bytes]:
    return {(name, type): bytes([first + i]) for i, name in enumerate(names)}


OPCODE: Final[dict[tuple[str, Type], bytes]] = {
    **_table(0x45, _INT_COMPARE, I32),
    **_table(0x50, _INT_COMPARE, I64),
    **_table(0x61, _FLOAT_COMPARE, F64),
    **_table(0x67, _INT_ARITHMETIC, I32),
    **_table(0x79, _INT_ARITHMETIC, I64),
    **_table(0x99, _FLOAT_ARITHMETIC, F64),
    ("i64_to_i32", I64): b"\xa7",
    ("i32_to_i64", I32): b"\xac",
    ("i32_to_f64", I32): b"\xb7",
    ("i64_to_f64", I64): b"\xb9",
    ("f64_to_i32", F64): b"\xfc\x02",
    ("f64_to_i64", F64): b"\xfc\x06",
    ("f64_as_i64", F64): b"\xbd",
    ("i64_as_f64", I64): b"\xbf",
}
LOAD: Final[dict[Type, bytes]] = {"i32": b"\x28\x02", "i64": b"\x29\x03", "f64": b"\x2b\x03"}
STORE: Final[dict[Type, bytes]] = {"i32": b"\x36\x02", "i64": b"\x37\x03", "f64": b"\x39\x03"}


def unsigned(value: int) -> bytes:
    """Unsigned LEB128."""
    if value < 128:
        return bytes((value,))
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while True:
        low = value & 127
        value >>= 7
        if value == -(low >> 6):
            out.append(low)
            return bytes(out)
        out.append(low | 128)


def constant(type: Type, value: float) -> bytes:
    """The instruction that pushes a constant."""
    if type == F64:
        return b"\x44" + struct.pack("<d", value)
    return (b"\x41" if type == I32 else b"\x42") + signed(int(value))


def vector(items: Iterable[bytes]) -> bytes:
    items = list(items)
    return unsigned(len(items)) + b"".join(items)


def name(text: str) -> bytes:
    raw = text.encode()
    return unsigned(len(raw)) + raw


@dataclass(frozen=True, slots=True)
class Code:
    """One function, encoded. ``cost``: instructions at most in one pass, those of the ``calls`` it makes apart."""

    params: tuple[Type, ...]
    results: tuple[Type, ...]
    body: bytes
    calls: tuple[str, ...]
    cost: int


def _section(number: int, payload: bytes) -> bytes:
    return bytes([number]) + unsigned(len(payload)) + payload


def _types(types: tuple[Type, ...]) -> bytes:
    return vector(bytes([VALUE_TYPE[t]]) for t in types)


def module(
    codes: Sequence[Code],
    exports: Sequence[tuple[str, int]],
    data: Sequence[tuple[int, bytes]],
    custom: tuple[str, bytes],
) -> bytes:
    """A module with one exported memory, the given functions, constant data and one custom section; no imports."""
    signatures = list(dict.fromkeys((code.params, code.results) for code in codes))
    end = max((at + len(raw) for at, raw in data), default=0)
    exported = [name(text) + b"\x00" + unsigned(index) for text, index in exports]
    parts = [
        HEADER,
        _section(_TYPE, vector(b"\x60" + _types(params) + _types(results) for params, results in signatures)),
        _section(_FUNCTION, vector(unsigned(signatures.index((code.params, code.results))) for code in codes)),
        _section(_MEMORY, vector([b"\x00" + unsigned(max(1, -(-end // PAGE)))])),
        _section(_EXPORT, vector([*exported, name("memory") + b"\x02\x00"])),
        _section(_CODE, vector(unsigned(len(code.body)) + code.body for code in codes)),
        _section(_DATA, vector(b"\x00" + constant(I32, at) + b"\x0b" + vector_of(raw) for at, raw in data))
        if data
        else b"",
        _section(_CUSTOM, name(custom[0]) + custom[1]),
    ]
    return b"".join(parts)


def vector_of(raw: bytes) -> bytes:
    return unsigned(len(raw)) + raw


def sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    """The id and payload of each of a module's sections. Raises ValueError if these bytes are no module."""
    if wasm[:8] != HEADER:
        raise ValueError("not a WebAssembly module")
    at = 8
    while at < len(wasm):
        number = wasm[at]
        size, at = _read_unsigned(wasm, at + 1)
        yield number, wasm[at : at + size]
        at += size


def custom_section(wasm: bytes, wanted: str) -> bytes:
    """The payload of a custom section of a module that can do nothing by itself.

    Raises ValueError if these bytes are no module or lack it, and for one that imports anything or starts by itself:
    no module of ours does either.
    """
    found = None
    for number, payload in sections(wasm):
        if number in (_IMPORT, _START):
            raise ValueError("the module imports something or runs when it is loaded")
        if number == _CUSTOM:
            length, start = _read_unsigned(payload, 0)
            if payload[start : start + length] == wanted.encode():
                found = payload[start + length :]
    if found is None:
        raise ValueError(f"the module has no section {wanted!r}")
    return found


def _read_unsigned(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 28:
            raise ValueError("truncated WebAssembly module")
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
