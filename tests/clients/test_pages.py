"""Pages: what a token must be, and that pages put together are the whole, also while rows are being added."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algotrade.platform.policy import Access
from clients.api import LISTS, Rpc
from clients.conftest import Stage
from clients.samples import CHANNEL_URL, GRAPH, OPTIMIZATION, World, sample

# How a row is added to a list while it is read; absent where nothing of the user's own adds to it.
ADDS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "IdentityService.ListApiKeys": ("IdentityService.CreateApiKey", {"name": "bot"}),
    "StrategyService.ListStrategies": ("StrategyService.CreateStrategy", {"graph": GRAPH}),
    "StrategyService.ListStrategyVersions": ("StrategyService.UpdateStrategy", {"graph": GRAPH}),
    "BacktestService.ListBacktests": ("BacktestService.StartBacktest", {"graph": GRAPH, "sample": "AAPL"}),
    "BacktestService.ListOptimizations": ("BacktestService.StartOptimization", OPTIMIZATION),
    "ForwardTestService.ListSessions": ("ForwardTestService.CreateSession", {"symbol": "BTC-USD"}),
    "NotificationService.ListChannels": (
        "NotificationService.CreateChannel",
        {"name": "here", "url": CHANNEL_URL},
    ),
    "NotificationService.ListRules": ("NotificationService.CreateRule", {}),
    "MarketDataService.ListSubscriptions": ("MarketDataService.Subscribe", {"symbol": "AAPL"}),
}
GROWS: Final = {"AdminService.ListAuditEvents"}  # reading it is on record, too
ROWS: Final = 5


def rows(reply: Any) -> list[Any]:
    """Return the entries of a page: the repeated messages of its answer, or the times of bars in columns."""
    fields = type(reply).DESCRIPTOR.fields
    messages = [one for one in fields if one.is_repeated and one.type == FieldDescriptor.TYPE_MESSAGE]
    if not messages:
        return list(reply.bars.times_nanos)
    (field,) = messages
    return list(getattr(reply, field.name))


def key(row: Any) -> Any:
    """What an entry is, however its figures move meanwhile."""
    if isinstance(row, int):
        return row
    names = {field.name for field in row.DESCRIPTOR.fields}
    if "user" in names:
        return key(row.user)
    ids = sorted(name for name in names if name.endswith("_id") and name != "correlation_id")
    told = sorted(names & {"symbol", "version", "number", "start_time", "provider"})
    return tuple(str(getattr(row, name)) for name in ids or told)


async def read(stage: Stage, rpc: Rpc, world: World, size: int, token: str = "") -> Any:
    request: Any = await sample(rpc, world)
    request.page_size, request.page_token = size, token
    answer = await stage.direct(rpc, request, world.token)
    assert answer.code == "OK", (str(rpc), answer)
    return answer.reply


async def add(world: World, rpc: Rpc) -> None:
    name, given_fields = ADDS[str(rpc)]
    fields = dict(given_fields)
    if name.endswith("UpdateStrategy"):
        fields |= {"strategy_id": await world.strategy(), "update_mask": {"paths": ["graph"]}}
    if name.endswith("CreateSession"):
        fields["strategy_id"] = await world.strategy()
    if name.endswith("CreateRule"):
        fields["channel_id"] = await world.channel()
    await world.do(name, **fields)


@pytest.fixture(scope="module")
async def reader(stage: Stage) -> World:
    """Return a user with some rows in every list."""
    world = await stage.administrator()
    await world.traded()
    await world.backtest()
    await world.do("MarketDataService.Subscribe", symbol="BTC-USD")
    for rpc in LISTS:
        if str(rpc) in ADDS:
            for _ in range(ROWS - 1):
                await add(world, rpc)
    return world


async def a_token(stage: Stage, rpc: Rpc, world: World) -> str:
    return str((await read(stage, rpc, world, 1)).next_page_token)


def forged(token: str, change: Any) -> str:
    """Return a token with other content, well written."""
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps(change(content)).encode()).decode().rstrip("=")


@pytest.mark.parametrize("rpc", LISTS, ids=str)
async def test_a_token_is_good_for_the_call_and_the_user_it_was_made_for(
    stage: Stage, reader: World, bob: World, rpc: Rpc
) -> None:
    own = await a_token(stage, rpc, reader)
    tokens = {"garbage": "nonsense!", "no JSON": "AAAA", "cut": (own or "abcdef")[:-3]}
    for other in LISTS:
        if other != rpc and (token := await a_token(stage, other, reader)):
            tokens[f"of {other}"] = token
    if own:
        tokens |= {
            "a key more": forged(own, lambda content: [*content, 1]),
            "a key less": forged(own, lambda content: content[:-1]),
            "no list": forged(own, lambda content: {"call": content}),
            "keys of another kind": forged(own, lambda content: [*content[:2], *([None] * len(content[2:]))]),
        }
    assert len(tokens) > 8
    for what, token in tokens.items():
        request: Any = await sample(rpc, reader)
        request.page_token = token
        answer = await stage.direct(rpc, request, reader.token)
        assert answer.error == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), (what, answer)
        assert list(answer.violations) == ["page_token"]
    if own and rpc.access is not Access.ADMIN:
        request = await sample(rpc, bob)
        request.page_token = own
        assert (await stage.direct(rpc, request, bob.token)).error == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("way", ["grpc", "web", "rest"])
async def test_a_bad_token_is_told_through_the_gateway(stage: Stage, reader: World, way: str) -> None:
    for rpc in LISTS:
        request: Any = await sample(rpc, reader)
        request.page_token = "nonsense"
        answer = await stage.through[way](rpc, request, reader.token)
        assert answer.error == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), (str(rpc), answer)
        assert list(answer.violations) == ["page_token"]


@pytest.mark.parametrize("rpc", LISTS, ids=str)
async def test_pages_are_the_whole(stage: Stage, reader: World, rpc: Rpc) -> None:
    whole = [key(row) for row in rows(await read(stage, rpc, reader, 10_000))]
    assert len(set(whole)) == len(whole)
    for size in (1, 2, 3, 5, len(whole), len(whole) + 1):
        found, token = [], ""
        while True:
            page = await read(stage, rpc, reader, size, token)
            assert len(rows(page)) <= size
            found += [key(row) for row in rows(page) if str(rpc) not in GROWS or key(row) in whole]
            if len(found) > size * ROWS * 3:  # more pages of a long list prove no more
                assert found == whole[: len(found)]
                break
            if not (token := page.next_page_token):
                assert found == whole
                break


@pytest.mark.parametrize("rpc", [rpc for rpc in LISTS if str(rpc) in ADDS], ids=str)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=2, max_size=6))
async def test_what_is_added_meanwhile_moves_nothing(
    stage: Stage, reader: World, rpc: Rpc, steps: list[tuple[int, bool]]
) -> None:
    """What was there when reading began comes once and in order, whatever is put in between two pages."""
    before = [key(row) for row in rows(await read(stage, rpc, reader, 10_000))]
    found: list[Any] = []
    token, number = "", 0
    while True:
        size, adds = steps[number % len(steps)]
        page = await read(stage, rpc, reader, size, token)
        found += [key(row) for row in rows(page)]
        if adds and number < len(steps):
            await add(reader, rpc)
        number += 1
        if not (token := page.next_page_token):
            break
    assert [one for one in found if one in before] == before
    assert len(set(found)) == len(found)
