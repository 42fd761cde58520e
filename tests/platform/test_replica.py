"""Reads on a replica: from it while it keeps up, from the database in any other case, and never a wrong "none"."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from replicas import Replica, replica_of
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.platform.metrics import Metrics
from algotrade.platform.replica import Reader, open_replica
from algotrade.platform.settings import Settings

LAG_SECONDS = 60.0


@pytest.fixture
async def replica(database: AsyncEngine, data_dir: Path) -> AsyncIterator[Replica]:
    async with database.begin() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS noted (note text)"))
        await connection.execute(text("TRUNCATE noted"))
    async with replica_of(database, data_dir / "replica") as replica:
        yield replica
    async with database.begin() as connection:
        await connection.execute(text("DROP TABLE noted"))


async def note(database: AsyncEngine, value: str) -> None:
    async with database.begin() as connection:
        await connection.execute(text("INSERT INTO noted VALUES (:value)"), {"value": value})


async def newest(connection: AsyncConnection) -> tuple[str, bool] | None:
    """Return a note and whether it was read on a replica."""
    query = text("SELECT max(note), pg_is_in_recovery() FROM noted HAVING count(*) > 0")
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def test_it_answers_as_long_as_it_keeps_up(
    database: AsyncEngine, replica: Replica, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    with_replica = settings.model_copy(update={"database_replica_dsn": SecretStr(replica.dsn)})
    async with open_replica(with_replica) as engine:
        reader = Reader(database, metrics, engine, LAG_SECONDS)
        await note(database, "a")
        await replica.caught_up()
        assert await reader.read(newest) == ("a", True)

        await replica.sql("SELECT pg_wal_replay_pause()")
        await note(database, "b")
        assert await reader.read(newest) == ("a", True), "it may be a little behind"
        assert await Reader(database, metrics, engine, 0.0).read(newest) == ("b", False), "and no more than that"
        async with database.begin() as connection:
            await connection.execute(text("TRUNCATE noted"))
        await replica.sql("SELECT pg_wal_replay_resume()")
        await replica.caught_up()
        await replica.sql("SELECT pg_wal_replay_pause()")
        await note(database, "c")
        assert await reader.read(newest) == ("c", False), "what it has not got yet is there all the same"

        with pytest.raises(ProgrammingError):
            await reader.read(lambda connection: connection.scalar(text("SELECT nonsense")))

        await replica.server.kill()
        assert await reader.read(newest) == ("c", False)
        await replica.server.start()
        await note(database, "d")
        await replica.caught_up()
        assert await reader.read(newest) == ("d", False), "it is left alone for a while"
        monkeypatch.setattr("algotrade.platform.replica.REST_SECONDS", 0.0)
        monkeypatch.setattr(reader, "_rests_until", 0.0)
        assert await reader.read(newest) == ("d", True)
    counted = {source: metrics.replica_reads.labels(source)._value.get() for source in ("replica", "database")}
    assert counted == {"replica": 3, "database": 4}


async def test_without_one_the_database_answers(database: AsyncEngine, settings: Settings) -> None:
    async with open_replica(settings) as engine:
        assert engine is None
        reader = Reader(database, Metrics(), engine)
        where = await reader.read(lambda connection: connection.scalar(text("SELECT pg_is_in_recovery()::text")))
        assert where == "false"
