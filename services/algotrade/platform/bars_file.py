"""Bar files and trade files, CSV (plain or gzip) or Parquet, as exact records in the order of time.

A row is good when every field is there and can be read, a price is above zero with at most eight decimals, low <= open,
close <= high, and its stamp is new; the row that repeats a stamp is the bad one. Zero volume is good. Bad rows end the
reading unless they are skipped; either way each is reported with its line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from algotrade.engine.records import BAR, TICK, Records
from algotrade.platform import text_columns
from algotrade.platform.table_file import Table, TableError, read_table
from algotrade.platform.text_columns import Parsed

BAR_COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume")
TRADE_COLUMNS: Final = ("timestamp", "price", "size")
_ROWS_NAMED_IN_MESSAGE: Final = 5


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that could not be used: its line (of Parquet: its row, from 1) and why."""

    line: int
    reason: str


class BarFileError(ValueError):
    """A file that gives no bars or trades.

    `code`: not_found, unreadable, too_large, empty_file, not_utf8, missing_column, duplicate_column, wrong_type,
    bad_rows (then `bad_rows` holds all of them), no_good_rows.
    """

    def __init__(self, code: str, path: str | Path, message: str, bad_rows: tuple[BadRow, ...] = ()) -> None:
        super().__init__(f"{path}: {message}")
        self.code = code
        self.path = str(path)
        self.message = str(self)
        self.bad_rows = bad_rows


@dataclass(frozen=True, slots=True)
class BarFile:
    """Bars (dtype BAR, sorted by time), the rows left out, and the SHA-256 of the bars in hex."""

    bars: Records
    bad_rows: tuple[BadRow, ...]
    data_hash: str


@dataclass(frozen=True, slots=True)
class TradeFile:
    """Trades as ticks (dtype TICK, sorted by time, seq from 1), the rows left out, the SHA-256 of the ticks."""

    ticks: Records
    bad_rows: tuple[BadRow, ...]
    data_hash: str


def read_bars(path: str | Path, *, skip_bad: bool = False) -> BarFile:
    """Read a bar file. Raises BarFileError, for bad rows too unless `skip_bad`.

    The same bars give the same hash, whatever the format, the order of rows or the spelling of numbers.
    """
    table = _table(path, BAR_COLUMNS)
    parsed = {"timestamp": text_columns.parse_times(table.columns["timestamp"])}
    parsed |= {name: text_columns.parse_prices(table.columns[name]) for name in BAR_COLUMNS[1:5]}
    parsed["volume"] = text_columns.parse_sizes(table.columns["volume"])
    bars = np.empty(len(table.lines), BAR)
    for name, field in zip(BAR_COLUMNS, BAR.names or (), strict=True):
        bars[field] = parsed[name].values
    bad = _unreadable_rows(parsed)
    _check_ranges(bars, bad)
    order = _order(bars, bad)
    order = _drop_duplicates(bars, order, table, bad)
    bad_rows = _report(path, table, bad, skip_bad=skip_bad, good=len(order))
    bars = bars[order]
    return BarFile(bars, bad_rows, hashlib.sha256(bars.tobytes()).hexdigest())


def read_trades(path: str | Path, *, skip_bad: bool = False) -> TradeFile:
    """Read a file of trades (timestamp, price, size). Raises BarFileError, for bad rows too unless `skip_bad`."""
    table = _table(path, TRADE_COLUMNS)
    parsed = {
        "timestamp": text_columns.parse_times(table.columns["timestamp"]),
        "price": text_columns.parse_prices(table.columns["price"]),
        "size": text_columns.parse_sizes(table.columns["size"]),
    }
    ticks = np.zeros(len(table.lines), TICK)
    for name, field in zip(TRADE_COLUMNS, ("ts", "price", "size"), strict=True):
        ticks[field] = parsed[name].values
    bad = _unreadable_rows(parsed)
    order = _order(ticks, bad)
    bad_rows = _report(path, table, bad, skip_bad=skip_bad, good=len(order))
    ticks = ticks[order]
    ticks["seq"] = np.arange(1, 1 + len(ticks))
    return TradeFile(ticks, bad_rows, hashlib.sha256(ticks.tobytes()).hexdigest())


def _table(path: str | Path, names: Sequence[str]) -> Table:
    try:
        return read_table(path, names)
    except TableError as error:
        raise BarFileError(error.code, path, error.message) from None


def _unreadable_rows(parsed: Mapping[str, Parsed]) -> dict[int, str]:
    bad: dict[int, list[str]] = {}
    for column in parsed.values():
        for row, reason in column.bad.items():
            bad.setdefault(row, []).append(reason)
    return {row: ", ".join(reasons) for row, reasons in bad.items()}


def _check_ranges(bars: Records, bad: dict[int, str]) -> None:
    checks = (
        (bars["high"] < bars["low"], "high is below low"),
        ((bars["open"] > bars["high"]) | (bars["open"] < bars["low"]), "open is outside low to high"),
        ((bars["close"] > bars["high"]) | (bars["close"] < bars["low"]), "close is outside low to high"),
    )
    for wrong, reason in checks:
        for row in np.flatnonzero(wrong).tolist():
            bad.setdefault(row, reason)


def _order(records: Records, bad: Mapping[int, str]) -> Records:
    """The good rows, by time; rows of one time stay in the order of the file."""
    good = np.ones(len(records), np.bool_)
    good[list(bad)] = False
    rows = np.flatnonzero(good)
    return rows[np.argsort(records["ts"][rows], kind="stable")]


def _drop_duplicates(bars: Records, order: Records, table: Table, bad: dict[int, str]) -> Records:
    stamps = bars["ts"][order]
    first = np.ones(len(order), np.bool_)
    first[1:] = stamps[1:] != stamps[:-1]
    if first.all():
        return order
    kept = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    for row, earlier in zip(order[~first].tolist(), kept[~first].tolist(), strict=True):
        bad[row] = f"timestamp repeats that of line {table.lines[earlier]}"
    return order[first]


def _report(path: str | Path, table: Table, bad: Mapping[int, str], *, skip_bad: bool, good: int) -> tuple[BadRow, ...]:
    rows = [(int(table.lines[row]), reason) for row, reason in bad.items()]
    bad_rows = tuple(BadRow(line, reason) for line, reason in sorted([*rows, *table.malformed]))
    if bad_rows and not skip_bad:
        named = [f"line {row.line}: {row.reason}" for row in bad_rows[:_ROWS_NAMED_IN_MESSAGE]]
        more = len(bad_rows) - len(named)
        tail = f"; and {more} more" if more else ""
        raise BarFileError("bad_rows", path, f"{len(bad_rows)} bad row(s): {'; '.join(named)}{tail}", bad_rows)
    if not good:
        raise BarFileError("no_good_rows", path, "no row is good", bad_rows)
    return bad_rows
