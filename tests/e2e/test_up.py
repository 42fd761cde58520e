"""The whole platform as a newcomer starts it: `algotrade up --demo`, twice over one data directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

SERVICES = [
    "AdminService",
    "BacktestService",
    "ForwardTestService",
    "IdentityService",
    "MarketDataService",
    "NotificationService",
    "RealtimeService",
    "StrategyService",
]
ADDRESSES = ("GATEWAY", "GRPC", "HTTP", "ENVOY_ADMIN")


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-up-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def run_demo(folder: Path, seconds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run it to its end; return the detailed health seen from outside meanwhile, and the summary."""
    environment = os.environ | {f"ALGOTRADE_{name}_ADDRESS": "127.0.0.1:0" for name in ADDRESSES}
    command = [sys.executable, "-m", "algotrade.cli", "up", "--demo", "--json", "--seconds", str(seconds)]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["event"] == "ready", first
        health = httpx.get(f"{first['gateway']}/health/detailed", timeout=20).json()
        rest = [json.loads(line) for line in process.stdout]
    assert [line["event"] for line in rest] == ["summary", "stopped"], rest
    assert process.returncode == 0, rest[0]["failures"]
    return health, rest[0]


def by_id(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["session_id"]: one for one in summary["sessions"]}


@pytest.mark.timeout(300)
def test_the_demo_trades_on_both_feeds_and_goes_on_when_started_again(folder):
    health, summary = run_demo(folder, 15)
    assert health["status"] == "HEALTH_STATUS_HEALTHY"
    assert [one["service"].removeprefix("algotrade.v1.") for one in health["services"]] == SERVICES
    assert all(one["dependencies"] for one in health["services"])

    assert summary["ok"]
    assert not summary["failures"]
    first = by_id(summary)
    assert {(one["symbol"], one["feed"]) for one in first.values()} == {
        ("BTC-USD", "synthetic"),
        ("ETH-USD", "synthetic"),
        ("AAPL", "replay"),
    }
    for feed in ("synthetic", "replay"):
        assert sum(one["fills"] for one in first.values() if one["feed"] == feed) > 0
    assert {one["status"] for one in first.values()} == {"RUNNING"}
    assert (folder / ".algotrade" / "demo" / "password").stat().st_mode & 0o777 == 0o600
    assert not list((folder / ".algotrade").glob("**/postmaster.pid"))

    again = by_id(run_demo(folder, 3)[1])
    assert again.keys() == first.keys()
    for session_id, one in again.items():
        assert one["artefact"] == first[session_id]["artefact"]
        assert one["bars"] > first[session_id]["bars"]
        assert one["trades"] >= first[session_id]["trades"]
