"""The audit log: an unbroken chain, which a change breaks."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from algotrade.platform.audit import first_broken, record

NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, UTC)
ADA = uuid.UUID(int=7)


async def write(database, number: int) -> None:
    async with database.begin() as connection:
        await record(connection, NOON, ADA if number % 2 else None, "tested", number=str(number), ä="é\"'")


async def broken(database) -> int | None:
    async with database.connect() as connection:
        return await first_broken(connection)


async def test_writers_that_come_together_make_one_chain(database):
    assert await broken(database) is None
    await asyncio.gather(*(write(database, number) for number in range(20)))
    assert await broken(database) is None
    async with database.connect() as connection:
        numbers = (await connection.execute(text("SELECT number FROM audit_log ORDER BY number"))).scalars()
        assert list(numbers) == list(range(1, 21))


async def test_what_is_rolled_back_leaves_no_hole(database):
    await write(database, 1)
    async with database.connect() as connection:
        await record(connection, NOON, ADA, "undone")
        await connection.rollback()
    await write(database, 2)
    assert await broken(database) is None


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log"])
async def test_rows_are_only_added(database, statement):
    await write(database, 1)
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.begin() as connection:
            await connection.execute(text(statement))
    assert await broken(database) is None


@pytest.mark.parametrize(
    ("tampering", "first"),
    [
        ("UPDATE audit_log SET action = 'x' WHERE number = 3", 3),
        ("UPDATE audit_log SET facts = '{}' WHERE number = 3", 3),
        ("UPDATE audit_log SET actor = NULL WHERE number = 4", 4),
        ("UPDATE audit_log SET event_time = event_time + interval '1 microsecond' WHERE number = 3", 3),
        ("UPDATE audit_log SET hash = sha256('x') WHERE number = 3", 3),
        ("DELETE FROM audit_log WHERE number = 3", 3),
        ("DELETE FROM audit_log WHERE number = 1", 1),
    ],
)
async def test_who_goes_around_the_trigger_breaks_the_chain(database, tampering, first):
    for number in range(1, 6):
        await write(database, number + 1)
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER append_only"))
        await connection.execute(text(tampering))
        await connection.execute(text("ALTER TABLE audit_log ENABLE TRIGGER append_only"))
    assert await broken(database) == first
