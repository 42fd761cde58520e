"""The whole platform as its operator sees it: one id through log, access log and bus; every dependency; no secret."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from algotrade.platform.database import embedded_server, open_engine
from algotrade.platform.settings import Settings

ADDRESSES = ("GATEWAY", "GRPC", "HTTP", "ENVOY_ADMIN")
CREATED, STOPPED, REFUSED = "e2e-create-and-start", "e2e-stop", "e2e-refused"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EMAIL = "ada@example.com"
PASSWORDS = ("correct horse battery", "another horse battery", "a wrong guess at it")
SAMPLED = {'algotrade_sessions{status="stopped"} 1.0', 'algotrade_sessions{status="running"} 0.0'}  # so may come late
DEPENDENCIES = {
    "BacktestService": {"database", "strategy", "worker"},
    "ForwardTestService": {"database", "market_data", "strategy", "worker"},
    "AdminService": {"database"},
    "IdentityService": {"database"},
    "MarketDataService": {"database", "feeds"},
    "StrategyService": {"database"},
}


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-seen-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def platform(folder: Path, log: list[str]) -> AsyncIterator[dict[str, str]]:
    """Run `algotrade up` over a replay; yield where everything is, and keep what was logged."""
    environment = os.environ | {f"ALGOTRADE_{name}_ADDRESS": "127.0.0.1:0" for name in ADDRESSES}
    environment |= {"ALGOTRADE_LOG_FORMAT": "json", "ALGOTRADE_LOG_LEVEL": "debug", "ALGOTRADE_REPLAY_SPEED": "0"}
    environment["ALGOTRADE_SAMPLE_SECONDS"] = "0.2"
    command = [sys.executable, "-m", "algotrade.cli", "up", "--provider", "replay", "--json"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stderr is not None
    logging = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(120):
            ready = json.loads(await process.stdout.readline())
        yield ready
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        log.extend((await logging).decode().splitlines())


async def use_every_secret(http: httpx.AsyncClient) -> tuple[str, list[str]]:
    """Register, log in, refresh, exchange and fail; return an access token and all that nobody may read."""
    secrets = list(PASSWORDS)

    async def call(path: str, body: dict[str, str], token: str = "") -> dict[str, Any]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer: dict[str, Any] = (await http.post(f"/v1/identity{path}", json=body, headers=headers)).json()
        secrets.extend(answer[name]["token"] for name in ("token", "refresh_token") if name in answer)
        return answer

    await call("/register", {"email": EMAIL, "password": PASSWORDS[0]})
    await call("/login", {"email": EMAIL, "password": PASSWORDS[2]})
    login = await call("/login", {"email": EMAIL, "password": PASSWORDS[0]})
    token = login["token"]["token"]
    key = (await call("/api-keys", {"name": "robot", "request_id": "b7e7c3a1-0000-4000-8000-000000000001"}, token))[
        "secret"
    ]
    secrets.append(key)
    await call("/api-keys:exchange", {"secret": key})
    await call("/api-keys:exchange", {"secret": key[:-1] + "x"})
    await call("/refresh", {"refresh_token": login["refresh_token"]["token"]})
    await call("/refresh", {"refresh_token": login["refresh_token"]["token"]})  # used before: ends the login
    again = await call("/login", {"email": EMAIL, "password": PASSWORDS[0]})
    changed = {"current_password": PASSWORDS[0], "new_password": PASSWORDS[1]}
    await call("/password", changed | {"current_password": PASSWORDS[2]}, again["token"]["token"])
    await call("/password", changed, again["token"]["token"])
    last = await call("/login", {"email": EMAIL, "password": PASSWORDS[1]})
    assert await call("/refresh", {"refresh_token": "x" * 5000, "odd": PASSWORDS[1]})
    assert len({secret for secret in secrets if secret}) >= 10
    return last["token"]["token"], secrets


async def trade(http: httpx.AsyncClient, token: str) -> str:
    """Run a session over the replay, under one id until it is stopped under another; return its id."""
    bearer = {"authorization": f"Bearer {token}"}
    graph = (files("algotrade.strategy") / "templates" / "sma_cross.json").read_text()
    saved = (await http.post("/v1/strategies", json={"graph": graph}, headers=bearer)).json()
    wanted = {
        "strategy_id": saved["strategy"]["strategy_id"],
        "symbol": "AAPL",
        "settings": {"interval": "native"},
        "parameters": {"fast": "2", "slow": "3"},
    }
    named = bearer | {"x-request-id": CREATED, "traceparent": TRACE}
    created = await http.post("/v1/sessions", json=wanted, headers=named)
    assert created.status_code == 200, created.text
    path = f"/v1/sessions/{created.json()['session']['session_id']}"
    started = await http.post(f"{path}:start", json={}, headers=named)
    assert started.headers["x-correlation-id"] == started.headers["x-request-id"] == CREATED
    async with asyncio.timeout(60):
        while (await http.get(path, headers=bearer)).json()["session"]["total_trades"] < 3:
            pass
    refused = await http.post(f"{path}:start", json={"request_id": "x"}, headers=bearer | {"x-correlation-id": REFUSED})
    assert [one["request_id"] for one in refused.json()["details"] if "request_id" in one] == [REFUSED]
    stop = {"mode": "STOP_MODE_KEEP"}
    assert (await http.post(f"{path}:stop", json=stop, headers=bearer | {"x-correlation-id": STOPPED})).is_success
    return path.rpartition("/")[2]


async def bus_records(folder: Path, session_id: str) -> list[tuple[str, dict[str, str]]]:
    """Return topic and headers of every record about a session, in the order of writing."""
    query = text('SELECT topic, headers FROM bus_log WHERE key = :key ORDER BY topic, "offset"')
    async with (
        embedded_server(folder / ".algotrade" / "postgres") as url,
        open_engine(url, Settings()) as engine,
        engine.connect() as connection,
    ):
        return [(row.topic, row.headers) for row in await connection.execute(query, {"key": session_id})]


def unseen(metrics: str) -> set[str]:
    """Return what should stand in the metrics after all this and does not: lines, or names of what is above nought."""
    lines = metrics.splitlines()
    exact = SAMPLED | {
        'algotrade_backtests{state="queued"} 0.0',
        'algotrade_worker_lag_records{partition="0"} 0.0',
        'algotrade_dependency_up{dependency="worker",service="algotrade.v1.ForwardTestService"} 1.0',
        "algotrade_database_pool_size 10.0",
        'algotrade_artefact_reads_total{result="miss"} 1.0',
    }
    moved = {
        'grpc_server_handled_total{grpc_code="OK",grpc_method="Login"',
        'grpc_server_handled_total{grpc_code="UNAUTHENTICATED",grpc_method="Login"',
        'grpc_server_handling_seconds_count{grpc_method="CreateSession"',
        'grpc_server_msg_received_total{grpc_method="CreateSession"',
        'grpc_server_msg_sent_total{grpc_method="CreateSession"',
        'algotrade_bus_append_seconds_count{topic="market-data-updates"}',
        'algotrade_bus_append_seconds_count{topic="trade-executions"}',
        'algotrade_bus_publish_seconds_count{topic="user-notifications"}',
        'algotrade_bus_reads_total{source="table",topic="market-data-updates"}',
        'algotrade_bus_read_seconds_count{topic="market-data-updates"}',
        'algotrade_market_ticks_total{symbol="AAPL"}',
        "algotrade_session_step_seconds_count",
        "algotrade_session_commit_seconds_count",
        "algotrade_database_checkout_seconds_count",
        "process_resident_memory_bytes",
    }
    still = {name for name in moved if not any(one.startswith(name) and one.split()[-1] != "0.0" for one in lines)}
    return still | exact.difference(lines)


def check_health(found: dict[str, Any]) -> None:
    assert found["status"] == "HEALTH_STATUS_HEALTHY", found
    names = {
        one["service"].removeprefix("algotrade.v1."): {dependency["name"] for dependency in one["dependencies"]}
        for one in found["services"]
    }
    assert names.items() >= DEPENDENCIES.items()
    assert all(one["dependencies"] for one in found["services"])


def check_log(lines: list[str], session_id: str) -> None:
    """Each call has one line; whatever speaks of the session says which call was the cause."""
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    ends = [entry for entry in entries if entry["event"] == "rpc.finished"]
    assert all(entry.keys() >= {"service", "method", "code", "ms", "level", "correlation_id"} for entry in ends)
    caused = {(one["service"].rpartition(".")[2], one["method"]) for one in ends if one["correlation_id"] == CREATED}
    assert caused >= {
        ("ForwardTestService", "CreateSession"),
        ("ForwardTestService", "StartSession"),
        ("StrategyService", "GetStrategy"),
        ("StrategyService", "GetArtefact"),
        ("MarketDataService", "ListSymbols"),
    }
    assert len([one for one in ends if (one["correlation_id"], one["method"]) == (CREATED, "CreateSession")]) == 1
    about = [entry for entry in entries if entry.get("session_id") == session_id]
    assert {entry["event"] for entry in about} >= {"command.applied", "session.ended"}
    assert {entry.get("correlation_id") for entry in about} == {CREATED, STOPPED}
    [refused] = [one for one in ends if one["correlation_id"] == REFUSED]
    assert (refused["code"], refused["reason"], refused["level"]) == ("INVALID_ARGUMENT", "FIELD_INVALID", "info")


@pytest.mark.timeout(300)
async def test_one_id_through_everything_and_no_secret_anywhere(folder):
    log: list[str] = []
    async with platform(folder, log) as at, httpx.AsyncClient(base_url=at["gateway"], timeout=60) as http:
        check_health((await http.get("/health/detailed")).json())
        token, secrets = await use_every_secret(http)
        session_id = await trade(http, token)
        async with asyncio.timeout(30):
            while missing := unseen((await http.get(at["metrics"])).text):
                assert missing <= SAMPLED, missing
        assert "envoy_http_downstream_rq_total" in (await http.get(f"{at['envoy_admin']}/stats/prometheus")).text

    check_log(log, session_id)
    records = await bus_records(folder, session_id)
    topics = {topic for topic, _ in records}
    assert topics >= {"forward-test-events", "trade-executions", "portfolio-updates"}
    assert {headers.get("correlation-id") for _, headers in records} == {CREATED, STOPPED}
    for topic in topics - {"forward-test-events"}:
        assert {headers["correlation-id"] for name, headers in records if name == topic} == {CREATED}
    assert [headers["traceparent"] for _, headers in records if "traceparent" in headers] == [TRACE]

    gateway = folder / ".algotrade" / "gateway"
    access = [json.loads(line) for line in (gateway / "access.log").read_text().splitlines()]
    named = [line["path"] for line in access if line["correlation_id"] == CREATED]
    assert sorted(named) == ["/v1/sessions", f"/v1/sessions/{session_id}:start"]

    everything = "\n".join([*log, (gateway / "access.log").read_text(), (gateway / "envoy.log").read_text()])
    assert EMAIL not in everything
    assert [secret[:6] for secret in secrets if secret in everything] == []
