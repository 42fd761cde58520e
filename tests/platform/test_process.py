"""A service as its own process: it starts from nothing, serves, stops when told, and goes on where it was."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from algotrade.market_data.replay import read_ticks
from algotrade.platform.channel import open_channel
from algotrade.platform.samples import aapl_daily
from algotrade.platform.tokens import TokenSigner, load_or_create_key
from algotrade.v1.market_data_service_pb2 import GetWindowRequest, StreamTicksRequest
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub


@asynccontextmanager
async def market_data(data_dir: Path, log: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Run the service; yield its ports by event, stop it with SIGTERM, and keep what it logged."""
    environment = {
        **os.environ,
        "ALGOTRADE_DATA_DIR": str(data_dir),
        "ALGOTRADE_GRPC_ADDRESS": "127.0.0.1:0",
        "ALGOTRADE_HTTP_ADDRESS": "127.0.0.1:0",
        "ALGOTRADE_LOG_FORMAT": "json",
        "ALGOTRADE_SHUTDOWN_GRACE_SECONDS": "1",
    }
    command = [sys.executable, "-m", "algotrade.market_data"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    ports: dict[str, Any] = {}
    try:
        async with asyncio.timeout(60):
            while "grpc.started" not in ports:
                line = (await process.stderr.readline()).decode()
                assert line, "the service ended"
                if line.startswith("{") and "port" in (entry := json.loads(line)):
                    ports[entry["event"]] = entry["port"]
        draining = asyncio.create_task(process.stderr.read())
        yield ports
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
            log.extend(json.loads(line) for line in (await draining).splitlines() if line.startswith(b"{"))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def own_dir() -> Any:
    with tempfile.TemporaryDirectory(prefix="at-", ignore_cleanup_errors=True) as path:
        yield Path(path)


async def test_a_service_alone_starts_serves_stops_and_goes_on(own_dir: Path) -> None:
    sequences = []
    log: list[dict[str, Any]] = []
    for _ in range(2):
        async with market_data(own_dir, log) as ports:
            signer = TokenSigner(
                load_or_create_key(own_dir / "keys" / "access-token.pem"), "algotrade", "algotrade-api"
            )
            bearer, _ = signer.access_token("someone", 60)
            async with open_channel(f"127.0.0.1:{ports['grpc.started']}", lambda: bearer) as channel:  # noqa: B023
                stub: Any = MarketDataServiceStub(channel)
                ticks, _ = read_ticks(aapl_daily(own_dir / "samples"))
                async with asyncio.timeout(30):
                    async for message in stub.StreamTicks(StreamTicksRequest(symbol="AAPL", after_sequence=0)):
                        if message.sequence == len(ticks):
                            break
                    live = await stub.StreamTicks(StreamTicksRequest(symbol="BTC-USD", after_sequence=0)).read()
                window = await stub.GetWindow(GetWindowRequest(symbol="AAPL"))
                sequences.append((window.last_sequence, window.epoch, live.ticks.first_sequence))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['http.started']}") as http:
                metrics = (await http.get("/metrics")).text
                [key] = (await http.get("/.well-known/jwks.json")).json()["keys"]
                assert (await http.get("/elsewhere")).status_code == 404
                assert (await http.post("/metrics")).status_code == 405
            counted = 'grpc_method="GetWindow",grpc_service="algotrade.v1.MarketDataService",grpc_type="unary"} 1.0'
            assert f"grpc_server_started_total{{{counted}" in metrics
            assert key["kid"] == signer.key.kid
            assert "d" not in key
    finished = [entry for entry in log if entry["event"] == "rpc.finished" and entry["code"] == "OK"]
    assert {entry["user_id"] for entry in finished} == {"someone"}
    assert all(entry["correlation_id"] and entry["level"] == "info" and entry["timestamp"] for entry in finished)
    assert [entry["event"] for entry in log].count("database.stopped") == 2
    assert bearer not in json.dumps(log), "a token is never logged"
    assert sequences == [(6036, 1, 1), (6036, 1, 1)], "the replay was logged once; the log outlives the process"
