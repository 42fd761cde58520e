"""A backtest's trades and curves as files: CSV, JSON or Parquet, by the file's ending."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from algotrade.cli.failure import CommandError
from algotrade.cli.inputs import time_text
from algotrade.engine import fixed
from algotrade.engine.metrics import benchmark, drawdowns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from algotrade.cli.backtest import Outcome

ENDINGS: Final = (".csv", ".json", ".parquet")
_AMOUNTS: Final = ("quantity", "entry_price", "exit_price", "fees", "pnl")
_TIMES: Final = ("entry_time", "exit_time", "time")
_TRADE: Final = (
    *("side", "quantity", "entry_time", "entry_price", "exit_time", "exit_price", "fees", "pnl", "exit_reason"),
    "ambiguous",
)


def check_path(option: str, path: Path) -> None:
    """Raise CommandError for a file that could not be written, before anything is run."""
    if path.suffix not in ENDINGS:
        raise CommandError("unknown_format", f"{option}: {path} must end in {', '.join(ENDINGS)}", path=str(path))
    if not path.parent.is_dir():
        raise CommandError("unwritable", f"{option}: there is no folder {path.parent}", path=str(path))


def write_trades(path: Path, trades: Sequence[dict[str, Any]]) -> None:
    """Write one row a trade, as `trade_json` gives it: amounts are exact, an open trade has no exit."""
    kinds = {name: pl.Boolean if name == "ambiguous" else pl.String for name in _TRADE}
    _write(path, pl.DataFrame(list(trades), kinds))


def write_equity(path: Path, outcome: Outcome) -> None:
    """Write one row a bar: its start, its close, equity, drawdown in percent, and what buying and holding is worth."""
    result, cash = outcome.result, outcome.settings.initial_cash
    frame = pl.DataFrame(
        {
            "time": [time_text(ts) for ts in result.data["ts"].tolist()],
            "close": result.data["close"] / fixed.SCALE,
            "equity": result.equity,
            "drawdown": 100 * drawdowns(result.equity, cash),
            "benchmark": benchmark(result.data, cash),
        }
    )
    _write(path, frame)


def _write(path: Path, frame: pl.DataFrame) -> None:
    try:
        if path.suffix == ".parquet":
            typed = [pl.col(name).cast(pl.Decimal(38, 8)) for name in _AMOUNTS if name in frame.columns]
            typed += [pl.col(n).str.to_datetime(time_unit="ns", time_zone="UTC") for n in _TIMES if n in frame.columns]
            frame.with_columns(typed).write_parquet(path)
        elif path.suffix == ".csv":
            frame.write_csv(path)
        else:
            frame.write_json(path)
    except OSError as error:
        raise CommandError("unwritable", f"{path}: cannot be written: {error.strerror}", path=str(path)) from None
