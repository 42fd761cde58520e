"""What sessions add to REST, through a real Envoy."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from graphs import at_prices
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.forward_test.build import build as build_sessions
from algotrade.market_data.build import build as build_market
from algotrade.platform.channel import open_channel
from algotrade.platform.gateway import Gateway, Upstreams
from algotrade.platform.http import http_server
from algotrade.platform.process import Platform
from algotrade.platform.server import GrpcServer
from algotrade.platform.settings import Settings
from algotrade.platform.tokens import public_keys
from algotrade.strategy.__main__ import build as build_strategy

START = 1_700_000_000 * SECOND


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("BTC-USD", live=False)


async def serving(on: Platform, stack: AsyncExitStack, *builders: Any) -> GrpcServer:
    mounts = [await stack.enter_async_context(build(on)) for build in builders]
    server = GrpcServer(on.settings, on.metrics, on.verifier, mounts)
    await server.start()
    stack.push_async_callback(server.stop)
    return server


@pytest.fixture
async def gateway(platform: Platform, gateway_settings: Settings, feed: ManualFeed) -> AsyncIterator[Gateway]:
    on = replace(platform, settings=gateway_settings.model_copy(update={"checkpoint_seconds": 0}))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(on.revocations.kept_fresh())
        upstream = await serving(on, stack, build_strategy, partial(build_market, feeds=[feed]))
        channel = open_channel(f"127.0.0.1:{upstream.port}")
        stack.push_async_callback(channel.close)
        # One port behind the gateway: strategies are answered there too, by services of their own.
        server = await serving(on, stack, build_strategy, partial(build_sessions, upstream=channel))
        http_port = await stack.enter_async_context(
            http_server(gateway_settings.http_address, on.metrics.registry, public_keys(on.key))
        )
        upstreams = Upstreams.of(gateway_settings, grpc_port=server.port, http_port=http_port)
        yield await stack.enter_async_context(Gateway(gateway_settings, upstreams))


@pytest.fixture
async def rest(gateway: Gateway, open_account: Any, token: Any) -> AsyncIterator[Any]:
    """Return ``await rest(verb, path, body)``: the status and the JSON of the answer."""
    bearer = {"authorization": f"Bearer {token(await open_account())}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}", headers=bearer, timeout=20) as client:

        async def call(verb: str, path: str, body: object = None) -> tuple[int, Any]:
            response = await client.request(verb, path, json=body)
            return response.status_code, response.json()

        yield call


async def test_a_session_from_start_to_deletion(rest: Any, feed: ManualFeed) -> None:
    graph = json.dumps(at_prices(10))
    _, saved = await rest("POST", "/v1/strategies", {"graph": graph})
    settings = {"interval": "tick", "fee_bps": "0"}
    wanted = {"strategy_id": saved["strategy"]["strategy_id"], "symbol": "BTC-USD", "settings": settings}
    _, created = await rest("POST", "/v1/sessions", wanted)
    path = f"/v1/sessions/{created['session']['session_id']}"
    status, refused = await rest("POST", f"{path}:pause", {})
    assert (status, refused["details"][0]["reason"]) == (400, "SESSION_STATUS")
    assert (await rest("POST", f"{path}:start", {}))[0] == 200
    feed.push("BTC-USD", made(*((START + index * SECOND, price * 10**8) for index, price in enumerate((10, 20, 30)))))
    async with asyncio.timeout(20):
        while (await rest("GET", path))[1]["session"].get("last_tick_sequence") != "3":
            pass

    (position,) = (await rest("GET", "/v1/positions?page_size=5"))[1]["positions"]
    assert (position["quantity"], position["unrealized_pnl"], position["side"]) == ("500", "5000", "TRADE_SIDE_LONG")
    _, found = await rest("GET", f"{path}/metrics")
    figures = {one["name"]: one.get("value", "") for one in found["metrics"]}
    assert (figures["net_profit"], figures["closed_trades"], figures["profit_factor"]) == ("5000", "0", "")

    request = {"request_id": str(uuid.uuid4())}
    for verb, body, now in (
        ("pause", request, "PAUSED"),
        ("resume", {}, "RUNNING"),
        ("pause", request, "RUNNING"),
        ("flatten", {}, "RUNNING"),
    ):
        status, answer = await rest("POST", f"{path}:{verb}", body)
        assert (status, answer["session"]["status"]) == (200, f"SESSION_STATUS_{now}")
    status, refused = await rest("POST", f"{path}:pause", {"request_id": "x"})
    assert (status, refused["details"][0]["reason"]) == (400, "FIELD_INVALID")
    assert (await rest("DELETE", path))[0] == 400
    assert (await rest("POST", f"{path}:stop", {"mode": "STOP_MODE_KEEP"}))[0] == 200
    deletion = f"{path}?request_id={uuid.uuid4()}"
    assert await rest("DELETE", deletion) == await rest("DELETE", deletion) == (200, {})
    status, gone = await rest("GET", f"{path}/metrics")
    assert (status, gone["details"][0]["reason"]) == (404, "SESSION_NOT_FOUND")
    assert (await rest("GET", "/v1/positions"))[1].get("positions", []) == []
