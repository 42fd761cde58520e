"""A platform to measure: the real one over a real PostgreSQL in a directory of its own, and what it uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from sqlalchemy import text

from algotrade.engine.compile import Artefact
from algotrade.engine.settings import RunSettings
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.forward_test.session import Session, shard_of
from algotrade.forward_test.store import Draft
from algotrade.platform import log
from algotrade.platform.bus import partition_of
from algotrade.platform.process import Platform, open_platform
from algotrade.platform.settings import Settings
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1 import identity_service_pb2 as identity_pb
from algotrade.v1.identity_service_pb2_grpc import IdentityServiceStub

SESSIONS_A_USER = 1_000


@asynccontextmanager
async def opened(**changes: Any) -> AsyncIterator[Platform]:
    """Open a platform that nothing else uses; what it stored goes with it."""
    with tempfile.TemporaryDirectory(prefix="at-", ignore_cleanup_errors=True) as name:
        addresses = dict.fromkeys(("grpc_address", "http_address", "gateway_address", "envoy_admin_address"))
        given = dict.fromkeys(addresses, "127.0.0.1:0") | {"log_level": "error", "log_format": "json"} | changes
        settings = Settings(data_dir=Path(name), **given)
        log.configure(settings)
        async with open_platform(settings) as platform:
            yield platform


async def account(platform: Platform) -> str:
    """Make a user; return the id."""
    user_id = uuid.uuid4()
    statement = text("INSERT INTO users (user_id, email, display_name, password_hash) VALUES (:id, :email, '', '')")
    async with platform.database.begin() as connection:
        await connection.execute(statement, {"id": user_id, "email": f"{user_id}@example.com"})
    return str(user_id)


async def fill(
    platform: Platform, artefacts: Sequence[Artefact], symbols: Sequence[str], sessions: int, settings: RunSettings
) -> None:
    """Store sessions that begin at the end of the log: as if each had been created and started, only faster.

    Strategies are dealt to symbols in turn, sessions to strategies. The first of a strategy goes through the store as
    every session does; the rest are copies of its row under ids of their own.
    """
    store = PostgresSessionStore(platform.database)
    firsts: list[Session] = []
    for index, artefact in enumerate(artefacts):
        if index % SESSIONS_A_USER == 0:
            user_id = await account(platform)
        session = Session(
            session_id=str(uuid.uuid4()),
            user_id=user_id,
            name=f"session {index}",
            strategy_id=str(uuid.uuid4()),
            strategy_version=1,
            artefact_hash=artefact.hash,
            symbol=symbols[index % len(symbols)],
            settings=settings,
            parameters={},
            from_first_tick=False,
            create_time=datetime.fromtimestamp(platform.clock.now_ns() // 1000 / 1e6, UTC),
            warmup_bars=0,
            cash=settings.initial_cash,
            equity=settings.initial_cash,
        )
        await store.create(Draft(session, {}, artefact.wasm), None)
        firsts.append(session)
    copies = [replace(firsts[i % len(firsts)], session_id=str(uuid.uuid4())) for i in range(len(firsts), sessions)]
    for start in range(0, len(copies), SESSIONS_A_USER):
        await _copy(platform, await account(platform), copies[start : start + SESSIONS_A_USER], firsts)
    await _begin(platform, symbols)


async def _copy(platform: Platform, user_id: str, copies: Sequence[Session], firsts: Sequence[Session]) -> None:
    by_hash = {session.artefact_hash: session.session_id for session in firsts}
    columns = """session_month, strategy_id, strategy_version, strategy_snapshot, artefact_hash, symbol,
        from_first_tick, session_name, settings, parameters, starting_balance, current_balance, equity, peak_balance,
        warmup_bars, created_at"""
    statement = text(f"""
        INSERT INTO forward_test_sessions (session_id, user_id, shard, {columns})
        SELECT r.id, CAST(:user_id AS uuid), r.shard, {", ".join("s." + name.strip() for name in columns.split(","))}
        FROM unnest(CAST(:ids AS uuid[]), CAST(:shards AS integer[]), CAST(:firsts AS uuid[])) AS r (id, shard, first)
        JOIN forward_test_sessions AS s ON s.session_id = r.first
    """)
    async with platform.database.begin() as connection:
        given = {
            "user_id": uuid.UUID(user_id),
            "ids": [uuid.UUID(one.session_id) for one in copies],
            "shards": [shard_of(one.session_id) for one in copies],
            "firsts": [uuid.UUID(by_hash[one.artefact_hash]) for one in copies],
        }
        await connection.execute(statement, given)


async def _begin(platform: Platform, symbols: Sequence[str]) -> None:
    statement = text("""
        UPDATE forward_test_sessions SET status = 'running', started_at = now(), log_partition = :partition,
            log_offset = :earliest, orders_from = :end WHERE symbol = :symbol
    """)
    for symbol in symbols:
        partition = partition_of(symbol, MARKET_DATA_UPDATES.partitions)
        bounds = await platform.bus.bounds(MARKET_DATA_UPDATES, partition)
        place = {"partition": partition, "earliest": bounds.earliest, "end": bounds.end}
        async with platform.database.begin() as connection:
            await connection.execute(statement, {**place, "symbol": symbol})


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds so far, and memory now, of this process and of its servers."""

    ours: float
    servers: float
    ours_bytes: int
    servers_bytes: int

    @staticmethod
    def now(directory: Path, pid: int | None = None) -> Usage:
        """Look at a process, this one where none is named, and at the servers that it runs on a data directory."""
        me = psutil.Process(pid or os.getpid())
        servers = [*me.children(recursive=True), *_postgres(directory)]
        times = me.cpu_times()
        return Usage(
            times.user + times.system,
            sum(sum(one.cpu_times()[:2]) for one in servers),
            me.memory_info().rss,
            sum(one.memory_info().rss for one in servers),
        )

    def since(self, before: Usage, seconds: float) -> tuple[float, float]:
        """Shares of a core, ours and the servers', since another look."""
        return (self.ours - before.ours) / seconds, (self.servers - before.servers) / seconds


