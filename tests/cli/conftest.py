from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.answers import Answer, Call
from typer.testing import CliRunner

from algotrade.cli.app import app

# Five days: the strategy of `strategy` decides to buy at the close of the second and to sell at that of the fourth.
DAYS = """timestamp,open,high,low,close,volume
2024-01-01,9,9.5,8.5,9,100
2024-01-02,9,10,9,10,100
2024-01-03,11,11.5,10.5,11,100
2024-01-04,11.5,13,11,12.5,0
2024-01-05,12,12.5,11.5,12,100
"""


@pytest.fixture(scope="session")
async def session_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.fixture(autouse=True)
def loop_of_other_tests(session_loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Set the session's event loop again: a command that runs one of its own leaves none behind."""
    yield
    asyncio.set_event_loop(session_loop)


@pytest.fixture
def call() -> Call:
    """Run a command in this process."""

    def run(*arguments: object) -> Answer:
        result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments])
        assert "Traceback" not in result.stderr
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    path = tmp_path / "bars.csv"
    path.write_text(DAYS)
    return path


@pytest.fixture
def strategy(tmp_path: Path) -> Path:
    """Two pieces bought after a close at 10, sold after a close at the parameter `exit`, by default 12.5."""
    nodes = [
        {"id": "p", "type": "price", "position": {"x": 0, "y": 0}},
        {"id": "in", "type": "compare", "data": {"params": {"op": "==", "value": 10}}},
        {"id": "level", "type": "constant", "data": {"params": {"value": {"param": "exit"}}}},
        {"id": "out", "type": "compare", "data": {"params": {"op": "=="}}},
        {"id": "b", "type": "buy", "data": {"params": {"size_mode": "quantity", "size": 2}}},
        {"id": "x", "type": "sell"},
    ]
    wires = [("p", "in", "a"), ("p", "out", "a"), ("level", "out", "b"), ("in", "b", "when"), ("out", "x", "when")]
    document = {
        "version": 1,
        "name": "Two <b>pieces</b>",
        "parameters": [{"name": "exit", "type": "float", "default": 12.5, "min": 1, "max": 100}],
        "nodes": nodes,
        "edges": [
            {"id": f"e{i}", "source": source, "target": target, "targetHandle": handle}
            for i, (source, target, handle) in enumerate(wires)
        ],
    }
    path = tmp_path / "strategy.json"
    path.write_text(json.dumps(document))
    return path
