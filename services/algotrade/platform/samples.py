"""The sample data that comes with the platform: daily bars of AAPL, 2019 to 2024, from the hvsampledata package."""

from __future__ import annotations

import csv
import os
import uuid
from importlib.resources import files
from pathlib import Path


def aapl_daily(directory: Path) -> Path:
    """Return a bar file of AAPL's daily bars, written on first use: every number as the package spells it."""
    path = directory / "aapl_1d.csv"
    if path.exists():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    source = files("hvsampledata").joinpath("_data/apple_stocks.csv").read_text(encoding="utf-8")
    fresh = path.with_suffix(f".{uuid.uuid4().hex}")
    with fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        for row in csv.DictReader(source.splitlines()):
            stamp = f"{row['date']}T00:00:00Z"
            writer.writerow([stamp, row["open"], row["high"], row["low"], row["close"], row["volume"]])
    os.replace(fresh, path)  # noqa: PTH105  (atomic: a reader sees the whole file or none)
    return path
