"""What strategies and markets add to REST, through a real Envoy, and a stream of bars in gRPC."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from graphs import sma_cross
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.market_data.build import build as build_market
from algotrade.platform.gateway import Gateway, Upstreams
from algotrade.platform.http import http_server
from algotrade.platform.process import Platform
from algotrade.platform.server import GrpcServer
from algotrade.platform.settings import Settings
from algotrade.platform.tokens import public_keys
from algotrade.strategy.__main__ import build as build_strategy
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

START = 1_700_000_000 * SECOND
GRAPH, OTHER = json.dumps(sma_cross(3, 7)), json.dumps(sma_cross(4, 9))


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("BTC-USD", live=False)


@pytest.fixture
async def gateway(platform: Platform, gateway_settings: Settings, feed: ManualFeed) -> AsyncIterator[Gateway]:
    on = replace(platform, settings=gateway_settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(on.revocations.kept_fresh())
        builders = [build_strategy, partial(build_market, feeds=[feed])]
        mounts = [await stack.enter_async_context(build(on)) for build in builders]
        server = GrpcServer(gateway_settings, on.metrics, on.verifier, mounts)
        await server.start()
        stack.push_async_callback(server.stop)
        http_port = await stack.enter_async_context(
            http_server(gateway_settings.http_address, on.metrics.registry, public_keys(on.key))
        )
        upstreams = Upstreams.of(gateway_settings, grpc_port=server.port, http_port=http_port)
        yield await stack.enter_async_context(Gateway(gateway_settings, upstreams))


@pytest.fixture
async def bearer(open_account: Any, token: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {token(await open_account())}"}


@pytest.fixture
async def rest(gateway: Gateway, bearer: dict[str, str]) -> AsyncIterator[Any]:
    """Return ``await rest(verb, path, body)``: the status and the JSON of the answer."""
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}", headers=bearer, timeout=20) as client:

        async def call(verb: str, path: str, body: object = None) -> tuple[int, Any]:
            response = await client.request(verb, path, json=body)
            return response.status_code, response.json()

        yield call


async def test_a_strategy_from_template_to_deletion(rest: Any) -> None:
    status, listed = await rest("GET", "/v1/strategy-templates")
    assert (status, len(listed["templates"]) >= 8) == (200, True)
    _, created = await rest("POST", "/v1/strategies", {"graph": listed["templates"][0]["graph"]})
    path = f"/v1/strategies/{created['strategy']['strategy_id']}"
    request = {"request_id": str(uuid.uuid4()), "update_mask": "graph,name", "graph": GRAPH, "name": "Mine"}
    status, updated = await rest("PATCH", path, request)
    assert (status, updated["strategy"]["version"], updated["strategy"]["name"]) == (200, 2, "Mine")
    assert await rest("PATCH", path, request) == (200, updated)
    status, refused = await rest("PATCH", path, request | {"graph": OTHER})
    assert (status, refused["details"][0]["reason"]) == (409, "REQUEST_ID_REUSED")
    status, refused = await rest("PATCH", path, {"update_mask": "version"})
    assert (status, refused["details"][0]["reason"]) == (400, "FIELD_INVALID")
    _, versions = await rest("GET", f"{path}/versions?page_size=1")
    assert [one["version"] for one in versions["versions"]] == [2]
    _, older = await rest("GET", f"{path}/versions?page_size=1&page_token={versions['next_page_token']}")
    assert [one["version"] for one in older["versions"]] == [1]
    _, first = await rest("GET", f"{path}?version=1")
    assert first["strategy"]["graph"] == listed["templates"][0]["graph"]
    _, answer = await rest("POST", "/v1/strategies:testRun", {"graph": GRAPH, "seed": "3", "bars": 200})
    assert (answer["run"]["bars"], answer["run"]["artefact_hash"]) == (200, updated["strategy"]["artefact_hash"])
    assert (await rest("DELETE", path))[0] == 200
    status, gone = await rest("GET", path)
    assert (status, gone["details"][0]["reason"]) == (404, "STRATEGY_NOT_FOUND")


async def test_subscriptions_windows_and_bars(rest: Any, feed: ManualFeed) -> None:
    status, made_one = await rest("POST", "/v1/subscriptions", {"symbol": "BTC-USD"})
    assert (status, made_one["subscription"]["subscribers"]) == (200, 1)
    assert [one["symbol"] for one in (await rest("GET", "/v1/subscriptions"))[1]["subscriptions"]] == ["BTC-USD"]
    assert (await rest("DELETE", "/v1/subscriptions/BTC-USD"))[0] == 200
    assert (await rest("GET", "/v1/subscriptions"))[1].get("subscriptions", []) == []
    assert await rest("PATCH", "/v1/symbols/BTC-USD/window", {"ticks": 20_000}) == (200, {"ticks": 20_000})
    feed.push("BTC-USD", made(*((START + number * SECOND // 2, 10**8 + number, 0.5) for number in range(20))))
    path = "/v1/symbols/BTC-USD/bars?interval=5s"
    async with asyncio.timeout(20):
        while len((found := (await rest("GET", path))[1]).get("bars", [])) < 2:
            pass
    first, last = found["bars"]
    assert (first["open"], first["close"], first["volume"], first["complete"]) == ("1", "1.00000009", 5.0, True)
    assert last.get("complete", False) is False
    assert (await rest("GET", f"{path}&after_time={first['start_time']}"))[1]["bars"] == [last]
    status, refused = await rest("GET", "/v1/symbols/BTC-USD/bars?interval=2m")
    assert (status, refused["details"][0]["reason"]) == (400, "FIELD_INVALID")


async def test_bars_stream_through_the_gateway(gateway: Gateway, bearer: dict[str, str], feed: ManualFeed) -> None:
    feed.push("BTC-USD", made(*((START + number * SECOND, number + 1) for number in range(10))))
    async with grpc.aio.insecure_channel(gateway.address) as channel, asyncio.timeout(20):
        request = market.StreamBarsRequest(symbol="BTC-USD", interval="1s")
        request.after_time.FromSeconds(0)
        call = MarketDataServiceStub(channel).StreamBars(request, metadata=list(bearer.items()))
        closes: list[str] = []
        while len(closes) < 9:
            closes += [bar.close for bar in (await call.read()).bars.bars]
        assert closes == [f"0.0000000{number}" for number in range(1, 10)]
    headers = bearer | {"accept": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}", headers=headers, timeout=20) as client:
        path = "/v1/symbols/BTC-USD/bars:stream?interval=1s&after_time=1970-01-01T00:00:00Z"
        async with client.stream("GET", path) as response:
            assert response.status_code == 200
            async for text in response.aiter_text():
                if '"0.00000009"' in text:
                    break
            else:
                raise AssertionError("the bars never came")
