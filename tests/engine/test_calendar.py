"""Dates and zones in the module, held to the standard library over the same tz database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.engine.calendar import DAY_NS, ENTRY_BYTES, FIELDS, SECOND_NS, calendar, zone_table

from .programs import Both

ZONES = ["UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = st.integers(0, 4_100_000_000)
TABLE_AT = 64


def both_of(zone: str) -> Both:
    functions = [calendar().zone_offset, calendar().day, calendar().field]
    for function in functions:
        function.export = True
    return Both(functions, [(TABLE_AT, zone_table(zone))])


@pytest.fixture(scope="module", params=ZONES)
def zone(request: pytest.FixtureRequest) -> tuple[str, ZoneInfo, Both]:
    name: str = request.param
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as stream:
        return name, ZoneInfo.from_file(stream, key=name), both_of(name)


@settings(max_examples=150)
@given(seconds=SECONDS)
def test_fields_are_the_local_date_and_time(zone: tuple[str, ZoneInfo, Both], seconds: int) -> None:
    name, info, both = zone
    local = (EPOCH + timedelta(seconds=seconds)).astimezone(info)
    expected = {
        "timestamp": seconds,
        "year": local.year,
        "month": local.month,
        "day": local.day,
        "day_of_week": local.weekday(),
        "hour": local.hour,
        "minute": local.minute,
    }
    entries = len(zone_table(name)) // ENTRY_BYTES
    for field, value in expected.items():
        found = both.call("calendar_field", TABLE_AT, entries, seconds * SECOND_NS, FIELDS.index(field))
        assert found == (value, value), (field, local)
    day = (local.replace(tzinfo=None) - datetime(1970, 1, 1)).days
    assert both.call("day", TABLE_AT, entries, seconds * SECOND_NS) == (day, day)


@pytest.mark.parametrize("ns", [-1, -DAY_NS, -DAY_NS - 1, -(10**18)])
def test_days_before_the_epoch(ns: int) -> None:
    both = both_of("UTC")
    assert both.call("day", 0, 0, ns) == (ns // DAY_NS, ns // DAY_NS)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "America", "UTC/", "__init__.py", "Europe/"])
def test_names_that_are_no_zones(name: str) -> None:
    with pytest.raises(ValueError, match="not a time zone"):
        zone_table(name)
