"""A Coinbase of our own on this machine: the Exchange feed, Advanced Trade and REST on one port, and their faults.

It keeps every trade that happens, told or not, so that REST knows what the feed has missed. Trades are told when a
test says so; nothing happens by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from algotrade.platform.clock import SystemClock, utc

Told = dict[str, Any]
PAGE = 1000


def now_text() -> str:
    return utc(SystemClock().now_ns()).isoformat().replace("+00:00", "Z")


class FakeCoinbase:
    """Open it with ``async with``; `ws_url` and `rest_url` are where it is."""

    def __init__(self, api: str = "exchange", page: int = PAGE) -> None:
        self.api = api
        self.page = page
        self.trades: dict[str, list[Told]] = {}
        self.handshakes: deque[int] = deque()  # statuses that the next handshakes are answered with
        self.answers: deque[int] = deque()  # … and the next requests over REST
        self.asked: list[Told] = []  # what clients sent
        self.requests: list[str] = []  # paths asked for over REST
        self.tries = 0
        self.open: list[ServerConnection] = []
        self.candles: dict[str, list[list[float]]] = {}
        self._sequence = 0
        self._changed = asyncio.Event()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._talk,
            "127.0.0.1",
            0,
            process_request=self._request,
            compression=None,
            ping_interval=None,
            close_timeout=0.2,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.open:
            connection.transport.abort()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at whenever anything happens here."""
        async with asyncio.timeout(20):
            while not true():
                await self._changed.wait()

    async def subscribed(self, times: int = 1) -> None:
        """Wait until clients have asked for trades so often in all."""
        await self.until(
            lambda: sum(frame["type"] == "subscribe" and _for_trades(frame) for frame in self.asked) >= times
        )

    # What happens

    def happen(self, product: str, price: str = "100", size: str = "0.5", maker: str = "sell", **more: Any) -> Told:
        """Let a trade happen that nobody is told of yet."""
        made = self.trades.setdefault(product, [])
        number = made[-1]["trade_id"] + 1 if made else 1001
        trade = {"trade_id": number, "price": price, "size": size, "side": maker, "time": now_text()} | more
        made.append(trade)
        return trade

    async def trade(self, product: str, *args: str, **more: Any) -> int:
        """Let a trade happen and tell of it; return its number."""
        trade = self.happen(product, *args, **more)
        await self.tell(product, trade)
        return int(trade["trade_id"])

    async def tell(self, product: str, *trades: Told) -> None:
        """Tell everyone of trades: a frame each, or all in one, newest first, as the API has it."""
        if self.api == "exchange":
            for trade in trades:
                await self.send({"type": "match", "product_id": product, **trade})
        else:
            await self.send(self._advanced("update", product, trades))

    async def beat(self, product: str) -> None:
        """Send a heartbeat."""
        if self.api == "exchange":
            last = self.trades[product][-1]["trade_id"] if self.trades.get(product) else 0
            beat = {
                "type": "heartbeat",
                "product_id": product,
                "last_trade_id": last,
                "sequence": 9,
                "time": now_text(),
            }
        else:
            said = [{"current_time": "2026-08-09 21:05:48.8 +0000 UTC m=+41.2", "heartbeat_counter": 7}]
            beat = {"channel": "heartbeats", "timestamp": now_text(), "events": said}
        await self.send(beat)

    async def send(self, frame: Told | str) -> None:
        """Send a frame to everyone as it is."""
        for connection in list(self.open):
            try:
                await connection.send(self._numbered(frame) if isinstance(frame, dict) else frame)
            except ConnectionClosed:
                continue

    def lose_a_frame(self) -> None:
        """Number the next frame as if one before it had been sent."""
        self._sequence += 1

    async def cut(self) -> None:
        """Break every connection in the middle of a frame."""
        for connection in list(self.open):
            connection.transport.write(b"\x81\x7e\x01\x00" + b'{"type":"match","product_id":"BT')
            connection.transport.abort()
        await self.until(lambda: not self.open)

    async def close(self, code: int = 1000) -> None:
        """End every connection politely."""
        for connection in list(self.open):
            await connection.close(code)
        await self.until(lambda: not self.open)

    # How it answers

    async def _talk(self, connection: ServerConnection) -> None:
        self.open.append(connection)
        self._sequence = 0
        self._change()
        try:
            async for text in connection:
                frame = json.loads(text)
                if frame["type"] == "subscribe" and _for_trades(frame):
                    for product in frame["product_ids"]:
                        await self._greet(connection, product)
                await connection.send(
                    self._numbered({"type": "subscriptions", "channel": "subscriptions", "events": []})
                )
                self.asked.append(frame)
                self._change()
        except ConnectionClosed:
            pass
        finally:
            self.open.remove(connection)
            self._change()

    async def _greet(self, connection: ServerConnection, product: str) -> None:
        """Tell of the past, as the venue does before it confirms anything."""
        past = self.trades.get(product, [])
        if self.api == "advanced":
            await connection.send(self._numbered(self._advanced("snapshot", product, past[-100:])))
        elif past:
            await connection.send(self._numbered({"type": "last_match", "product_id": product, **past[-1]}))

    def _advanced(self, kind: str, product: str, trades: Any) -> Told:
        told = [
            {**trade, "trade_id": str(trade["trade_id"]), "product_id": product, "side": trade["side"].upper()}
            for trade in reversed(trades)
        ]
        return {"channel": "market_trades", "timestamp": now_text(), "events": [{"type": kind, "trades": told}]}

    def _numbered(self, frame: Told) -> str:
        if self.api == "advanced":
            frame = frame | {"sequence_num": self._sequence}
            self._sequence += 1
        return json.dumps(frame)

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            self.tries += 1
            self._change()
            return self._refusal(connection, self.handshakes)
        self.requests.append(request.path)
        self._change()
        return self._refusal(connection, self.answers) or self._rest(connection, request.path)

    def _refusal(self, connection: ServerConnection, statuses: deque[int]) -> Response | None:
        if not statuses:
            return None
        status = statuses.popleft()
        if status == HTTPStatus.OK:
            return None
        response = connection.respond(HTTPStatus(status), "{}")
        response.headers["Retry-After"] = "0"
        return response

    def _rest(self, connection: ServerConnection, path: str) -> Response:
        parts = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        names = parts.path.strip("/").split("/")
        product = names[names.index("products") + 1]
        past = list(reversed(self.trades.get(product, [])))
        count = min(int(asked.get("limit", 100)), self.page)
        if names[-1] == "trades":
            page = [one for one in past if one["trade_id"] < int(asked.get("after", 2**62))]
            return connection.respond(HTTPStatus.OK, json.dumps(page[:count]))
        if names[-1] == "candles":
            return connection.respond(HTTPStatus.OK, json.dumps(self._candles(product, asked)))
        end = float(asked.get("end", 2**62))
        page = [one for one in past if datetime.fromisoformat(one["time"]).timestamp() < end][:count]
        told = [{**one, "trade_id": str(one["trade_id"]), "side": one["side"].upper()} for one in page]
        return connection.respond(HTTPStatus.OK, json.dumps({"trades": told, "best_bid": "1", "best_ask": "2"}))

    def _candles(self, product: str, asked: dict[str, str]) -> list[list[float]]:
        """Newest first, ``end`` included, one more than was asked for, as the venue does; 300 at most."""
        start, end = (datetime.fromisoformat(asked[name]).timestamp() for name in ("start", "end"))
        step = int(asked["granularity"])
        assert (end - start) / step < 300, "the venue refuses more"
        return [row for row in reversed(self.candles.get(product, [])) if start - step <= row[0] <= end]

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _for_trades(frame: Told) -> bool:
    return frame.get("channel") == "market_trades" or "matches" in frame.get("channels", ())
