"""Redis from the machine's package: one server, or a cluster of them, behind a password.

Nothing is stored on disk: what is in Redis can be built again from the log and the database.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from algotrade.stack.certificates import Certificates
from algotrade.stack.process import Server, StackError, free_ports, run_once, running

HOST: Final = "127.0.0.1"
NODE_TIMEOUT_MS: Final = 2000
CLUSTER_SECONDS: Final = 30.0
HIGHEST_CLUSTER_PORT: Final = 55_535  # nodes of a cluster talk at their port plus 10,000


@asynccontextmanager
async def redis_server(
    directory: Path, *, port: int = 0, password: str, certificates: Certificates | None = None
) -> AsyncIterator[str]:
    """Run Redis while the context is open; yield its URL. ``port`` 0: a free one. Raises StackError."""
    server, url = await asyncio.to_thread(redis, directory, port=port, password=password, certificates=certificates)
    async with running(server):
        yield url


def redis(
    directory: Path,
    *,
    port: int = 0,
    password: str,
    certificates: Certificates | None = None,
    options: Sequence[str] = (),
) -> tuple[Server, str]:
    """Prepare a server, empty whenever it starts; return it, not yet started, and its URL with the password.

    With certificates it speaks TLS, and nothing else; clients need none. ``options`` are more lines of its
    configuration. Raises StackError where it is not installed.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_ports(1)[0]
    lines = [f"bind {HOST}", f"dir {directory}", f"requirepass {password}", 'save ""', "appendonly no", *options]
    if certificates is None:
        lines.append(f"port {port}")
    else:
        lines += ["port 0", f"tls-port {port}", "tls-auth-clients no", f"tls-ca-cert-file {certificates.authority}"]
        lines += [f"tls-cert-file {certificates.certificate}", f"tls-key-file {certificates.key}"]
    configuration = directory / "redis.conf"
    configuration.touch(mode=0o600)  # not on the command line, which everybody may read
    configuration.write_text("\n".join(lines) + "\n")
    url = f"{'redis' if certificates is None else 'rediss'}://:{password}@{HOST}:{port}/0"
    ready = partial(_answers, url, certificates)
    return Server("redis", [_program("redis-server"), str(configuration)], directory, ready), url


@asynccontextmanager
async def redis_cluster(directory: Path, *, password: str, nodes: int = 3) -> AsyncIterator[list[str]]:
    """Run primaries without replicas that serve every slot among them; yield their URLs. Raises StackError."""
    options = ("cluster-enabled yes", f"cluster-node-timeout {NODE_TIMEOUT_MS}", f"masterauth {password}")
    ports: list[int] = []
    while len(ports) < nodes:
        ports += [port for port in free_ports(nodes - len(ports)) if port <= HIGHEST_CLUSTER_PORT]
    async with AsyncExitStack() as stack:
        urls = []
        for port in ports:
            server, url = redis(directory / str(port), port=port, password=password, options=options)
            await stack.enter_async_context(running(server))
            urls.append(url)
        addresses = [f"{HOST}:{port}" for port in ports]
        command = [_program("redis-cli"), "--no-auth-warning", "-a", password, "--cluster", "create", *addresses]
        await asyncio.to_thread(run_once, [*command, "--cluster-replicas", "0", "--cluster-yes"])
        async with asyncio.timeout(CLUSTER_SECONDS):
            for url in urls:
                await _whole(url)
        yield urls


async def _answers(url: str, certificates: Certificates | None) -> bool:
    """Tell whether it takes this password: another server at the same port would not."""
    trust: dict[str, Any] = {} if certificates is None else {"ssl_ca_certs": str(certificates.authority)}
    try:
        async with Redis.from_url(url, socket_timeout=1, **trust) as client:
            await client.ping()
    except (RedisConnectionError, RedisTimeoutError, BusyLoadingError):
        return False
    return True


async def _whole(url: str) -> None:
    """Return when a node sees every slot served."""
    async with Redis.from_url(url, decode_responses=True) as client:
        while True:
            found: dict[str, str] = await client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
            if found["cluster_state"] == "ok":
                return
            await asyncio.sleep(0.05)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not installed: `make servers` as root, or apt-get install redis-server")
    return found
