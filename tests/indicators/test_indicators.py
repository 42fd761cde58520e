"""Each indicator against TA-Lib or its definition: the same first defined bar, and 1e-9 relative from there on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pytest
import series
from series import Floats

from algotrade.engine.compile import Compilation
from algotrade.engine.nodes import CATALOGUE
from indicators.cases import TALIB, Case, Indicator, Prices
from indicators.definitions import DEFINED
from indicators.ports import Ports, values, wired

SERIES = {"aapl": series.aapl, "walk": lambda: series.walk(10_000_000_000), **series.AWKWARD, "spy": series.spy}
NAMES = [pytest.param(name, marks=pytest.mark.data) if name == "spy" else name for name in SERIES]
TABLES: dict[str, Mapping[str, Indicator]] = {"talib": TALIB, "defined": DEFINED}
ALL = [pytest.param(table, kind, id=f"{table}-{kind}") for table, kinds in TABLES.items() for kind in kinds]
RELATIVE = 1e-9


@lru_cache(maxsize=len(SERIES) * len(TABLES))
def ports(table: str, name: str) -> tuple[Prices, Ports]:
    """A series, and what every output of every case of a table held at each close."""
    bars = SERIES[name]()
    return Prices.of(bars), values(build(table), bars)


@lru_cache(maxsize=len(TABLES))
def build(table: str) -> Compilation:
    return wired([case for kind, indicator in TABLES[table].items() for case in indicator.cases(kind)])


def error(got: Floats, want: Floats, allowed: float) -> float:
    """The greatest relative difference, of what is more than allowed at 0; infinite where they differ in NaN."""
    if not np.array_equal(np.isnan(got), np.isnan(want)):
        return float("inf")
    known = ~np.isnan(got)
    if not known.any():
        return 0.0
    beyond = np.maximum(np.abs(got[known] - want[known]) - allowed, 0)
    return float(np.max(np.divide(beyond, np.abs(want[known]), out=beyond.copy(), where=want[known] != 0)))


def errors(case: Case, indicator: Indicator, prices: Prices, found: Ports) -> dict[str, float]:
    """By output port."""
    ports = [port.name for port in CATALOGUE[case.kind].outputs]
    expected = indicator.expected(prices, case.params)
    return {
        port: error(found[case.name, port], want, indicator.allowed(prices))
        for port, want in zip(ports, expected, strict=True)
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("table", "kind"), ALL)
def test_equals_its_oracle(table: str, kind: str, name: str) -> None:
    prices, found = ports(table, name)
    indicator = TABLES[table][kind]
    for case in indicator.cases(kind):
        for port, difference in errors(case, indicator, prices, found).items():
            assert difference <= RELATIVE, f"{case.name}.{port}"
