"""The whole mesh on this machine: Kafka, Redis and PostgreSQL, each service a process of its own, Envoy before them.

Ports and passwords are chosen at the first start and kept in the directory. Servers start together, then the schema and
the topics are brought up to date, then identity, whose keys the others read, then the others, then the gateway. Of the
service that steps sessions there may be several, more or fewer while they run.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from algotrade.platform.background import background
from algotrade.platform.database import open_database
from algotrade.platform.gateway import Gateway
from algotrade.platform.healthcheck import serves
from algotrade.platform.http import JWKS_PATH
from algotrade.platform.kafka import Cluster
from algotrade.platform.kafka_topics import ensure_topics
from algotrade.platform.mesh import GATEWAY, PROCESSES
from algotrade.platform.settings import Settings
from algotrade.platform.topics import FORWARD_TEST_EVENTS, TOPICS
from algotrade.stack.kafka import kafka
from algotrade.stack.kept import keep
from algotrade.stack.postgres import postgres
from algotrade.stack.process import Server, accepts, free_ports
from algotrade.stack.redis import redis
from algotrade.stack.workers import Workers

FIRST: Final = "identity"
SERVICES: Final = (FIRST, *sorted(set(PROCESSES.values()) - {FIRST}))
WORKER: Final = "forward_test"  # there may be several
WORKERS: Final = (WORKER, *(f"{WORKER}-{number}" for number in range(2, FORWARD_TEST_EVENTS.partitions + 1)))
SERVERS: Final = ("kafka", "redis", "postgres")


@dataclass(frozen=True, slots=True)
class Mesh:
    """What runs, and the settings of a program that would join it."""

    settings: Settings
    single: Mapping[str, Server]  # by name: servers and services of which there is one
    workers: Workers
    gateway: Gateway

    @property
    def parts(self) -> dict[str, Server]:
        """The processes, by name."""
        return {**self.single, **{server.name: server for server in self.workers.running}}


@asynccontextmanager
async def mesh(
    directory: Path,
    settings: Settings,
    environment: Mapping[str, str],
    workers: int = 1,
    through: Mapping[str, int] | None = None,
    certificates: Path | None = None,
) -> AsyncIterator[Mesh]:
    """Run the mesh on a directory, new or used before, while the context is open.

    ``settings`` have the gateway's addresses; ``environment`` has what services are told beside where everything is;
    ``through`` has the ports at which they are told to reach servers, by name, where something stands between.
    ``certificates`` has a folder a process, by which they know each other. Raises StackError, GatewayError.
    """
    directory = await asyncio.to_thread(_directory, directory)
    ports, passwords = await asyncio.to_thread(kept, directory)
    async with AsyncExitStack() as stack:
        servers, addresses = await asyncio.to_thread(_servers, directory, ports, passwords, through or {})
        stack.push_async_callback(_stop, list(servers.values()))
        await _start(list(servers.values()))
        joined = _joined(settings, directory, ports, addresses, certificates)
        async with open_database(joined):
            pass  # its schema is the newest now
        await ensure_topics(Cluster.of(joined), TOPICS)
        told = _environment(joined) | dict(environment)
        services = {name: _service(name, directory, ports, told, certificates) for name in SERVICES if name != WORKER}
        stack.push_async_callback(_stop, list(services.values()))
        await _start([services[FIRST]])
        beside = Workers([_service(name, directory, ports, told, certificates) for name in WORKERS])
        stack.push_async_callback(beside.scale, 0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_start([server for name, server in services.items() if name != FIRST]))
            tasks.create_task(beside.scale(workers))
        gateway = Gateway(joined)
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        stack.push_async_callback(gateway.drain)
        where = {"gateway_address": gateway.address, "envoy_admin_address": gateway.admin_address}
        yield Mesh(joined.model_copy(update=where), servers | services, beside, gateway)


@asynccontextmanager
async def kept_running(running: Mesh) -> AsyncIterator[None]:
    """Start again whatever ends by itself, while the context is open."""
    async with AsyncExitStack() as stack:
        for server in running.single.values():
            await stack.enter_async_context(background(keep(server), f"keep-{server.name}"))
        await stack.enter_async_context(running.workers.kept())
        yield


async def _start(servers: Sequence[Server]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for server in servers:
            tasks.create_task(server.start())


async def _stop(servers: Sequence[Server]) -> None:
    await asyncio.gather(*(server.stop() for server in servers))


def _directory(directory: Path) -> Path:
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def kept(directory: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Return the ports and passwords of this directory, as they were the last time or new."""
    file = directory / "kept.json"
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    processes = [*SERVICES, *WORKERS[1:]]
    names = [*SERVERS, *processes, *(f"{name}-http" for name in processes)]
    ports = kept.get("ports", {})
    if ports.keys() != set(names) or not all(map(_is_free, ports.values())):
        ports = dict(zip(names, free_ports(len(names)), strict=True))
    passwords = kept.get("passwords") or {name: secrets.token_urlsafe(24) for name in ("redis", "postgres")}
    file.touch(mode=0o600)
    file.write_text(json.dumps({"ports": ports, "passwords": passwords}))
    return ports, passwords


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _servers(
    directory: Path, ports: Mapping[str, int], passwords: Mapping[str, str], through: Mapping[str, int]
) -> tuple[dict[str, Server], dict[str, str]]:
    """Prepare the servers; return them, and their addresses as the settings have them."""
    log_at, log_address = kafka(directory / "kafka", port=ports["kafka"], reached_at=through.get("kafka", 0))
    cache, cache_url = redis(directory / "redis", port=ports["redis"], password=passwords["redis"])
    database, dsn = postgres(directory / "postgres", port=ports["postgres"], password=passwords["postgres"])
    servers = {"kafka": log_at, "redis": cache, "postgres": database}
    addresses = {"kafka": log_address, "redis": cache_url, "postgres": dsn}
    for name, port in through.items():
        addresses[name] = addresses[name].replace(f"127.0.0.1:{ports[name]}", f"127.0.0.1:{port}")
    return servers, addresses


