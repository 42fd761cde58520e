"""Cursors that point nowhere, and too many of anything: typed, the same in every protocol, and nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc
import pytest

from algotrade.platform import limits
from clients.api import BY_NAME, STREAMS, Rpc
from clients.callers import Answer
from clients.conftest import STREAMS_PER_USER, Stage
from clients.samples import BARS_SYMBOL, CHANNEL_URL, GRAPH, OPTIMIZATION, TICKS_SYMBOL, World, sample

WAYS: Final = ("direct", "grpc", "web", "rest")
FAR: Final = 2**62
# The cursor of each stream.
CURSORS: Final[Mapping[str, str]] = {
    "MarketDataService.StreamTicks": "after_sequence",
    "MarketDataService.StreamBars": "after_time",
    "BacktestService.WatchBacktest": "after_sequence",
    "BacktestService.WatchOptimization": "after_sequence",
    "ForwardTestService.StreamSession": "after_sequence",
    "NotificationService.StreamNotifications": "after_sequence",
    "RealtimeService.StreamUpdates": "cursor",
}


def test_every_stream_has_a_cursor() -> None:
    assert {str(rpc) for rpc in STREAMS} == CURSORS.keys()
    for rpc in STREAMS:
        assert rpc.has(CURSORS[str(rpc)])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rpc", [rpc for rpc in STREAMS if CURSORS.get(str(rpc)) != "cursor"], ids=str)
async def test_a_cursor_behind_the_newest_is_out_of_range(stage: Stage, ada: World, rpc: Rpc, way: str) -> None:
    request: Any = await sample(rpc, ada)
    if CURSORS[str(rpc)] == "after_time":
        request.after_time.FromSeconds(4_000_000_000)
    else:
        request.after_sequence = FAR
    answer = await stage.through[way](rpc, request, ada.token)
    assert answer.error == ("OUT_OF_RANGE", "CURSOR_AHEAD")
    assert answer.metadata.keys() in ({"last_sequence"}, {"last_time"})


@pytest.mark.parametrize("way", WAYS)
async def test_an_opaque_cursor_has_to_be_one_that_was_given(stage: Stage, ada: World, way: str) -> None:
    rpc = BY_NAME["RealtimeService.StreamUpdates"]
    request = rpc.request(symbols=[TICKS_SYMBOL], cursor="nonsense")
    answer = await stage.through[way](rpc, request, ada.token)
    assert answer.error == ("INVALID_ARGUMENT", "CURSOR_INVALID")
    assert list(answer.violations) == ["cursor"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_user_has_so_many_streams(stage: Stage, bob: World, way: str) -> None:
    rpc = BY_NAME["MarketDataService.StreamTicks"]
    request = rpc.request(symbol=TICKS_SYMBOL)
    world = await stage.newcomer()
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(stage.settings.gateway_address))
        call = channel.unary_stream(rpc.path, rpc.request.SerializeToString, rpc.reply.FromString)
        metadata = [("authorization", f"Bearer {world.token}")]
        streams = [call(request, metadata=metadata) for _ in range(STREAMS_PER_USER)]
        for stream in streams:
            stack.callback(stream.cancel)
            assert await stream.read() is not grpc.aio.EOF
        refused = await stage.through[way](rpc, request, world.token)
        check(refused, "streams", STREAMS_PER_USER)
        assert (await stage.through[way](rpc, request, bob.token)).code == "OK"  # somebody else's are not counted
        streams[0].cancel()
        while (again := await stage.through[way](rpc, request, world.token)).code != "OK":
            check(again, "streams", STREAMS_PER_USER)  # until the service has seen that one is gone


def check(answer: Answer, limit: str, value: int) -> None:
    assert answer.error == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED"), answer
    assert answer.metadata == {"limit": limit, "value": str(value)}


# What makes one more: the bound, its name in the answer, the call.
MAKES: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "IdentityService.CreateApiKey": ("MAX_API_KEYS", "api_keys", {"name": "bot"}),
    "StrategyService.CreateStrategy": ("MAX_STRATEGIES", "strategies", {"graph": GRAPH}),
    "StrategyService.UpdateStrategy": ("MAX_STRATEGY_VERSIONS", "strategy_versions", {"graph": GRAPH}),
    "ForwardTestService.CreateSession": ("MAX_SESSIONS", "sessions", {"symbol": TICKS_SYMBOL}),
    "BacktestService.StartBacktest": ("MAX_BACKTESTS", "backtests", {"graph": GRAPH, "sample": "AAPL"}),
    "BacktestService.StartOptimization": ("MAX_OPTIMIZATIONS", "optimizations", OPTIMIZATION),
    "NotificationService.CreateChannel": (
        "MAX_NOTIFICATION_CHANNELS",
        "notification_channels",
        {"name": "here", "url": CHANNEL_URL},
    ),
    "MarketDataService.Subscribe": ("MAX_SUBSCRIPTIONS", "subscriptions", {"symbol": TICKS_SYMBOL}),
}


@pytest.mark.parametrize("name", MAKES)
async def test_a_user_has_so_many_things(stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The bound is lowered to what there is, plus one."""
    bound, limit, given_fields = MAKES[name]
    rpc, fields, world = BY_NAME[name], dict(given_fields), await stage.newcomer()
    if name.endswith(("UpdateStrategy", "CreateSession")):
        fields["strategy_id"] = await world.strategy()
    most = 2 if name.endswith("UpdateStrategy") else 1
    if name.endswith("UpdateStrategy"):
        fields["update_mask"] = {"paths": ["graph"]}
    monkeypatch.setattr(limits, bound, most)
    assert (await stage.direct(rpc, rpc.request(**fields), world.token)).code == "OK"
    if name.endswith("Subscribe"):
        fields["symbol"] = BARS_SYMBOL
    for way in WAYS:
        check(await stage.through[way](rpc, rpc.request(**fields), world.token), limit, most)
    monkeypatch.undo()
    assert (await stage.direct(rpc, rpc.request(**fields), world.token)).code == "OK"
