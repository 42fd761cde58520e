"""The intermediate representation: typed expressions and statements over one linear memory.

One function is a list of statements over locals; an expression is a tree. `emit` turns it into WebAssembly and
`interpreter` runs it as it stands, so whatever both do the same way is what the IR means. Operators follow
WebAssembly: integers wrap, comparisons of integers are signed unless their name ends in ``_u``, a comparison gives
i32 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

Type = Literal["i32", "i64", "f64"]
I32: Final = "i32"
I64: Final = "i64"
F64: Final = "f64"
SIZE: Final[Mapping[Type, int]] = {"i32": 4, "i64": 8, "f64": 8}

COMPARISONS: Final = frozenset(["eqz", "eq", "ne", "lt", "le", "gt", "ge", "lt_u", "le_u", "gt_u", "ge_u"])
_FOLD: Final[Mapping[str, Callable[[int, int], int]]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}

Number = int | float
Immediate = Number | Callable[[], int] | None


class Expr:
    """A typed expression tree; Python operators build bigger ones and lift numbers to the other operand's type."""

    __slots__ = ("args", "imm", "op", "type")

    def __init__(self, op: str, type: Type, args: tuple[Expr, ...] = (), imm: Immediate = None) -> None:
        self.op, self.type, self.args, self.imm = op, type, args, imm

    def _binary(self, op: str, other: Expr | Number) -> Expr:
        right = other if isinstance(other, Expr) else const(self.type, other)
        if right.type != self.type:
            raise TypeError(f"{op} of {self.type} and {right.type}")
        if self.op == right.op == "const" and self.type != F64 and op in _FOLD:
            return const(self.type, _FOLD[op](int_of(self), int_of(right)))
        return Expr(op, I32 if op in COMPARISONS else self.type, (self, right))

    def __add__(self, other: Expr | Number) -> Expr:
        return self._binary("add", other)

    def __sub__(self, other: Expr | Number) -> Expr:
        return self._binary("sub", other)

    def __rsub__(self, other: Number) -> Expr:
        return const(self.type, other) - self

    def __mul__(self, other: Expr | Number) -> Expr:
        return self._binary("mul", other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Expr | Number) -> Expr:
        return self._binary("div", other)

    def __rtruediv__(self, other: Number) -> Expr:
        return const(self.type, other) / self

    def __and__(self, other: Expr | Number) -> Expr:
        return self._binary("and", other)

    def __or__(self, other: Expr | Number) -> Expr:
        return self._binary("or", other)

    def __xor__(self, other: Expr | Number) -> Expr:
        return self._binary("xor", other)

    def __lt__(self, other: Expr | Number) -> Expr:
        return self._binary("lt", other)

    def __le__(self, other: Expr | Number) -> Expr:
        return self._binary("le", other)

    def __gt__(self, other: Expr | Number) -> Expr:
        return self._binary("gt", other)

    def __ge__(self, other: Expr | Number) -> Expr:
        return self._binary("ge", other)

    def eq(self, other: Expr | Number) -> Expr:
        return self._binary("eq", other)

    def ne(self, other: Expr | Number) -> Expr:
        return self._binary("ne", other)

    def op2(self, op: str, other: Expr | Number) -> Expr:
        """A binary operator without a Python sign: ``div_s``, ``div_u``, ``rem_s``, ``shl``, ``shr_u``, ``lt_u`` …"""
        return self._binary(op, other)

    def op1(self, op: str) -> Expr:
        """A unary operator: ``eqz``, ``clz``, ``abs``, ``neg``, ``ceil``, ``floor``, ``trunc``, ``sqrt``."""
        return Expr(op, I32 if op in COMPARISONS else self.type, (self,))

    def to(self, type: Type) -> Expr:
        """Convert: integers widen with their sign or wrap, floats saturate, integers to floats round to nearest."""
        if type == self.type:
            return self
        if self.op == "const" and type == I64 and self.type == I32:
            return const(I64, int_of(self))
        return Expr(f"{self.type}_to_{type}", type, (self,))

    def bits(self) -> Expr:
        """The bits of a float as i64, or of an i64 as a float."""
        type: Type = I64 if self.type == F64 else F64
        return Expr(f"{self.type}_as_{type}", type, (self,))

    def load(self, type: Type, offset: int = 0) -> Expr:
        """The value of a type at this i32 address plus a constant offset."""
        return Expr("load", type, (self,), offset)


class Var(Expr):
    """A local variable; reading it is the expression, writing it goes through its function."""

    __slots__ = ()

    def __init__(self, index: int, type: Type) -> None:
        super().__init__("get", type, (), index)


def const(type: Type, value: Number) -> Expr:
    """A constant; an integer that does not fit wraps, as everywhere."""
    if type == F64:
        return Expr("const", type, (), float(value))
    value = int(value)
    half = 1 << (SIZE[type] * 8 - 1)
    if not -half <= value < half:
        value = (value + half) % (2 * half) - half
    return Expr("const", type, (), value)


def late(value: Callable[[], int]) -> Expr:
    """An i32 constant that is known only once the whole module has been laid out."""
    return Expr("const", I32, (), value)


def int_of(expr: Expr) -> int:
    """The value of an integer constant."""
    value = expr.imm() if callable(expr.imm) else expr.imm
    if expr.op != "const" or not isinstance(value, int):
        raise TypeError("not an integer constant")
    return value


def select(condition: Expr, then: Expr, otherwise: Expr | Number) -> Expr:
    """``then`` where the i32 condition is not zero, else ``otherwise``; both are evaluated."""
    other = otherwise if isinstance(otherwise, Expr) else const(then.type, otherwise)
    return Expr("select", then.type, (then, other, condition))


