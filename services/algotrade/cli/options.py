"""The options that several commands share, as types for their signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GraphArgument = Annotated[Path, typer.Argument(metavar="GRAPH", help="The strategy: a graph document, JSON.")]
BarsArgument = Annotated[Path, typer.Argument(metavar="BARS", help="The bars: CSV, CSV.gz or Parquet.")]
OptionalBarsArgument = Annotated[
    Path | None, typer.Argument(metavar="[BARS]", help="The bars: CSV, CSV.gz or Parquet.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SkipBadOption = Annotated[bool, typer.Option("--skip-bad", help="Leave out bad rows instead of stopping.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the strategy; repeatable.")
]

# Run settings. They stay text until the engine parses them, which names the one that is wrong.
CashOption = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="Initial cash. [default: 10000]", show_default=False)
]
FeeOption = Annotated[
    str | None, typer.Option(metavar="BPS", help="Fee in basis points. [default: 10]", show_default=False)
]
SlippageOption = Annotated[
    str | None, typer.Option(metavar="BPS", help="Slippage in basis points. [default: 0]", show_default=False)
]
FillOption = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="next_tick, or close (optimistic). [default: next_tick]", show_default=False),
]
IntervalOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="native, or a multiple of the file's: 1m, 1h … [default: native]", show_default=False
    ),
]
PathOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Inside a bar: tradingview or worst. [default: tradingview]", show_default=False),
]
LotStepOption = Annotated[
    str | None, typer.Option(metavar="STEP", help="Step of quantities. [default: 1e-8]", show_default=False)
]
PriceStepOption = Annotated[
    str | None, typer.Option(metavar="STEP", help="Step of prices. [default: 1e-8]", show_default=False)
]
MinNotionalOption = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="Smallest order. [default: 0]", show_default=False)
]
MaxPositionOption = Annotated[
    str | None,
    typer.Option(metavar="PERCENT", help="Largest position, percent of equity. [default: 100]", show_default=False),
]
AllowShortOption = Annotated[bool, typer.Option("--allow-short", help="Allow short positions.")]
DayTimezoneOption = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Time zone of the day's limits. [default: UTC]", show_default=False)
]
