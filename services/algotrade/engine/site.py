"""Where a node is lowered: its inputs, parameters and state, and the bar at hand, as IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from algotrade.engine import row as R
from algotrade.engine.broker.features import PLAIN, Features
from algotrade.engine.calendar import calendar
from algotrade.engine.fixed import SCALE, from_number
from algotrade.engine.ir import (
    F64,
    I32,
    I64,
    SIZE,
    Expr,
    Function,
    Number,
    Struct,
    Type,
    Var,
    View,
    const,
    late,
)  # fmt: skip
from algotrade.engine.node_type import Category, ParamKind
from algotrade.engine.strategy import Bound, CheckedNode, Setting

NAN: Final = float("nan")
CACHE_LINE: Final = 64
MEANS: Final[Mapping[str, tuple[str, ...]]] = {
    "hl2": ("high", "low"),
    "hlc3": ("high", "low", "close"),
    "ohlc4": ("open", "high", "low", "close"),
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A node's own field of the row."""

    view: View
    name: str

    def get(self) -> Expr:
        return self.view[self.name]

    def set(self, value: Expr | Number) -> None:
        self.view[self.name] = value

    def address(self) -> Expr:
        return self.view.base + self.view.struct.offset(self.name)


@dataclass(eq=False, slots=True)
class Ring:
    """The last samples of a series, a power of two of them, placed behind the slots once all users have asked."""

    samples: int = 1
    offset: int = 0

    @property
    def capacity(self) -> int:
        return 1 << (self.samples - 1).bit_length()

    def address(self, base: Expr) -> Expr:
        """Where it begins in the row at an address."""
        return base + late(lambda: self.offset)

    def mask(self) -> Expr:
        """What wraps an index."""
        return late(lambda: self.capacity - 1)