def _joined(
    settings: Settings,
    directory: Path,
    ports: Mapping[str, int],
    addresses: Mapping[str, str],
    certificates: Path | None,
) -> Settings:
    """Return the settings of a program that is part of the mesh and is none of its services."""
    placed = {f"{name}_address": f"127.0.0.1:{ports[name]}" for name in SERVICES}
    placed[f"{WORKER}_address"] = ",".join(f"127.0.0.1:{ports[name]}" for name in WORKERS)
    return settings.model_copy(
        update={
            "data_dir": directory,
            "bus": "kafka",
            "kafka_servers": addresses["kafka"],
            "redis_url": SecretStr(addresses["redis"]),
            "database_dsn": SecretStr(addresses["postgres"]),
            "tls_dir": certificates / GATEWAY if certificates else None,
            "jwks_url": f"{'https' if certificates else 'http'}://127.0.0.1:{ports[f'{FIRST}-http']}{JWKS_PATH}",
            **placed,
        }
    )


def _environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which every service finds the others and the servers."""
    told = {
        "DATABASE_DSN": settings.database_dsn,
        "REDIS_URL": settings.redis_url,
        "BUS": settings.bus,
        "KAFKA_SERVERS": settings.kafka_servers,
        "JWKS_URL": settings.jwks_url,
        "MIGRATE_AT_START": "false",
        "LOG_FORMAT": "json",
        **{f"{name.upper()}_ADDRESS": getattr(settings, f"{name}_address") for name in SERVICES},
    }
    return {f"ALGOTRADE_{name}": _plain(value) for name, value in told.items()}


def _plain(value: Any) -> str:
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _service(
    name: str, directory: Path, ports: Mapping[str, int], told: Mapping[str, str], certificates: Path | None
) -> Server:
    own = directory / name
    own.mkdir(exist_ok=True)
    environment = dict(told) | {
        "ALGOTRADE_DATA_DIR": str(own),
        "ALGOTRADE_GRPC_ADDRESS": f"127.0.0.1:{ports[name]}",
        "ALGOTRADE_HTTP_ADDRESS": f"127.0.0.1:{ports[f'{name}-http']}",
        "GRPC_ENABLE_FORK_SUPPORT": "false",
    }
    tls_dir = certificates / name.partition("-")[0] if certificates else None
    if tls_dir is not None:
        environment["ALGOTRADE_TLS_DIR"] = str(tls_dir)
    if name == FIRST:
        del environment["ALGOTRADE_JWKS_URL"]  # it has the keys
    ready = partial(_serves, ports[name], tls_dir)
    module = f"algotrade.{name.partition('-')[0]}"
    return Server(name, [sys.executable, "-m", module], own, ready, environment)


async def _serves(port: int, tls_dir: Path | None) -> bool:
    """Ask grpc.health.v1 about the process as a whole; raises OSError while nobody listens."""
    await accepts(port)
    return await asyncio.to_thread(serves, f"127.0.0.1:{port}", tls_dir)
