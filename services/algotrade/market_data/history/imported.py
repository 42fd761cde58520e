"""People's own bars: a file with columns of any names, judged before anything is made of it."""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from algotrade.engine.records import Records
from algotrade.market_data.history.report import BarsReport, report
from algotrade.platform import text_columns
from algotrade.platform.bars_file import BAR_COLUMNS, BadRow, BarFileError, read_bars
from algotrade.platform.table_file import MAX_FILE_BYTES, TableError, read_table

_COMMENT: Final = b"#"


class UnusableFileError(Exception):
    """A file from which no bars can be had; ``code`` as BarFileError has it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Imported:
    """The good bars by time, the rows that are none, and what is odd about the file as it came."""

    bars: Records
    bad_rows: tuple[BadRow, ...]
    report: BarsReport


def read_import(path: Path, interval_ns: int, names: Mapping[str, str]) -> Imported:
    """Read a file of bars; ``names`` says what the file calls our columns. Raises UnusableFileError."""
    if unknown := set(names) - set(BAR_COLUMNS):
        raise UnusableFileError(
            "invalid_column", f"{', '.join(sorted(unknown))}: our columns are {', '.join(BAR_COLUMNS)}"
        )
    wanted = [names.get(name, name).lower() for name in BAR_COLUMNS]
    with tempfile.TemporaryDirectory() as folder:
        plain, skipped = _plain(path, Path(folder) / "plain")
        try:
            table = read_table(plain, wanted)
            times = text_columns.parse_times(table.columns[wanted[0]])
            volumes = text_columns.parse_sizes(table.columns[wanted[-1]])
            renamed = Path(folder) / "renamed.parquet"
            table.columns.rename(dict(zip(wanted, BAR_COLUMNS, strict=True))).write_parquet(renamed)
            file = read_bars(renamed, skip_bad=True)
        except TableError as error:
            raise UnusableFileError(error.code, f"{path}: {error.message}") from None
        except BarFileError as error:
            raise UnusableFileError(error.code, f"{path}: {error.code}") from None
        except pl.exceptions.PolarsError as error:
            raise UnusableFileError("unreadable", f"{path}: {error}") from None
    good = np.ones(len(times.values), np.bool_)
    good[list(times.bad)] = False
    lines = table.lines + skipped

    def named(match: re.Match[str]) -> str:
        return f"line {lines[int(match[1]) - 1]}"

    rows = [BadRow(int(lines[bad.line - 1]), re.sub(r"\bline (\d+)", named, bad.reason)) for bad in file.bad_rows]
    malformed = [BadRow(line + skipped, reason) for line, reason in table.malformed]
    judged = report(times.values[good], volumes.values[good], interval_ns)
    return Imported(file.bars, tuple(sorted([*rows, *malformed], key=lambda row: row.line)), judged)


def _plain(path: Path, target: Path) -> tuple[Path, int]:
    """Return a file without the comments at its head, and how many lines they were."""
    try:
        with path.open("rb") as file:
            magic = file.read(2)
        if magic == b"PA":
            return path, 0
        opener = gzip.open if magic == b"\x1f\x8b" else open
        with opener(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UnusableFileError("not_found", f"{path}: there is no such file") from None
    except (OSError, EOFError) as error:
        raise UnusableFileError("unreadable", f"{path}: cannot be read: {error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise UnusableFileError("too_large", f"{path}: is larger than {MAX_FILE_BYTES >> 20} MiB")
    skipped = 0
    while content.startswith(_COMMENT):
        content = content.partition(b"\n")[2]
        skipped += 1
    target.write_bytes(content)
    return target, skipped