@dataclass(slots=True)
class Row:
    """The row of one artefact as it grows while nodes are lowered."""

    struct: Struct = field(default_factory=lambda: Struct(dict(R.ROW.fields), R.ROW.size))
    initial: dict[str, Number] = field(default_factory=dict)
    rings: list[Ring] = field(default_factory=list)
    probes: dict[tuple[str, str], str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    data_at: int = 64

    def add(self, type: Type, initial: Number = 0, name: str | None = None) -> str:
        name = name or f"slot{len(self.struct.fields)}"
        if name not in self.struct.fields:
            self.struct.add(name, type)
            if initial != 0:
                self.initial[name] = initial
        return name

    def table(self, raw: bytes) -> int:
        """The address of constant data."""
        self.data += bytes(-len(self.data) % 8)
        address = self.data_at + len(self.data)
        self.data += raw
        return address

    def finish(self) -> int:
        """Place the rings; the row's size in bytes."""
        self.struct.size += -self.struct.size % 8
        for ring in self.rings:
            ring.offset = self.struct.size
            self.struct.size += ring.capacity * SIZE[F64]
        self.struct.size += -self.struct.size % CACHE_LINE
        return self.struct.size


class Series:
    """A number at each bar. A NaN is not a sample: it is neither counted nor kept.

    ``always``: never NaN. ``tame``: so far from the largest double that no average of it can overflow.
    """

    def __init__(self, scope: Scope, value: Expr, *, always: bool = False, tame: bool = False) -> None:
        self.scope, self.value, self.always, self.tame = scope, value, always, tame
        self._count: Expr | None = None
        self._ring: Ring | None = None

    def valid(self) -> Expr:
        return const(I32, 1) if self.always else self.value.eq(self.value)

    def count(self) -> Expr:
        """How many samples so far, this one included, as i32."""
        if self._count is None:
            f = self.scope.f
            if self.always:
                self._count = self.scope.bars
            else:
                slot = self.scope.slot(I32)
                self._count = f.let(slot.get() + self.valid())
                slot.set(self._count)
        return self._count

    def step(self) -> AbstractContextManager[object]:
        """The block in which a node takes this bar's sample: it runs only where there is one."""
        self.count()
        return nullcontext() if self.always else self.scope.f.when(self.valid())

    def keep(self, samples: int) -> None:
        """Let ``ago`` reach ``samples`` - 1 back. Must be called where this bar's sample is certainly reached."""
        if self._ring is None:
            self._ring = Ring(samples)
            self.scope.row.rings.append(self._ring)
            # An invalid value is written one past the newest sample and overwritten by the next valid one.
            at = self.count() if self.always else self.count() + (const(I32, 1) - self.valid())
            self.scope.f.store(self._at(at), self.value)
            if not self.always:
                self._ring.samples += 1
        self._ring.samples = max(self._ring.samples, samples + (0 if self.always else 1))

    def ago(self, n: Expr) -> Expr:
        """The sample n before this one, 0 <= n < the samples kept."""
        return self._at(self.count() - n).load(F64)

    def place(self) -> tuple[Expr, Expr]:
        """Where the samples are kept: the address of the first, and the mask that wraps an index."""
        ring = self._ring
        assert ring is not None
        return ring.address(self.scope.base), ring.mask()

    def _at(self, index: Expr) -> Expr:
        first, mask = self.place()
        return first + (index & mask).op2("shl", 3)


class Truth:
    """A three-valued condition at each bar: known to be true, known to be false, or neither (Kleene).

    Both are i32 0 or 1. What makes it known false is emitted only where a later node asks, since most conditions go
    straight into an action. Ask where the code certainly runs.
    """

    def __init__(self, scope: Scope, true: Expr, false: Callable[[], Expr]) -> None:
        self._scope, self.true = scope, scope.f.let(true)
        self._make_false = false
        self._false: Expr | None = None

    @property
    def false(self) -> Expr:
        if self._false is None:
            self._false = self._scope.f.let(self._make_false())
        return self._false

    def state(self) -> Expr:
        """One number for a probe: 0 unknown, 1 true, 2 false."""
        return self.true | self.false.op2("shl", 1)


Value = Series | Truth


class Scope:
    """One function body in which a whole graph is evaluated at a bar's close."""

    def __init__(self, f: Function, base: Expr, row: Row, bar: View, bars: Expr, features: Features = PLAIN) -> None:
        self.f, self.base, self.row, self.bar, self.bars, self.features = f, base, row, bar, bars, features
        self.view = View(f, base, row.struct)
        self.values: dict[tuple[str, str], Value] = {}
        self.fresh: dict[tuple[str, str], Truth] = {}  # for actions: true only as their own clock closes a bar
        self.warming: Expr = bars <= self.view["warmup"]
        self._prices: dict[str, Series] = {}

    def on_clock(self, bar: View, bars: Expr) -> Scope:
        """The same body over the bars of another clock."""
        return Scope(self.f, self.base, self.row, bar, bars, self.features)

    def slot(self, type: Type, initial: Number = 0, name: str | None = None) -> Slot:
        return Slot(self.view, self.row.add(type, initial, name))

    def series(self, value: Expr, *, always: bool = False, tame: bool = False) -> Series:
        return Series(self, self.f.let(value), always=always, tame=tame)

    def price(self, field: str) -> Series:
        """A price of the bar as f64, by division: that is the double nearest to the decimal. Or the volume."""
        if field not in self._prices:
            if field == "volume":
                value = self.bar["volume"]
            elif field in ("open", "high", "low", "close"):
                value = self.bar[field].to(F64) / float(SCALE)
            elif field == "typical":
                # The mean of integers: bars whose prices have the same sum have the same mean, to the last bit.
                total = self.bar["high"].to(F64) + self.bar["low"].to(F64) + self.bar["close"].to(F64)
                value = total / float(3 * SCALE)
            else:
                first, *others = MEANS[field]
                total = self.price(first).value
                for part in others:
                    total = total + self.price(part).value
                value = total / float(len(MEANS[field]))
            self._prices[field] = self.series(value, always=True, tame=True)
        return self._prices[field]


class Site:
    """One node being lowered within a scope."""

    def __init__(self, scope: Scope, node: CheckedNode) -> None:
        self.scope, self.node, self.f = scope, node, scope.f

    @property
    def row(self) -> View:
        return self.scope.view

    # ------------------------------------------------------------------ inputs

    def input(self, name: str = "input") -> Series:
        value = self._one(name)
        assert isinstance(value, Series)
        return value

    def bar(self, field: str) -> Series:
        """A price or the volume of the bars that this node reads."""
        return self.scope.price(field)

    def day(self) -> Expr:
        """The date of the bar's start in the run's day_timezone, as days since the epoch, i64."""
        row = self.row
        return self.f.let(self.f.call(calendar().day, row["day_zone"], row["day_zone_length"], self.scope.bar["ts"]))

    def input_or_close(self) -> Series:
        """The input, or the bars' close where it is left open."""
        return self.input() if self.connected("input") else self.bar("close")

    def truth(self, name: str) -> Truth:
        if self.node.type.category is Category.ACTION and (source := self.node.inputs[name][0]) in self.scope.fresh:
            return self.scope.fresh[source]
        value = self._one(name)
        assert isinstance(value, Truth)
        return value

    def numbers(self, name: str) -> list[Series]:
        return [v for source in self.node.inputs.get(name, ()) if isinstance(v := self.scope.values[source], Series)]

    def truths(self, name: str) -> list[Truth]:
        return [v for source in self.node.inputs.get(name, ()) if isinstance(v := self.scope.values[source], Truth)]

    def connected(self, name: str) -> bool:
        return bool(self.node.inputs.get(name))

    def _one(self, name: str) -> Value:
        return self.scope.values[self.node.inputs[name][0]]

    # ------------------------------------------------------------------ parameters

    def integer(self, name: str) -> Expr:
        return self._param(name, I32)

    def number(self, name: str) -> Expr:
        return self._param(name, F64)

    def decimal(self, name: str) -> Expr:
        return self._param(name, I64)

    def has(self, name: str) -> bool:
        return self.node.params[name] is not None

    def choice(self, name: str) -> str:
        value = self.node.params[name]
        assert isinstance(value, str)
        return value

    def most(self, name: str) -> int:
        """The greatest value an int parameter can take."""
        value = self.node.params[name]
        if isinstance(value, Bound):
            assert value.parameter.max is not None
            return int(value.parameter.max)
        assert isinstance(value, int)
        return value

    def _param(self, name: str, type: Type) -> Expr:
        value: Setting = self.node.params[name]
        if isinstance(value, Bound):
            slot = self.scope.row.add(type, name=parameter_slot(value))
            return self.scope.view[slot]
        assert isinstance(value, int | float)
        return const(type, value)

    # ------------------------------------------------------------------ state and results

    def slot(self, type: Type, initial: Number = 0) -> Slot:
        return self.scope.slot(type, initial)

    def block(self, *types: Type) -> Expr:
        """The address of fields of zeros, one behind the other, for a function that keeps several; wide types first."""
        slots = [self.slot(type) for type in types]
        return slots[0].address()

    def out(self) -> Var:
        """A local for an output, NaN until set."""
        return self.f.var(F64, NAN)

    def number_out(self, value: Expr, *, tame: bool = False) -> Series:
        """An output as a series; what is not finite becomes NaN, as infinity minus infinity does."""
        value = self.f.let(value)
        if tame:
            return self.scope.series(value, tame=True)
        return self.scope.series(value + (value - value))

    def table(self, raw: bytes) -> Expr:
        return const(I32, self.scope.row.table(raw))


def parameter_slot(bound: Bound) -> str:
    """The row's field that holds a strategy parameter in the form one kind of node parameter needs."""
    return f"param:{bound.parameter.name}:{bound.kind}"


def representation(kind: ParamKind, value: Number) -> Number:
    """A parameter's value as its slot holds it."""
    if kind is ParamKind.DECIMAL:
        return from_number(value)
    return int(value) if kind is ParamKind.INT else float(value)