def _postgres(directory: Path) -> list[psutil.Process]:
    """PostgreSQL leaves its parent's side, so it is found by the directory it serves."""
    heads = [
        one for one in psutil.process_iter(["cmdline"]) if str(directory / "postgres") in (one.info["cmdline"] or [])
    ]
    return [process for head in heads for process in (head, *head.children(recursive=True))]


@dataclass(frozen=True, slots=True)
class Running:
    """`algotrade up` in a process of its own."""

    gateway: str
    grpc: str
    metrics: str
    data_dir: Path
    pid: int

    def usage(self) -> Usage:
        """What it and its servers use."""
        return Usage.now(self.data_dir, self.pid)


@contextmanager
def running(**changes: Any) -> Iterator[Running]:
    """Start the whole platform, without rate limits, on free ports; what it stored goes with it."""
    with tempfile.TemporaryDirectory(prefix="at-", ignore_cleanup_errors=True) as name:
        given = {f"{one}_address": "127.0.0.1:0" for one in ("gateway", "grpc", "http", "envoy_admin")}
        given |= {"data_dir": f"{name}/data", "rate_limits": "false", "log_level": "warning", **changes}
        environment = os.environ | {f"ALGOTRADE_{key.upper()}": str(value) for key, value in given.items()}
        command = [sys.executable, "-m", "algotrade.cli", "up", "--json"]
        with (
            (Path(name) / "log").open("w") as log_file,
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log_file, text=True) as process,
        ):
            assert process.stdout is not None
            first = process.stdout.readline()
            if '"ready"' not in first:
                said = first + process.stdout.read() + (Path(name) / "log").read_text()
                raise SystemExit(f"the platform does not start: {said}")
            told = json.loads(first)
            gateway = told["gateway"].removeprefix("http://")
            try:
                yield Running(gateway, told["grpc"], told["metrics"], Path(told["data_dir"]), process.pid)
            finally:
                process.send_signal(signal.SIGINT)


async def registered(channel: grpc.aio.Channel, name: str) -> str:
    """Make an account through the API; return its access token."""
    request = identity_pb.RegisterRequest(email=f"{name}@example.com", password="a long pass phrase", display_name=name)
    return (await IdentityServiceStub(channel).Register(request)).token.token


def percentiles(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and worst in milliseconds."""
    p50, p99 = np.percentile(np.asarray(seconds) * 1e3, (50, 99))
    return f"{p50:8.2f}  {p99:8.2f}  {max(seconds) * 1e3:8.2f}"
