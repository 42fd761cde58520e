"""`algotrade up --provider coinbase` against a venue of our own: a session trades on it over a broken connection."""

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
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from market_data.venues.fake_coinbase import FakeCoinbase

from algotrade.platform.channel import open_channel
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub

ADDRESSES = ("GATEWAY", "GRPC", "HTTP", "ENVOY_ADMIN")
SYMBOL = "BTC-USD"
PRICES = (100, 99, 98, 99, 101, 103, 104, 102)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-venue-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def up(folder: Path, venue: FakeCoinbase) -> AsyncIterator[dict[str, str]]:
    environment = os.environ | {f"ALGOTRADE_{name}_ADDRESS": "127.0.0.1:0" for name in ADDRESSES}
    environment |= {
        "ALGOTRADE_COINBASE_WS_URL": venue.ws_url,
        "ALGOTRADE_COINBASE_REST_URL": venue.rest_url,
        "ALGOTRADE_VENUE_BACKOFF_SECONDS": "0.05",
        "ALGOTRADE_MARKER_GRACE_SECONDS": "0.1",
    }
    command = [sys.executable, "-m", "algotrade.cli", "up", "--provider", "coinbase", "--symbols", SYMBOL, "--json"]
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(120):
                yield json.loads(await process.stdout.readline())
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await process.wait() == 0, (folder / "log").read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def market(venue: FakeCoinbase) -> None:
    """Let trades happen fifty times a second, for ever, whoever listens; and a heartbeat after every tenth."""
    for number in count():
        price = str(PRICES[number % len(PRICES)])
        await venue.trade(SYMBOL, price, "0.25", "buy" if number % 2 else "sell")
        if number % 10 == 0:
            await venue.beat(SYMBOL)
        await asyncio.sleep(0.02)


async def trading(http: httpx.AsyncClient) -> str:
    """Start a session that trades every few ticks; return its id."""
    graph = (files("algotrade.strategy") / "templates" / "sma_cross.json").read_text()
    saved = (await http.post("/v1/strategies", json={"graph": graph})).json()
    wanted = {
        "strategy_id": saved["strategy"]["strategy_id"],
        "symbol": SYMBOL,
        "settings": {"interval": "tick"},
        "parameters": {"fast": "2", "slow": "3"},
    }
    created = await http.post("/v1/sessions", json=wanted)
    assert created.status_code == 200, created.text
    session_id: str = created.json()["session"]["session_id"]
    assert (await http.post(f"/v1/sessions/{session_id}:start", json={})).is_success
    return session_id


async def trades_of(http: httpx.AsyncClient, session_id: str) -> int:
    return int((await http.get(f"/v1/sessions/{session_id}")).json()["session"]["total_trades"])


async def more_trades(http: httpx.AsyncClient, session_id: str, count: int = 2) -> None:
    wanted = await trades_of(http, session_id) + count
    async with asyncio.timeout(60):
        while await trades_of(http, session_id) < wanted:
            pass


async def feed_events(ready: dict[str, str], token: str, session_id: str, last: str) -> list[str]:
    """Read a session's events until the feed is said to be something; return all that was said of it."""
    channel = open_channel(ready["gateway"].removeprefix("http://"), lambda: token)
    told: list[str] = []
    try:
        stub: Any = ForwardTestServiceStub(channel)
        async with asyncio.timeout(60):
            async for one in stub.StreamSession(pb.StreamSessionRequest(session_id=session_id, after_sequence=0)):
                if one.HasField("event") and one.event.kind == pb.SESSION_EVENT_KIND_FEED:
                    told.append(one.event.reason)
                    if told[-1] == last and len(told) > 1:
                        return told
    finally:
        await channel.close()
    raise AssertionError(told)


@pytest.mark.timeout(300)
async def test_a_session_trades_on_a_venue_and_outlives_its_faults(folder: Path) -> None:
    async with FakeCoinbase() as venue:
        for price in PRICES:
            venue.happen(SYMBOL, str(price))  # the past: it becomes no tick
        past = len(PRICES)
        async with up(folder, venue) as ready, httpx.AsyncClient(base_url=ready["gateway"], timeout=20) as http:
            await venue.subscribed()
            telling = asyncio.create_task(market(venue))
            try:
                await judge(venue, ready, http, past)
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
        missed = [venue.happen(SYMBOL, str(price)) for price in PRICES]
        async with up(folder, venue) as ready, httpx.AsyncClient(base_url=ready["gateway"], timeout=20) as http:
            await log_in(http, "login")
            await lived_through_a_restart(venue, http, past, len(missed))


async def log_in(http: httpx.AsyncClient, how: str) -> str:
    who = {"email": "ada@example.com", "password": "correct horse battery"}
    token: str = (await http.post(f"/v1/identity/{how}", json=who)).json()["token"]["token"]
    http.headers["authorization"] = f"Bearer {token}"
    return token


async def lived_through_a_restart(venue: FakeCoinbase, http: httpx.AsyncClient, past: int, missed: int) -> None:
    """See that what happened while nobody listened is in the log, and that the session goes on."""
    async with asyncio.timeout(60):
        while (await http.get("/v1/symbols")).json()["symbols"][0]["feed_state"] != "FEED_STATE_LIVE":
            pass
    ticks = await traded(http)
    assert [tick["price"] for tick in ticks] == [trade["price"] for trade in venue.trades[SYMBOL][past:]]
    assert len(ticks) > missed
    [session] = (await http.get("/v1/sessions")).json()["sessions"]
    assert session["status"] == "SESSION_STATUS_RUNNING"


async def traded(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return the ticks of the window that are trades."""
    window = (await http.get(f"/v1/symbols/{SYMBOL}/window", params={"limit": 10_000})).json()["ticks"]
    return [tick for tick in window if not tick.get("marker")]


async def judge(venue: FakeCoinbase, ready: dict[str, str], http: httpx.AsyncClient, past: int) -> None:
    token = await log_in(http, "register")
    session_id = await trading(http)
    await more_trades(http, session_id)

    venue.handshakes += [503, 429]
    await venue.cut()
    assert await feed_events(ready, token, session_id, "live") == ["gap", "live"]
    await more_trades(http, session_id)

    [symbol] = (await http.get("/v1/symbols")).json()["symbols"]
    assert (symbol["provider"], symbol["feed_state"]) == ("coinbase", "FEED_STATE_LIVE")
    async with asyncio.timeout(30):  # it looks once a second, and may have looked while the venue was away
        while (await http.get("/health/detailed")).json()["status"] != "HEALTH_STATUS_HEALTHY":
            pass
    metrics = (await http.get(ready["metrics"])).text
    assert 'algotrade_venue_connected{venue="coinbase"} 1.0' in metrics
    assert 'algotrade_venue_events_total{event="lost"' not in metrics

    ticks = await traded(http)
    told = venue.trades[SYMBOL][past : past + len(ticks)]
    assert [(tick["price"], tick["aggressor"]) for tick in ticks] == [
        (trade["price"], "AGGRESSOR_SELLER" if trade["side"] == "buy" else "AGGRESSOR_BUYER") for trade in told
    ], "every trade once, in order, the missed ones among them"
    parity = (await http.get(f"/v1/sessions/{session_id}/parity")).json()
    assert parity["certificate"]["verdict"] == "PARITY_VERDICT_IDENTICAL", parity
