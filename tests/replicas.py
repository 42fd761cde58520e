"""A streaming replica of the PostgreSQL that the tests run: made by pg_basebackup, fed by its write-ahead log."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.stack.process import Server, run_once, running


@dataclass(frozen=True)
class Replica:
    """One, and how to hold it back."""

    server: Server
    url: URL
    primary: AsyncEngine

    async def sql(self, statement: str) -> object:
        """Run a statement on it."""
        connection = await asyncpg.connect(self.dsn, timeout=5)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def answers(self) -> bool:
        """Tell whether it has started."""
        try:
            return await self.sql("SELECT pg_is_in_recovery()") is True
        except asyncpg.CannotConnectNowError:
            return False

    @property
    def dsn(self) -> str:
        return self.url.render_as_string(hide_password=False)

    async def caught_up(self) -> None:
        """Return once it has replayed all that the primary has written so far, and one transaction more."""
        async with self.primary.begin() as connection:
            await connection.execute(text("SELECT pg_current_xact_id()"))  # gives it a time to tell
        async with self.primary.connect() as connection:
            written = await connection.scalar(text("SELECT pg_current_wal_lsn()::text"))
        async with asyncio.timeout(30):
            while not await self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # another server wakes nobody


@asynccontextmanager
async def replica_of(primary: AsyncEngine, directory: Path) -> AsyncIterator[Replica]:
    """Run a replica in a directory while the context is open."""
    async with primary.connect() as connection:
        data = Path(await connection.scalar(text("SHOW data_directory")))
    program, account = _prepared(data, directory)
    copy = directory / "data"
    backup = [str(program.parent / "pg_basebackup"), "-D", str(copy), "-R", "-X", "stream", "-c", "fast"]
    where = ["-h", str(primary.url.query["host"]), "-U", str(primary.url.username)]
    await asyncio.to_thread(run_once, [*backup, *where], account, directory)
    options = {"listen_addresses": "", "unix_socket_directories": directory}
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    url = primary.url.set(drivername="postgresql", query={"host": str(directory)})
    replica = Replica(
        Server(
            "replica",
            [str(program), "-D", str(copy), *settings],
            directory,
            lambda: replica.answers(),
            account=account,
            stop_signal=signal.SIGINT,
        ),
        url,
        primary,
    )
    async with running(replica.server):
        yield replica


def _prepared(data: Path, directory: Path) -> tuple[Path, str | None]:
    """Make a directory for whoever the server on ``data`` runs as; return its program, and who that is under root."""
    directory.mkdir(mode=0o755)
    account = pwd.getpwuid(data.stat().st_uid).pw_name if os.geteuid() == 0 else None
    if account is not None:
        shutil.chown(directory, account)
    return Path((data / "postmaster.opts").read_text().split()[0].strip('"')), account
