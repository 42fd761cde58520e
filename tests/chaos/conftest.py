"""What every scenario needs: a folder with a short path, an empty database, a verdict of zero."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-k-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def empty_database(database_url: URL) -> AsyncIterator[URL]:
    """Return a database of one test's own, which no process but those under test knows."""
    name = f"chaos_{uuid.uuid4().hex}"
    engine = create_async_engine(database_url.set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    yield database_url.set(database=name)
    async with engine.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await engine.dispose()


@pytest.fixture
def prove() -> Callable[..., Awaitable[None]]:
    """Return ``await prove(scenario, title, trades=…)``: run it, print its table, and hold it to zero."""

    async def run(scenario: Any, title: str, *, trades: int) -> None:
        verdict = await scenario.run()
        print(f"\n{scenario.table(title)}")
        assert not verdict.wrong, "\n".join(verdict.wrong[:20])
        assert (verdict.lost, verdict.doubled) == (0, 0)
        assert verdict.sessions >= 6
        assert verdict.proven == verdict.sessions
        assert verdict.trades > trades
        assert verdict.cuts > 0

    return run
