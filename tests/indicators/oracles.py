"""docs/oracles.md: how far each indicator is from what others make of it. `make oracles` writes it."""

from __future__ import annotations

from indicators.cases import Indicator
from indicators.test_indicators import RELATIVE, SERIES, TABLES, errors, ports

HEAD = """# Oracles

What each indicator is held to, and how far off it was at most: the relative difference over every parameter set, output
and bar of {count} series (daily bars of AAPL, a random walk, and series made to be awkward: constant, monotone,
alternating, with jumps and a spike, tiny, huge, quiet and wild). The tests allow {relative:g}. Where running sums leave
rounding behind even where the value is 0, a difference of the size in the last column is not counted; those that
TA-Lib itself loses digits of are held to a definition in extended precision as well. Written by `make oracles`. Candle
patterns are equal to TA-Lib's on every bar (`tests/indicators/test_patterns.py`).

| node | oracle | greatest relative difference | not counted |
| --- | --- | --- | --- |"""


def worst(table: str, kind: str, indicator: Indicator, names: list[str]) -> float:
    greatest = 0.0
    for name in names:
        prices, found = ports(table, name)
        for case in indicator.cases(kind):
            greatest = max(greatest, *errors(case, indicator, prices, found).values())
    return greatest


def not_counted(indicator: Indicator) -> str:
    if indicator.noise == "price":
        return "1e-13 of the price"
    return f"{indicator.noise:g}" if indicator.noise else ""


def main() -> None:
    names = [name for name in SERIES if name != "spy"]
    print(HEAD.format(count=len(names), relative=RELATIVE))
    rows = [(kind, table, indicator) for table, kinds in TABLES.items() for kind, indicator in kinds.items()]
    for kind, table, indicator in sorted(rows, key=lambda row: (row[0], row[1] != "talib")):
        difference = worst(table, kind, indicator, names)
        print(f"| `{kind}` | {indicator.says} | {difference:.1e} | {not_counted(indicator)} |")


if __name__ == "__main__":
    main()
