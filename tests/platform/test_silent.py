"""A client that froze between two messages of a statement holds its locks no longer than one that froze elsewhere."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.database import open_engine
from algotrade.platform.settings import Settings
from algotrade.platform.silent import APPLICATION, ending_silent

LOCK = 4711
PATIENCE = 30


def message(kind: bytes, *parts: bytes) -> bytes:
    """Return a message of PostgreSQL's protocol, version 3."""
    body = b"".join(parts)
    return kind + struct.pack("!i", len(body) + 4) + body


@asynccontextmanager
async def half_a_statement(url: URL, application: str, lock: int = LOCK) -> AsyncIterator[asyncio.StreamReader]:
    """Hold a lock in a transaction while a next statement is parsed, and neither bound nor given up."""
    socket = f"{url.query['host']}/.s.PGSQL.{url.port or 5432}"
    reader, writer = await asyncio.open_unix_connection(socket)
    who = {"user": url.username or "postgres", "database": url.database or "postgres", "application_name": application}
    names = b"".join(f"{name}\0{value}\0".encode() for name, value in who.items()) + b"\0"
    writer.write(message(b"", struct.pack("!i", 196_608), names))
    writer.write(message(b"Q", f"BEGIN; SELECT pg_advisory_xact_lock({lock})\0".encode()))
    writer.write(message(b"P", b"\0SELECT 1\0", struct.pack("!h", 0)) + message(b"H"))
    await reader.readuntil(b"1\0\0\0\4")  # it is parsed
    try:
        yield reader
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def is_free(engine: AsyncEngine) -> bool:
    async with engine.begin() as connection:
        return bool(await connection.scalar(text(f"SELECT pg_try_advisory_xact_lock({LOCK})")))


@pytest.fixture
async def engine(database_url: URL, settings: Settings) -> AsyncIterator[AsyncEngine]:
    async with open_engine(database_url, settings) as engine:
        yield engine


async def test_it_is_ended(database_url: URL, engine: AsyncEngine) -> None:
    async with asyncio.timeout(PATIENCE), half_a_statement(database_url, APPLICATION) as reader:
        assert not await is_free(engine)
        async with ending_silent(engine, 0.2):
            assert b"terminating connection" in await reader.read()  # up to its end
            while not await is_free(engine):
                pass


async def test_nobody_elses_is(database_url: URL, engine: AsyncEngine) -> None:
    """The older of two is another program's. When the younger has been ended, the older has been passed over."""
    async with (
        asyncio.timeout(PATIENCE),
        half_a_statement(database_url, "another"),
        half_a_statement(database_url, APPLICATION, LOCK + 1) as reader,
        ending_silent(engine, 0.2),
    ):
        assert b"terminating connection" in await reader.read()
        assert not await is_free(engine)
