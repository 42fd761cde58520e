"""A Finnhub of our own: one connection a key, a frame a symbol, and nothing that happens by itself."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "a-key-of-our-own"


class FakeFinnhub:
    """Open it with ``async with``; `ws_url` is where it is."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.tries = 0
        self.statuses: deque[int] = deque()
        self.open: list[ServerConnection] = []
        self._changed = asyncio.Event()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(self._talk, "127.0.0.1", 0, process_request=self._request, close_timeout=0.2)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        for connection in self.open:
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    @property
    def ws_url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await self._changed.wait()

    async def send(self, frame: Any) -> None:
        for connection in list(self.open):
            await connection.send(json.dumps(frame))

    async def trades(self, *rows: tuple[str, float, int, float]) -> None:
        """Send one frame of (symbol, price, time in ms, volume)."""
        await self.send({"type": "trade", "data": [{"s": s, "p": p, "t": t, "v": v, "c": None} for s, p, t, v in rows]})

    async def _talk(self, connection: ServerConnection) -> None:
        if self.open:
            await connection.close(1008, "one connection a key")
            return
        self.open.append(connection)
        try:
            async for text in connection:
                self.asked.append(json.loads(text))
                self._change()
        except ConnectionClosed:
            pass
        finally:
            self.open.remove(connection)
            self._change()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.tries += 1
        self._change()
        if self.statuses:
            return connection.respond(HTTPStatus(self.statuses.popleft()), "")
        if parse_qs(urlsplit(request.path).query).get("token") != [KEY]:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        return None

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
