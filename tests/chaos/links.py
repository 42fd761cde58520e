"""Links between processes that can be slow, silent or closed: toxiproxy, steered over its API."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from algotrade.stack.process import Server, accepts, free_ports, running

LATENCY_MS: Final = 150
JITTER_MS: Final = 100
SILENT_MS: Final = 1_000


class Links:
    """Links by name; made by `open_links`."""

    def __init__(self, client: httpx.AsyncClient, ports: Mapping[str, int]) -> None:
        """Take the API, and where each link listens."""
        self.ports = ports
        self._client = client

    async def slow(self, name: str) -> None:
        """Have everything that is answered on a link take longer."""
        await self._add(name, type="latency", attributes={"latency": LATENCY_MS, "jitter": JITTER_MS})

    async def silent(self, name: str) -> None:
        """Have a link carry nothing any more, and close its connections after a while."""
        await self._add(name, type="timeout", attributes={"timeout": SILENT_MS})

    async def close(self, name: str) -> None:
        """Close a link's connections, and take no others."""
        await self._post(f"/proxies/{name}", enabled=False)

    async def heal(self) -> None:
        """Have every link as it should be."""
        await self._post("/reset")

    async def _add(self, name: str, **toxic: Any) -> None:
        await self._post(f"/proxies/{name}/toxics", stream="downstream", **toxic)

    async def _post(self, path: str, **body: Any) -> None:
        (await self._client.post(path, json=body)).raise_for_status()


@asynccontextmanager
async def open_links(directory: Path, ends: Mapping[str, int]) -> AsyncIterator[Links]:
    """Run toxiproxy with a link to each port of 127.0.0.1 {name: port}."""
    program = shutil.which("toxiproxy-server", path=Path(sys.executable).parent)
    assert program, "`make clients` builds toxiproxy"
    api, *listening = free_ports(1 + len(ends))
    command = [program, "-host", "127.0.0.1", "-port", str(api)]
    async with (
        running(Server("toxiproxy", command, directory, partial(accepts, api))),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{api}") as client,
    ):
        links = Links(client, dict(zip(ends, listening, strict=True)))
        for name, port in links.ports.items():
            both = {"listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{ends[name]}"}
            (await client.post("/proxies", json={"name": name, "enabled": True, **both})).raise_for_status()
        yield links
