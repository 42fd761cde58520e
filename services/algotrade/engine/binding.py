"""Values for a strategy's parameters, given when a run starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algotrade.engine.graph import Parameter, is_number
from algotrade.engine.settings import SettingsError


def bind(known: tuple[Parameter, ...], given: Mapping[str, Any]) -> dict[str, int | float]:
    """Every parameter's value, its default where none is given. Raises SettingsError naming the parameter."""
    by_name = {parameter.name: parameter for parameter in known}
    for name in given:
        if name not in by_name:
            raise SettingsError(name, "the strategy has no such parameter")
    return {name: _value(parameter, given.get(name, parameter.default)) for name, parameter in by_name.items()}


def _value(parameter: Parameter, value: Any) -> int | float:
    if isinstance(value, str):
        try:
            value = int(value) if parameter.type == "int" else float(value)
        except ValueError:
            raise SettingsError(parameter.name, f"{value!r} is not {parameter.type}") from None
    if not is_number(value, integer=parameter.type == "int"):
        raise SettingsError(parameter.name, f"{value!r} is not {parameter.type}")
    low, high = parameter.min, parameter.max
    if (low is not None and value < low) or (high is not None and value > high):
        raise SettingsError(parameter.name, f"{value} is outside {low} to {high}")
    return int(value) if parameter.type == "int" else float(value)