def maximum(a: Expr, b: Expr) -> Expr:
    """The greater of two integers without side effects."""
    if a.op == b.op == "const" and not callable(a.imm) and not callable(b.imm):
        return const(a.type, max(int_of(a), int_of(b)))
    return select(a > b, a, b)


@dataclass(slots=True)
class Set:
    """Assign a local."""

    index: int
    value: Expr


@dataclass(slots=True)
class Store:
    """Write a value to memory."""

    address: Expr
    value: Expr
    offset: int


@dataclass(slots=True)
class If:
    condition: Expr
    then: list[Statement]
    otherwise: list[Statement]


@dataclass(slots=True)
class While:
    condition: Expr
    body: list[Statement]


@dataclass(slots=True)
class Run:
    """Call a function without a result."""

    call: Expr


@dataclass(slots=True)
class Return:
    value: Expr | None


Statement = Set | Store | If | While | Run | Return


@dataclass(eq=False)
class Function:
    """A function under construction: statements go to the innermost open block."""

    name: str
    params: Sequence[Type]
    result: Type | None = None
    export: bool = False
    loops: int = 1  # how often its loops go round at most, where they do not go once a record
    locals: list[Type] = field(default_factory=list)
    body: list[Statement] = field(default_factory=list)
    calls: list[Function] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.args = [Var(i, t) for i, t in enumerate(self.params)]
        self._blocks = [self.body]

    def var(self, type: Type, initial: Expr | Number | None = None) -> Var:
        """A new local, zero (or what it last held, inside a loop) unless given an initial value."""
        variable = Var(len(self.params) + len(self.locals), type)
        self.locals.append(type)
        if initial is not None:
            self.set(variable, initial)
        return variable

    def let(self, value: Expr) -> Expr:
        """Compute once: a local that holds the value."""
        return value if value.op in ("const", "get") else self.var(value.type, value)

    def set(self, variable: Var, value: Expr | Number) -> None:
        value = value if isinstance(value, Expr) else const(variable.type, value)
        if value.type != variable.type:
            raise TypeError(f"{value.type} into a local of {variable.type}")
        assert isinstance(variable.imm, int)
        self._blocks[-1].append(Set(variable.imm, value))

    def store(self, address: Expr, value: Expr, offset: int = 0) -> None:
        self._blocks[-1].append(Store(address, value, offset))

    def call(self, function: Function, *args: Expr | Number) -> Expr:
        """The result of a call, as an expression to be used exactly once."""
        lifted = tuple(a if isinstance(a, Expr) else const(t, a) for a, t in zip(args, function.params, strict=True))
        if any(a.type != t for a, t in zip(lifted, function.params, strict=True)):
            raise TypeError(f"arguments of {function.name}")
        self.calls.append(function)
        return Call(function, lifted)

    def run(self, function: Function, *args: Expr | Number) -> None:
        self._blocks[-1].append(Run(self.call(function, *args)))

    def ret(self, value: Expr | Number | None = None) -> None:
        if value is not None and not isinstance(value, Expr):
            assert self.result is not None
            value = const(self.result, value)
        self._blocks[-1].append(Return(value))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[If]:
        if condition.type != I32:
            raise TypeError(f"a condition of {condition.type}")
        statement = If(condition, [], [])
        self._blocks[-1].append(statement)
        self._blocks.append(statement.then)
        yield statement
        self._blocks.pop()

    @contextmanager
    def otherwise(self, statement: If) -> Iterator[None]:
        self._blocks.append(statement.otherwise)
        yield
        self._blocks.pop()

    @contextmanager
    def while_(self, condition: Expr) -> Iterator[None]:
        if condition.type != I32:
            raise TypeError(f"a condition of {condition.type}")
        statement = While(condition, [])
        self._blocks[-1].append(statement)
        self._blocks.append(statement.body)
        yield
        self._blocks.pop()


class Call(Expr):
    """A call with a result."""

    __slots__ = ("function",)

    def __init__(self, function: Function, args: tuple[Expr, ...]) -> None:
        super().__init__("call", function.result or I32, args)
        self.function = function


@dataclass(slots=True)
class Struct:
    """Names for typed fields at fixed offsets; fields are added in order and aligned to their size."""

    fields: dict[str, tuple[Type, int]] = field(default_factory=dict)
    size: int = 0

    def add(self, name: str, type: Type) -> None:
        self.size += -self.size % SIZE[type]
        self.fields[name] = (type, self.size)
        self.size += SIZE[type]

    def offset(self, name: str) -> int:
        return self.fields[name][1]


@dataclass(slots=True)
class View:
    """The fields of a struct at a base address: ``view["cash"]`` loads, ``view["cash"] = x`` stores."""

    function: Function
    base: Expr
    struct: Struct
    shift: int = 0

    def __getitem__(self, name: str) -> Expr:
        type, offset = self.struct.fields[name]
        return self.base.load(type, self.shift + offset)

    def __setitem__(self, name: str, value: Expr | Number) -> None:
        type, offset = self.struct.fields[name]
        lifted = value if isinstance(value, Expr) else const(type, value)
        if lifted.type != type:
            raise TypeError(f"{lifted.type} into {name}: {type}")
        self.function.store(self.base, lifted, self.shift + offset)


@dataclass(slots=True)
class Program:
    """A whole module: functions in call order, constant data, and where free memory begins."""

    functions: list[Function]
    data: list[tuple[int, bytes]] = field(default_factory=list)
    heap: int = 1024
