"""Read named columns of a CSV or Parquet file, every value still as the file writes it.

1. The content decides the format: Parquet by its magic bytes, else CSV, gunzipped first where it is gzip.
2. CSV goes through polars. A file it cannot split line by line (quotes, rows that are too long) goes through Python's
   own reader, which knows where each row began. Either way each row keeps its 1-based line in the file.
3. Values stay as the file has them, text in CSV and typed in Parquet; `text_columns` parses both.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

MAX_FILE_BYTES: Final = 1024**3  # of text, after gunzip
MAX_ROWS: Final = 25_000_000

_BOM: Final = b"\xef\xbb\xbf"
_TEXTS: Final = (pl.String, pl.Categorical, pl.Enum, pl.Null)


class TableError(ValueError):
    """A file that cannot be read as a table; `code` names the reason for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Table:
    """The columns asked for (null where a field is missing), the line of each row, and rows that cannot be split."""

    columns: pl.DataFrame
    lines: npt.NDArray[np.int64]
    malformed: tuple[tuple[int, str], ...]


def read_table(path: str | Path, names: Sequence[str]) -> Table:
    """Read the named columns of a file, in any order and among any others; names are matched without case.

    Raises TableError: not_found, unreadable, too_large, empty_file, not_utf8, missing_column.
    A line of a Parquet row is its number, counted from 1; the header of a CSV file is line 1.
    """
    data = _read_bytes(Path(path))
    if data[:4] == b"PAR1":
        return _read_parquet(data, names)
    text = _gunzip(data) if data[:2] == b"\x1f\x8b" else data
    return _read_csv(text.removeprefix(_BOM), names)


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise TableError("not_found", "there is no such file") from None
    except OSError as error:
        raise TableError("unreadable", f"the file cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise _too_large()
    if not data.strip(b" \t\r\n" if len(data) < 1024 else b""):
        raise TableError("empty_file", "the file is empty")
    return data


def _too_large() -> TableError:
    return TableError("too_large", f"the file is larger than {MAX_FILE_BYTES >> 20} MiB or {MAX_ROWS:,} rows")


def _gunzip(data: bytes) -> bytes:
    """Gunzip all members, but never more than the limit."""
    parts: list[bytes] = []
    room = MAX_FILE_BYTES
    try:
        while data:
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(data, room + 1))
            room -= len(parts[-1])
            if room < 0:
                raise _too_large()
            if not member.eof:
                raise TableError("unreadable", "the gzip data ends early")
            data = member.unused_data.lstrip(b"\x00")
    except zlib.error as error:
        raise TableError("unreadable", f"the gzip data is damaged: {error}") from None
    return b"".join(parts)


# CSV


def _read_csv(data: bytes, names: Sequence[str]) -> Table:
    _check_utf8(data)
    head, _, body = data.partition(b"\n")
    header = _header(head)
    positions = _positions(header, names)
    if not body.strip():
        raise TableError("empty_file", "the file has a header and no rows")
    if data.count(b"\n") > MAX_ROWS:
        raise _too_large()
    if b'"' not in data and b"\r" not in data.replace(b"\r\n", b""):
        try:
            return _split_lines(body, len(header), positions, names)
        except pl.exceptions.PolarsError:
            pass  # some row is too long: find out which
    return _split_rows(data.decode(), len(header), positions, names)


def _header(line: bytes) -> list[str]:
    try:
        names = next(csv.reader([line.decode().rstrip("\r")]), [])
    except csv.Error as error:
        raise TableError("unreadable", f"the header is not CSV: {error}") from None
    return [name.strip().lower() for name in names]


def _check_utf8(data: bytes) -> None:
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TableError("not_utf8", f"line {line} is not UTF-8 text; the file must be CSV or Parquet") from None


def _positions(header: Sequence[str], names: Sequence[str]) -> list[int]:
    missing = [name for name in names if name not in header]
    if missing:
        raise TableError(
            "missing_column",
            f"the header has no column {', '.join(missing)}; needed are {', '.join(names)}; "
            f"it reads {', '.join(header)[:200]!r}",
        )
    twice = [name for name in names if header.count(name) > 1]
    if twice:
        raise TableError("duplicate_column", f"the header names {', '.join(twice)} more than once")
    return [header.index(name) for name in names]


def _split_lines(body: bytes, width: int, positions: Sequence[int], names: Sequence[str]) -> Table:
    """The fast way: one row a line. polars keeps a blank line as a row of nulls, so a row's number is its line."""
    schema = {f"column_{index}": pl.String for index in range(width)}
    rows = pl.read_csv(body, has_header=False, schema=schema, infer_schema=False, quote_char=None)
    columns = rows.select(pl.col(f"column_{at}").alias(name) for at, name in zip(positions, names, strict=True))
    lines = np.arange(2, 2 + rows.height, dtype=np.int64)
    blank = rows.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    return Table(columns.filter(~pl.Series(blank)), lines[~blank], ())


def _split_rows(text: str, width: int, positions: Sequence[int], names: Sequence[str]) -> Table:
    """The exact way, for quoted fields and rows of the wrong length."""
    kept: list[list[str | None]] = []
    lines: list[int] = []
    malformed: list[tuple[int, str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            malformed.append((line, f"not CSV: {error}"))
            break
        if row is None:
            break
        if line > 1 and len(row) > width:
            malformed.append((line, f"{len(row)} fields where the header has {width}"))
        elif line > 1 and row:
            kept.append([row[at] if at < len(row) else None for at in positions])
            lines.append(line)
        line = reader.line_num + 1
    columns = pl.DataFrame(kept, schema=dict.fromkeys(names, pl.String), orient="row")
    return Table(columns, np.array(lines, dtype=np.int64), tuple(malformed))


# Parquet


def _read_parquet(data: bytes, names: Sequence[str]) -> Table:
    try:
        schema = pl.read_parquet_schema(io.BytesIO(data))
        header = [name.strip().lower() for name in schema]
        originals = [list(schema)[at] for at in _positions(header, names)]
        if pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item() > MAX_ROWS:
            raise _too_large()
        rows = pl.read_parquet(io.BytesIO(data), columns=originals).select(originals)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise TableError("unreadable", f"the Parquet data is damaged: {reason}"[:200]) from None
    if not rows.height:
        raise TableError("empty_file", "the file has no rows")
    columns = rows.rename(dict(zip(originals, names, strict=True)))
    for column in columns:
        if not (column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype in _TEXTS):
            raise TableError("wrong_type", f"column {column.name} is {column.dtype}: neither number, time nor text")
    return Table(columns, np.arange(1, 1 + rows.height, dtype=np.int64), ())
