"""What a node type is: its ports, its parameters, its documentation and how it becomes IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from algotrade.engine.settings import INTERVALS

if TYPE_CHECKING:
    from algotrade.engine.ir import Expr
    from algotrade.engine.site import Site, Value


class PortKind(StrEnum):
    NUMBER = "number"
    BOOL = "bool"


class ParamKind(StrEnum):
    INT = "int"  # bound at run time as i32
    NUMBER = "number"  # f64
    DECIMAL = "decimal"  # exact to 1e-8
    CHOICE = "choice"  # fixed when compiled
    TEXT = "text"  # fixed when compiled


class Category(StrEnum):
    DATA = "data"
    OVERLAP = "overlap"
    MOMENTUM = "momentum"
    VOLUME = "volume"
    VOLATILITY = "volatility"
    STATISTICS = "statistics"
    PATTERN = "pattern"
    MATH = "math"
    LOGIC = "logic"
    ACTION = "action"
    RISK = "risk"


BINDABLE: Final = frozenset([ParamKind.INT, ParamKind.NUMBER, ParamKind.DECIMAL])


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output. ``many``: takes any number of edges."""

    name: str
    kind: PortKind = PortKind.NUMBER
    summary: str = ""
    required: bool = True
    many: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter. ``default`` None: may be left out and then has no value. Bounds are inclusive."""

    name: str
    kind: ParamKind
    default: int | float | str | None
    summary: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    sizes_memory: bool = False
    check: Callable[[str], str | None] | None = None  # of a text: why it is no good


Lower = Callable[["Site"], "dict[str, Value]"]
Lookback = Callable[["Site"], "Expr | int"]


@dataclass(frozen=True, slots=True)
class NodeType:
    """One entry of the catalogue.

    ``lower`` emits the node's work at a bar's close and gives its outputs by port name; ``lookback`` gives how many
    bars of its inputs it needs before its first value, beyond theirs.
    """

    name: str
    category: Category
    summary: str
    lower: Lower
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    params: tuple[Param, ...] = ()
    lookback: Lookback | None = None
    source: str = ""
    version: int = 1
    # What is connected to its input it reads instead of bars: then it has the clock of its input.
    instead_of_bars: bool = False
    # Of the parameters together: what is wrong with them, as (parameter, message), or None.
    rule: Callable[[Mapping[str, object]], tuple[str, str] | None] | None = None

    def input(self, name: str) -> Port | None:
        return next((port for port in self.inputs if port.name == name), None)

    def output(self, name: str) -> Port | None:
        return next((port for port in self.outputs if port.name == name), None)

    def param(self, name: str) -> Param | None:
        return next((param for param in self.params if param.name == name), None)


def number(name: str = "input", summary: str = "", *, required: bool = True) -> Port:
    return Port(name, PortKind.NUMBER, summary, required)


def boolean(name: str, summary: str = "", *, required: bool = True, many: bool = False) -> Port:
    return Port(name, PortKind.BOOL, summary, required, many)


# Of every node that reads bars; left out, it reads the run's own.
TIMEFRAME: Final = Param(
    "timeframe",
    ParamKind.CHOICE,
    None,
    "Which bars it reads: only closed ones, of this length. Left out: those of the run.",
    choices=tuple(name for name, length in INTERVALS.items() if length),
)
VALUE: Final = (Port("value", PortKind.NUMBER),)
TRUTH: Final = (Port("value", PortKind.BOOL),)
