"""Dates and time zones in the IR, over tables compiled from the pinned tzdata package."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from algotrade.engine.ir import F64, I32, I64, Expr, Function, Var, const, select

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS
ENTRY_BYTES: Final = 16
FIELDS: Final = ("timestamp", "year", "month", "day", "day_of_week", "hour", "minute")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FROM_YEAR, _TO_YEAR = 1970, 2100
_NAME = re.compile(r"[\w+-]+(/[\w+-]+)*")
_MAX_NAME = 64  # longer than any name of the tz database
_SEARCH_STEPS = 12  # two changes a year make fewer than 2**12 entries


@lru_cache(maxsize=64)
def zone_table(name: str) -> bytes:
    """A zone's UTC offsets as (from, offset) pairs of i64 nanoseconds; empty for UTC.

    Raises ValueError for a name that the tz database lacks. Read from the tzdata package rather than the machine,
    so that every host compiles the same bytes.
    """
    if name == "UTC":
        return b""
    zone = _zone(name)
    entries = [(-(2**63), _offset(zone, datetime(_FROM_YEAR, 1, 1, tzinfo=UTC)))]
    week = timedelta(days=7)
    at = datetime(_FROM_YEAR, 1, 1, tzinfo=UTC)
    while at.year < _TO_YEAR:
        if _offset(zone, at + week) != entries[-1][1]:
            change = _first_change(zone, at, at + week)
            entries.append((int((change - _EPOCH).total_seconds()) * SECOND_NS, _offset(zone, change)))
            at = change
        else:
            at += week
    return b"".join(struct.pack("<qq", start, offset) for start, offset in entries)


def _zone(name: str) -> ZoneInfo:
    parts = name.split("/")
    if len(name) > _MAX_NAME or not all(
        part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts
    ):
        raise ValueError(f"{name[:_MAX_NAME]!r} is not a time zone")
    source = resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
    if not source.is_file():
        raise ValueError(f"{name!r} is not a time zone")
    with source.open("rb") as stream:
        return ZoneInfo.from_file(stream, key=name)


def _offset(zone: ZoneInfo, at: datetime) -> int:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) * SECOND_NS


def _first_change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The second at which the offset differs from that at ``low``; it does at ``high``."""
    before = _offset(zone, low)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high


def _floor_div(f: Function, a: Expr, b: int) -> Expr:
    quotient = f.var(I64, a.op2("div_s", b))
    with f.when(a - quotient * b < 0):
        f.set(quotient, quotient - 1)
    return quotient


class Calendar:
    """The calendar's functions; a module holds them where its graph asks for dates."""

    def __init__(self) -> None:
        self.zone_offset = _zone_offset()
        self.day = self._day()
        self.field = self._field()

    def _day(self) -> Function:
        """Days since the epoch of a time, by a zone's clock: (table, entries, time)."""
        f = Function("day", [I32, I32, I64], I64)
        table, entries, ts = f.args
        f.ret(_floor_div(f, f.let(ts + f.call(self.zone_offset, table, entries, ts)), DAY_NS))
        return f

    def _field(self) -> Function:
        """A part of the local date or time, by its index in FIELDS: (table, entries, time, field)."""
        f = Function("calendar_field", [I32, I32, I64, I32], F64)
        table, entries, ts, field = f.args
        with f.when(field.eq(FIELDS.index("timestamp"))):
            f.ret(ts.to(F64) / 1e9)
        local = f.let(ts + f.call(self.zone_offset, table, entries, ts))
        days = _floor_div(f, local, DAY_NS)
        minutes = f.let((local - days * DAY_NS).op2("div_s", 60 * SECOND_NS))
        year, month, day = _civil(f, days)
        values = {
            "year": year,
            "month": month,
            "day": day,
            "day_of_week": ((days + 3).op2("rem_s", 7) + 7).op2("rem_s", 7),  # Monday is 0
            "hour": minutes.op2("div_s", 60),
            "minute": minutes.op2("rem_s", 60),
        }
        for name, value in values.items():
            with f.when(field.eq(FIELDS.index(name))):
                f.ret(value.to(F64))
        f.ret(0.0)
        return f


def _zone_offset() -> Function:
    """A zone's offset from UTC at a time, in nanoseconds: (table, entries, time)."""
    f = Function("zone_offset", [I32, I32, I64], I64, loops=_SEARCH_STEPS)
    table, entries, ts = f.args
    with f.when(entries.eq(0)):
        f.ret(0)
    low, high = f.var(I32, 0), f.var(I32, entries)
    with f.while_(high - low > 1):
        middle = f.let((low + high).op2("shr_u", 1))
        with f.when((table + middle * ENTRY_BYTES).load(I64) <= ts) as reached:
            f.set(low, middle)
        with f.otherwise(reached):
            f.set(high, middle)
    f.ret((table + low * ENTRY_BYTES).load(I64, 8))
    return f


def _civil(f: Function, days: Expr) -> tuple[Expr, Expr, Expr]:
    """Year, month and day of a day number (H. Hinnant, chrono-compatible low-level date algorithms)."""
    shifted = f.let(days + 719_468)
    era = _floor_div(f, shifted, 146_097)
    day_of_era = f.let(shifted - era * 146_097)
    leaps = day_of_era.op2("div_s", 1_460) - day_of_era.op2("div_s", 36_524) + day_of_era.op2("div_s", 146_096)
    year_of_era = f.let((day_of_era - leaps).op2("div_s", 365))
    before = year_of_era * 365 + year_of_era.op2("div_s", 4) - year_of_era.op2("div_s", 100)
    day_of_year = f.let(day_of_era - before)
    march_month = f.let((day_of_year * 5 + 2).op2("div_s", 153))
    day = day_of_year - (march_month * 153 + 2).op2("div_s", 5) + 1
    month: Var = f.var(I64, march_month + select(march_month < 10, const(I64, 3), const(I64, -9)))
    year = year_of_era + era * 400 + select(month <= 2, const(I64, 1), const(I64, 0))
    return f.let(year), month, f.let(day)


@lru_cache(maxsize=1)
def calendar() -> Calendar:
    return Calendar()
