"""What is searched: an axis of values for each parameter that varies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from algotrade.engine.graph import Parameter
from algotrade.platform import limits

Number = int | float
Point = Mapping[str, Number]
_SHOWN: Final = 40  # characters of what cannot be
_ROOM: Final = 1e-9  # of a step, by which the last value of a range may miss its end


class SpaceError(ValueError):
    """An axis that cannot be; ``field`` names the parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter and the values it takes, in order."""

    name: str
    values: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """Every combination of the axes' values."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(len(axis.values) for axis in self.axes)

    def points(self) -> Iterator[Point]:
        """Yield every point, the last axis fastest."""
        names = [axis.name for axis in self.axes]
        for values in product(*(axis.values for axis in self.axes)):
            yield dict(zip(names, values, strict=True))

    def point(self, index: int) -> Point:
        """Return the point at a place in the order of `points`."""
        found: dict[str, Number] = {}
        for axis in reversed(self.axes):
            index, place = divmod(index, len(axis.values))
            found[axis.name] = axis.values[place]
        return {axis.name: found[axis.name] for axis in self.axes}


def space_of(given: Mapping[str, str], parameters: Sequence[Parameter]) -> Space:
    """Read axes such as ``5:50:5`` (both ends included), ``10,20,50`` or ``7``. Raises SpaceError."""
    known = {parameter.name: parameter for parameter in parameters}
    axes = []
    for name, text in given.items():
        if name not in known:
            raise SpaceError(name, "the strategy has no such parameter")
        try:
            axes.append(Axis(name, _values(known[name], text)))
        except OverflowError:
            raise SpaceError(name, f"{text[:_SHOWN]!r} has a number that is too large") from None
    space = Space(tuple(axes))
    if not any(len(axis.values) > 1 for axis in axes):
        raise SpaceError(next(iter(given), "space"), "nothing varies; give a range such as 5:50:5")
    return space


def _values(parameter: Parameter, text: str) -> tuple[Number, ...]:
    values = _range(parameter, text) if ":" in text else [_number(parameter, part) for part in text.split(",")]
    low, high = parameter.min, parameter.max
    for value in values:
        if (low is not None and value < low) or (high is not None and value > high):
            raise SpaceError(parameter.name, f"{value:g} is outside {low} to {high}")
    if len(set(values)) != len(values):
        raise SpaceError(parameter.name, f"{text!r} names a value twice")
    return tuple(values)


def _range(parameter: Parameter, text: str) -> list[Number]:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise SpaceError(parameter.name, f"{text!r} is not a range such as 5:50:5")
    first, last = (_number(parameter, part) for part in parts[:2])
    step = _number(parameter, parts[2]) if len(parts) == 3 else (parameter.step or 1)
    if step <= 0 or last < first:
        raise SpaceError(parameter.name, f"{text!r} does not rise")
    count = math.floor((last - first) / step + _ROOM) + 1
    if count > limits.MAX_AXIS_VALUES:
        raise SpaceError(parameter.name, f"{text!r} has {count} values; at most {limits.MAX_AXIS_VALUES}")
    return [first + index * step for index in range(count)]


def _number(parameter: Parameter, text: str) -> Number:
    try:
        value: Number = int(text) if parameter.type == "int" else float(text)
    except ValueError:
        raise SpaceError(parameter.name, f"{text!r} is not {parameter.type}") from None
    if not math.isfinite(value):
        raise SpaceError(parameter.name, f"{text!r} is not {parameter.type}")
    return value
