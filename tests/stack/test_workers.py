"""As many workers as are wanted, kept running; and everybody knows where they may be."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from algotrade.cli.stack import MOST_WORKERS
from algotrade.platform.gateway.render import Upstreams, render
from algotrade.platform.settings import Settings
from algotrade.platform.topics import FORWARD_TEST_EVENTS
from algotrade.stack.mesh import WORKERS
from algotrade.stack.process import Server
from algotrade.stack.workers import Workers

WAITS = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_there_may_be_as_many_as_there_are_shards() -> None:
    assert MOST_WORKERS == len(WORKERS) == FORWARD_TEST_EVENTS.partitions


def test_the_gateway_looks_after_each_of_them(tmp_path: Path) -> None:
    settings = Settings(forward_test_address="127.0.0.1:5001,127.0.0.1:5002", strategy_address="127.0.0.1:5003")
    rendered = render(settings, Upstreams.of(settings), tmp_path / "api", tmp_path / "log")
    clusters = {name: rest for name, _, rest in (one.partition("\n") for one in rendered.split("\n  - name: "))}
    ports = {name: list(map(int, re.findall(r"port_value: (\d+)", rest))) for name, rest in clusters.items()}
    assert (ports["forward_test"], ports["strategy"]) == ([5001, 5002], [5003])
    for wrong in ("127.0.0.1:5001,", "127.0.0.1:5001;127.0.0.1:5002", "127.0.0.1:5001,elsewhere:5002"):
        with pytest.raises(ValidationError):
            Settings(forward_test_address=wrong)


async def test_more_and_fewer_of_them_run_and_one_that_ends_is_started_again(tmp_path: Path) -> None:
    async def ready() -> bool:
        return True

    workers = Workers([Server(f"worker-{number}", WAITS, tmp_path, ready) for number in range(3)])
    await workers.scale(1)
    async with workers.kept(), asyncio.timeout(60):
        await workers.scale(3)
        first, second, third = (server.pid for server in workers.running)
        os.kill(second, signal.SIGKILL)
        while True:
            await asyncio.sleep(0.02)
            if not psutil.pid_exists(second) and workers.running[1].is_running:
                break
        await workers.scale(1)
        assert [server.pid for server in workers.running] == [first]
        assert not psutil.pid_exists(third)
        with pytest.raises(ValueError, match="up to 3 workers"):
            await workers.scale(4)
    await workers.scale(0)
    assert not psutil.pid_exists(first)
