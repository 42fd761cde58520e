"""Inbox, channels, rules and screens over REST, through a real Envoy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from graphs import at_prices
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.cli.serve import fixed_addresses
from algotrade.forward_test.build import build as build_sessions
from algotrade.market_data.build import build as build_market
from algotrade.notification.build import build
from algotrade.notification.build_realtime import build_realtime
from algotrade.platform.gateway import Gateway, Upstreams
from algotrade.platform.process import Platform, serving
from algotrade.platform.settings import Settings
from algotrade.strategy.__main__ import build as build_strategy

START = 1_700_000_000 * SECOND
PATIENCE = 30


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed("BTC-USD", live=False)


@pytest.fixture
async def gateway(platform: Platform, gateway_settings: Settings, feed: ManualFeed) -> AsyncIterator[Gateway]:
    settings = gateway_settings.model_copy(update={"checkpoint_seconds": 0, "database_pool_size": 8})
    on = replace(platform, settings=fixed_addresses(settings))
    builders = (build_strategy, partial(build_market, feeds=[feed]), build_sessions, build, build_realtime)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(on, builders))
        yield await stack.enter_async_context(Gateway(on.settings, Upstreams.of(on.settings)))


@pytest.fixture
async def http(gateway: Gateway, open_account: Any, token: Any) -> AsyncIterator[httpx.AsyncClient]:
    bearer = {"authorization": f"Bearer {token(await open_account())}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}", headers=bearer, timeout=20) as client:
        yield client


async def test_a_fill_reaches_inbox_and_screen(http: httpx.AsyncClient, feed: ManualFeed) -> None:
    async def call(verb: str, path: str, body: object = None) -> Any:
        response = await http.request(verb, path, json=body)
        assert response.is_success, response.text
        return response.json()

    saved = await call("POST", "/v1/strategies", {"graph": json.dumps(at_prices(10))})
    settings = {"interval": "tick", "fee_bps": "0"}
    wanted = {"strategy_id": saved["strategy"]["strategy_id"], "symbol": "BTC-USD", "settings": settings}
    session_id = (await call("POST", "/v1/sessions", wanted))["session"]["session_id"]
    await call("POST", f"/v1/sessions/{session_id}:start", {})

    fill: Any = None
    async with (
        asyncio.timeout(PATIENCE),
        http.stream("GET", "/v1/realtime?all_sessions=true&symbols=BTC-USD") as screen,
    ):
        lines = screen.aiter_lines()
        first = json.loads(await anext(lines))
        assert first["snapshot"]["sessions"][0]["session_id"] == session_id
        ticks = ((START + i * SECOND, price * 10**8) for i, price in enumerate((10, 20, 30)))
        feed.push("BTC-USD", made(*ticks))
        async for line in lines:
            message = json.loads(line)
            for told in message.get("changes", {}).get("events", []):
                fill = told["event"]
            if fill:
                break
    assert (fill["price"], fill["quantity"]) == ("20", "500")
    resumed = f"/v1/realtime?all_sessions=true&cursor={first['cursor']}"
    async with asyncio.timeout(PATIENCE), http.stream("GET", resumed) as screen:
        again = json.loads(await anext(screen.aiter_lines()))
    assert again["changes"]["events"][0]["event"] == fill

    kinds = []
    async with asyncio.timeout(PATIENCE), http.stream("GET", "/v1/notifications:stream?after_sequence=0") as inbox:
        async for line in inbox.aiter_lines():
            kinds.append(json.loads(line)["notification"]["kind"])
            if len(kinds) == 2:
                break
    assert sorted(kinds) == ["NOTIFICATION_KIND_COMPILATION_SUCCEEDED", "NOTIFICATION_KIND_ENTRY"]
    page = await call("GET", "/v1/notifications?page_size=1&unread=true")
    assert (page["unread_count"], page["last_sequence"], len(page["notifications"])) == (2, "2", 1)
    assert (await call("POST", "/v1/notifications:markRead", {"up_to_sequence": 2}))["unread_count"] == 0

    body = {"name": "here", "url": "json://user:passw0rd@example.com/T0ken"}
    channel = (await call("POST", "/v1/notification-channels", body))["channel"]
    path = f"/v1/notification-channels/{channel['channel_id']}"
    renamed = await call("PATCH", path, {"update_mask": "name", "name": "there"})
    listed = await call("GET", "/v1/notification-channels")
    assert listed["channels"] == [renamed["channel"]]
    assert "T0ken" not in str(listed)
    choice = {"kinds": ["NOTIFICATION_KIND_HALT"], "throttle_seconds": 5}
    made_rule = await call("POST", "/v1/notification-rules", {"channel_id": channel["channel_id"], "choice": choice})
    rule = f"/v1/notification-rules/{made_rule['rule']['rule_id']}"
    assert (await call("PATCH", rule, {"update_mask": "disabled", "disabled": True}))["rule"]["disabled"]
    assert (await call("GET", rule))["rule"]["choice"]["kinds"] == ["NOTIFICATION_KIND_HALT"]
    assert (await call("GET", "/v1/notification-deliveries"))["deliveries"] == []
    await call("DELETE", rule)
    await call("DELETE", path)
    refused = await http.post("/v1/notification-channels", json={"name": "x", "url": "file:///etc/passwd"})
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (400, "CHANNEL_URL_INVALID")
    for missing in (path, rule, "/v1/realtime?symbols=NONE"):
        assert (await http.get(missing)).status_code == 404
