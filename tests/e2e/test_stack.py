"""The mesh on real Kafka, Redis and PostgreSQL: it trades, goes on after kills, and stores what a replay gives."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from algotrade.cli.demo import Demo, DemoSession
from algotrade.v1 import forward_test_service_pb2 as pb

PATIENCE = 90


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-mesh-"))
    yield path
    stack(path, "down")
    shutil.rmtree(path, ignore_errors=True)


def stack(folder: Path, *arguments: str) -> str:
    """Run `algotrade stack …` to its end; return what it said."""
    environment = os.environ | {
        "ALGOTRADE_DATA_DIR": str(folder),
        "ALGOTRADE_GATEWAY_ADDRESS": "127.0.0.1:0",
        "ALGOTRADE_ENVOY_ADMIN_ADDRESS": "127.0.0.1:0",
        "ALGOTRADE_MARKET_PROVIDERS": '["synthetic"]',
        "ALGOTRADE_SYNTHETIC_SYMBOLS": '["BTC-USD"]',
    }
    command = [sys.executable, "-m", "algotrade.cli", "stack", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pids(folder: Path) -> dict[str, int]:
    """Return the process of each part that runs."""
    return {file.stem: int(file.read_text()) for file in (folder / "stack").glob("*/*.pid")}


async def reached(demo: Demo, held: Sequence[DemoSession], wanted: Callable[[pb.Session], bool]) -> list[pb.Session]:
    """Return the sessions once each is as wanted; what cannot be asked just now is asked again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(grpc.aio.AioRpcError):
                found = [await demo.session(one.session.session_id) for one in held]
                if all(map(wanted, found)):
                    return found
            await asyncio.sleep(0.3)


async def healthy(gateway: str) -> None:
    """Return when every service has all that it needs."""
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(timeout=20) as client:
        while (await client.get(f"http://{gateway}/health/detailed")).json()["status"] != "HEALTH_STATUS_HEALTHY":
            await asyncio.sleep(0.3)


@pytest.mark.timeout(400)
async def test_it_trades_goes_on_after_kills_and_can_prove_it(folder: Path) -> None:
    said = await asyncio.to_thread(stack, folder, "up", "--detach", "--workers", "2")
    gateway = next(line for line in said.splitlines() if "The mesh is up" in line).rpartition("http://")[2]
    running = pids(folder)
    assert {
        "kafka",
        "redis",
        "postgres",
        "identity",
        "market_data",
        "forward_test",
        "forward_test-2",
        "envoy",
    } <= running.keys()
    assert len(set(running.values())) == len(running), "each a process of its own"

    await healthy(gateway)
    shown = await asyncio.to_thread(stack, folder, "demo", "--seconds", "15")
    assert "Orders were filled on every feed, and nothing failed." in shown

    demo = Demo(gateway, folder / "stack" / "demo" / "password")
    sessions = await demo.set_up()
    before = await reached(demo, sessions, lambda one: one.total_trades >= 1)

    for part in ("kafka", "forward_test", "redis"):
        os.kill(running[part], signal.SIGKILL)
    ticks = {one.session_id: one.last_tick_sequence for one in before}
    trades = {one.session_id: one.total_trades for one in before}
    after = await reached(
        demo,
        sessions,
        lambda one: one.last_tick_sequence > ticks[one.session_id] + 100 and one.total_trades > trades[one.session_id],
    )
    assert {one.status for one in after} == {pb.SESSION_STATUS_RUNNING}
    assert pids(folder)["kafka"] != running["kafka"]

    for count in (3, 1):  # the sessions of one that ends go on with the others
        assert await asyncio.to_thread(stack, folder, "scale", str(count)) == f"Workers: {count}.\n"
        assert sum(name.startswith("forward_test") for name in pids(folder)) == count
        newest = max(one.last_tick_sequence for one in after)
        after = await reached(demo, sessions, lambda one, last=newest: one.last_tick_sequence > last)

    stub: Any = demo.forward_test
    for one in after:
        certificate = (
            await stub.VerifyParity(pb.VerifyParityRequest(session_id=one.session_id), timeout=30)
        ).certificate
        assert certificate.verdict == pb.PARITY_VERDICT_IDENTICAL, certificate
    await demo.close()

    last = pids(folder)
    assert await asyncio.to_thread(stack, folder, "down") == "Stopped: the mesh.\n"
    assert not pids(folder)
    assert not [name for name, pid in last.items() if psutil.pid_exists(pid)]
