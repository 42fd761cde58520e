"""Bars in Parquet files: a file a chunk of a symbol's time, its name saying what it covers.

``PROVIDER/SYMBOL/INTERVAL/FROM_UNTIL.parquet``, both in nanoseconds. A chunk begins on a grid of its own and is covered
from its beginning; the newest one grows. A file is written under another name, flushed to the disk and then renamed,
so a crash leaves either the old file, the new one, or both: of both, the one that covers more counts. Inside are the
columns timestamp (ns), open, high, low, close (integers in units of 1e-8) and volume.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from algotrade.engine.records import BAR, Records, joined
from algotrade.platform import limits

_NAME: Final = re.compile(r"(\d{1,19})_(\d{1,19})\.parquet")
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
OWN: Final = "own"  # the provider under which people's own bars are kept
_COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume")


class DamagedError(Exception):
    """A file of the cache is not what its name says."""

    def __init__(self, path: Path, what: str) -> None:
        """Name the file, and what is wrong with it."""
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


@dataclass(frozen=True, slots=True)
class Series:
    """Whose bars: a provider's, of a symbol, of a length (its name and in nanoseconds)."""

    provider: str
    symbol: str
    interval: str
    interval_ns: int

    @property
    def chunk_ns(self) -> int:
        """How much time a file covers at most."""
        return self.interval_ns * limits.BARS_A_CHUNK


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one file covers: from a time to before another (ns)."""

    path: Path
    start_ns: int
    end_ns: int


class CandleCache:
    """The files below a folder."""

    def __init__(self, root: Path) -> None:
        """Take the folder; it need not be there yet."""
        self.root = root

    def series(self) -> Iterator[tuple[str, str, str]]:
        """Yield provider, symbol and interval of everything there is, in order."""
        for path in sorted(self.root.glob("*/*/*")):
            if path.is_dir():
                provider, symbol, interval = path.relative_to(self.root).parts
                yield provider, symbol, interval

    def chunks(self, series: Series) -> list[Chunk]:
        """Return the files of a series, by time; of a chunk the one that covers most."""
        found: dict[int, Chunk] = {}
        for path in self._folder(series).glob("*.parquet"):
            if match := _NAME.fullmatch(path.name):
                chunk = Chunk(path, int(match[1]), int(match[2]))
                if chunk.start_ns not in found or found[chunk.start_ns].end_ns < chunk.end_ns:
                    found[chunk.start_ns] = chunk
        return [found[start] for start in sorted(found)]

    def read(self, series: Series, start_ns: int, end_ns: int) -> Records:
        """Return the bars that start in a range, as far as they are here. DamagedError for a file that is not good."""
        inside = [one for one in self.chunks(series) if one.end_ns > start_ns and one.start_ns < end_ns]
        parts = [self.load(series, chunk) for chunk in inside]
        bars = joined(BAR, parts)
        return bars[(bars["ts"] >= start_ns) & (bars["ts"] < end_ns)]

    def load(self, series: Series, chunk: Chunk) -> Records:
        """Read a file and judge it. DamagedError."""
        try:
            table = pl.read_parquet(chunk.path, columns=list(_COLUMNS))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DamagedError(chunk.path, f"cannot be read: {type(error).__name__}") from None
        bars = np.zeros(table.height, BAR)
        for name, column in zip(BAR.names or (), _COLUMNS, strict=True):
            if table[column].null_count() or not table[column].dtype.is_numeric():
                raise DamagedError(chunk.path, f"{column} is not numbers throughout")
            bars[name] = table[column].to_numpy()
        if wrong := fault(bars, series, chunk.start_ns, chunk.end_ns):
            raise DamagedError(chunk.path, wrong)
        return bars

    def write(self, series: Series, start_ns: int, end_ns: int, bars: Records) -> Chunk:
        """Keep the bars of a chunk, which they cover from its beginning to before a time."""
        if wrong := fault(bars, series, start_ns, end_ns):
            raise ValueError(f"{series.symbol}: {wrong}")
        folder = self._folder(series)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{start_ns}_{end_ns}.parquet"
        unfinished = folder / f".{path.name}.{os.getpid()}"
        fields = zip(_COLUMNS, BAR.names or (), strict=True)
        table = pl.DataFrame({column: np.ascontiguousarray(bars[name]) for column, name in fields})
        with unfinished.open("wb") as file:
            table.write_parquet(file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        for other in folder.glob(f"{start_ns}_*.parquet"):
            if (match := _NAME.fullmatch(other.name)) and int(match[2]) < end_ns:
                other.unlink(missing_ok=True)
        return Chunk(path, start_ns, end_ns)

    def remove(self, chunk: Chunk) -> None:
        """Forget a file: it is fetched again when it is wanted."""
        chunk.path.unlink(missing_ok=True)

    def shrink(self, most_bytes: int) -> int:
        """Remove what was fetched longest ago until no more than so many bytes are left; return how many files went.

        Bars that people brought are not among it: nobody could fetch them again.
        """
        fetched = [path for path in self.root.glob("*/*/*/*.parquet") if path.relative_to(self.root).parts[0] != OWN]
        known = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in fetched)
        left, gone = sum(size for _, size, _ in known), 0
        for _, size, path in known:
            if left <= most_bytes:
                break
            path.unlink(missing_ok=True)
            left, gone = left - size, gone + 1
        return gone

    def clear(self, series: Series) -> None:
        """Forget a series."""
        shutil.rmtree(self._folder(series), ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """Return files that a crash left unfinished."""
        return sorted(path for path in self.root.glob("*/*/*/.*") if path.is_file())

    def _folder(self, series: Series) -> Path:
        for part in (series.provider, series.symbol, series.interval):
            if not _PART.fullmatch(part):
                raise ValueError(f"{part!r} cannot be part of a file's name")
        return self.root / series.provider / series.symbol / series.interval


def fault(bars: Records, series: Series, start_ns: int, end_ns: int) -> str:
    """Return what is wrong with bars that are to cover a time; empty where nothing is."""
    if not len(bars):
        return ""
    prices = np.stack([bars[name] for name in ("open", "high", "low", "close")])
    times = bars["ts"]
    checks = (
        (bool(np.any(np.diff(times) <= 0)), "bars are out of order"),
        (bool(times[0] < start_ns or times[-1] >= end_ns), "bars lie outside the time that is covered"),
        (bool(np.any(times % series.interval_ns)), "bars lie off the grid"),
        (bool(np.any(prices <= 0)), "a price is not above zero"),
        (bool(np.any((prices > bars["high"]) | (prices < bars["low"]))), "a price is outside low to high"),
        (not bool(np.all(np.isfinite(bars["volume"]) & (bars["volume"] >= 0))), "a volume is none"),
    )
    return next((what for wrong, what in checks if wrong), "")
