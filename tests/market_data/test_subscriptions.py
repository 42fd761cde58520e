"""Subscriptions, the feeds that run while somebody has one, and windows that are made longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
from market_data.feeds import SECOND, ManualFeed, ramp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.market_data.build import build
from algotrade.platform import limits
from algotrade.platform.bus import Bus
from algotrade.platform.errors import info, violations
from algotrade.platform.settings import Settings
from algotrade.platform.topics import SYMBOL_SUBSCRIPTIONS
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.events_pb2 import SymbolSubscriptionChange
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

START = 1_700_000_000 * SECOND
WINDOW = 50
ALWAYS, DEMAND = "AAA", "DDD"
LIVE, STALE = types_pb2.FEED_STATE_LIVE, types_pb2.FEED_STATE_STALE


@dataclass
class Caller:
    """A user with a stub."""

    user_id: str
    stub: Any

    async def subscribe(self, symbol: str) -> pb.Subscription:
        return (await self.stub.Subscribe(pb.SubscribeRequest(symbol=symbol))).subscription

    async def unsubscribe(self, symbol: str) -> None:
        await self.stub.Unsubscribe(pb.UnsubscribeRequest(symbol=symbol))

    async def subscriptions(self) -> list[tuple[str, int]]:
        found = (await self.stub.ListSubscriptions(pb.ListSubscriptionsRequest())).subscriptions
        return [(one.symbol, one.subscribers) for one in found]

    async def symbol(self, name: str) -> pb.Symbol:
        listed = (await self.stub.ListSymbols(pb.ListSymbolsRequest())).symbols
        return next(symbol for symbol in listed if symbol.symbol == name)

    async def sees(self, name: str, **fields: Any) -> None:
        """Return when a symbol is listed with these values."""
        async with asyncio.timeout(20):
            while True:
                symbol = await self.symbol(name)
                if all(getattr(symbol, field) == value for field, value in fields.items()):
                    return


Call = Callable[[], Awaitable[Caller]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"window_ticks": WINDOW})


@pytest.fixture
def feed() -> ManualFeed:
    return ManualFeed(ALWAYS, "BBB", DEMAND, live=False, on_demand=[DEMAND])


@pytest.fixture
async def call(serve: Any, connect: Any, feed: ManualFeed, open_account: Any) -> Call:
    """Return ``await call()``: a new user, in front of one and the same server."""
    server = await serve(partial(build, feeds=[feed]))

    async def make() -> Caller:
        user_id = await open_account()
        return Caller(user_id, MarketDataServiceStub(connect(server, user_id)))

    return make


async def failure(awaitable: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def changes(bus: Bus) -> list[SymbolSubscriptionChange]:
    records = await bus.read(SYMBOL_SUBSCRIPTIONS, 0, 0, 1000)
    assert all(record.key == SymbolSubscriptionChange.FromString(record.payload).symbol for record in records)
    return [SymbolSubscriptionChange.FromString(record.payload) for record in records]


# Subscriptions


async def test_subscriptions_are_each_users_own_and_counted_together(call: Call, bus: Bus) -> None:
    ada, bob = await call(), await call()
    first = await ada.subscribe(ALWAYS)
    assert (first.symbol, first.subscribers, first.HasField("create_time")) == (ALWAYS, 1, True)
    assert await ada.subscribe(ALWAYS) == first, "who is subscribed stays so"
    assert (await bob.subscribe(ALWAYS)).subscribers == 2
    await bob.subscribe("BBB")
    assert await ada.subscriptions() == [(ALWAYS, 2)]
    assert await bob.subscriptions() == [(ALWAYS, 2), ("BBB", 1)]
    await ada.unsubscribe("BBB")
    assert await bob.subscriptions() == [(ALWAYS, 2), ("BBB", 1)], "nobody ends another's"
    for _ in range(2):
        await bob.unsubscribe(ALWAYS)
    assert await ada.subscriptions() == [(ALWAYS, 1)]
    assert await bob.subscriptions() == [("BBB", 1)]
    assert [(one.user_id, one.symbol, one.subscribed, one.subscribers) for one in await changes(bus)] == [
        (ada.user_id, ALWAYS, True, 1),
        (bob.user_id, ALWAYS, True, 2),
        (bob.user_id, "BBB", True, 1),
        (bob.user_id, ALWAYS, False, 1),
    ]


async def test_subscriptions_are_listed_page_by_page(call: Call) -> None:
    ada = await call()
    for symbol in (DEMAND, ALWAYS, "BBB"):
        await ada.subscribe(symbol)
    found, token = [], ""
    for _ in range(3):
        page = await ada.stub.ListSubscriptions(pb.ListSubscriptionsRequest(page_size=1, page_token=token))
        found.extend(one.symbol for one in page.subscriptions)
        token = page.next_page_token
    assert (found, token) == ([ALWAYS, "BBB", DEMAND], "")
    error = await failure(ada.stub.ListSubscriptions(pb.ListSubscriptionsRequest(page_token="nonsense")))
    assert info(error).reason == "PAGE_TOKEN_INVALID"


async def test_counts_are_right_however_calls_meet(call: Call, bus: Bus) -> None:
    users = [await call() for _ in range(6)]
    await asyncio.gather(*(user.subscribe(ALWAYS) for user in users for _ in range(2)))
    await asyncio.gather(*(user.unsubscribe(ALWAYS) for user in users[:4]), *(user.subscribe("BBB") for user in users))
    told = await changes(bus)
    held = {ALWAYS: 0, "BBB": 0}
    for change in told:
        held[change.symbol] += 1 if change.subscribed else -1
        assert change.subscribers == held[change.symbol]
    assert held == {ALWAYS: 2, "BBB": 6}
    assert await users[5].subscriptions() == [(ALWAYS, 2), ("BBB", 6)]


async def test_an_account_has_a_bounded_number(call: Call, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SUBSCRIPTIONS", 1)
    ada = await call()
    answers = await asyncio.gather(ada.subscribe(ALWAYS), ada.subscribe("BBB"), return_exceptions=True)
    [error] = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert dict(info(error).metadata) == {"limit": "subscriptions", "value": "1"}
    [(symbol, _)] = await ada.subscriptions()
    assert (await ada.subscribe(symbol)).subscribers == 1, "the one there is can be asked for again"
    assert len(await changes(bus)) == 1


async def test_what_cannot_be_changes_nothing(call: Call, bus: Bus, database: AsyncEngine) -> None:
    ada = await call()
    error = await failure(ada.subscribe("XRP-USD"))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "SYMBOL_NOT_FOUND")
    for attempt in (ada.subscribe("aaa"), ada.unsubscribe("")):
        error = await failure(attempt)
        assert (info(error).reason, set(violations(error))) == ("FIELD_INVALID", {"symbol"})
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM users"))
    assert info(await failure(ada.subscribe(ALWAYS))).reason == "USER_NOT_FOUND"
    assert await changes(bus) == []


# Feeds on demand


async def test_the_first_opens_a_feed_and_the_last_closes_it(call: Call, feed: ManualFeed) -> None:
    ada, bob = await call(), await call()
    for name in (ALWAYS, DEMAND):
        feed.push(name, ramp(START, 5))
    await ada.sees(ALWAYS, feed_state=LIVE, last_sequence=5, on_demand=False)
    assert (await ada.symbol(DEMAND)).last_sequence == 0
    assert DEMAND not in feed.resumed
    await ada.subscribe(DEMAND)
    await ada.sees(DEMAND, feed_state=LIVE, last_sequence=5, on_demand=True)
    await bob.subscribe(DEMAND)
    await ada.unsubscribe(DEMAND)
    feed.push(DEMAND, ramp(START + SECOND, 5))
    await bob.sees(DEMAND, feed_state=LIVE, last_sequence=10)
    await bob.unsubscribe(DEMAND)
    await bob.sees(DEMAND, feed_state=STALE, last_sequence=10)
    feed.push(ALWAYS, ramp(START + SECOND, 5))
    feed.push(DEMAND, ramp(START + 2 * SECOND, 3))
    await bob.sees(ALWAYS, feed_state=LIVE, last_sequence=10)
    assert (await bob.symbol(DEMAND)).last_sequence == 10
    await bob.subscribe(DEMAND)
    await bob.sees(DEMAND, feed_state=LIVE, last_sequence=13)
    assert (feed.resumed[DEMAND].sequence, feed.resumed[DEMAND].event_ns) == (10, START + SECOND + 4_000_000)


async def test_a_feed_that_is_wanted_runs_again_after_a_restart(
    serve: Any, connect: Any, open_account: Any, call: Call, feed: ManualFeed
) -> None:
    ada = await call()
    await ada.subscribe(DEMAND)
    feed.push(DEMAND, ramp(START, 5))
    await ada.sees(DEMAND, last_sequence=5)
    again = ManualFeed(DEMAND, live=False, on_demand=[DEMAND])
    ada.stub = MarketDataServiceStub(connect(await serve(partial(build, feeds=[again])), ada.user_id))
    again.push(DEMAND, ramp(START + SECOND, 1))
    await ada.sees(DEMAND, feed_state=LIVE, last_sequence=6)


# Windows


async def configure(caller: Caller, symbol: str, ticks: int) -> int:
    return (await caller.stub.ConfigureWindow(pb.ConfigureWindowRequest(symbol=symbol, ticks=ticks))).ticks


async def test_anyone_makes_a_window_longer_for_everyone_and_nobody_shorter(
    serve: Any, connect: Any, call: Call, feed: ManualFeed
) -> None:
    ada, bob = await call(), await call()
    for part in range(4):
        feed.push(ALWAYS, ramp(START + part * SECOND, 50))
    await ada.sees(ALWAYS, last_sequence=200, window_ticks=WINDOW)

    async def window(caller: Caller) -> list[int]:
        reply = await caller.stub.GetWindow(pb.GetWindowRequest(symbol=ALWAYS, limit=1000))
        return [tick.sequence for tick in reply.ticks]

    assert await window(ada) == list(range(151, 201))
    assert await configure(ada, ALWAYS, 120) == 120
    assert await window(bob) == list(range(81, 201)), "the log fills it"
    assert await configure(bob, ALWAYS, 60) == 120
    feed.push(ALWAYS, ramp(START + 10 * SECOND, 10))
    await bob.sees(ALWAYS, last_sequence=210, window_ticks=120)
    assert await window(bob) == list(range(91, 211))
    assert (await bob.symbol("BBB")).window_ticks == WINDOW
    again = ManualFeed(ALWAYS, live=False)
    bob.stub = MarketDataServiceStub(connect(await serve(partial(build, feeds=[again])), bob.user_id))
    assert (await bob.symbol(ALWAYS)).window_ticks == 120, "it stays so after a restart"
    assert (await window(bob))[-120:] == list(range(91, 211))


async def test_windows_are_bounded_each_and_together(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = await call()
    for ticks in (0, -1, 100_001):
        error = await failure(configure(ada, ALWAYS, ticks))
        assert (info(error).reason, set(violations(error))) == ("FIELD_INVALID", {"ticks"})
    assert info(await failure(configure(ada, "XRP-USD", 5))).reason == "SYMBOL_NOT_FOUND"
    monkeypatch.setattr(limits, "MAX_TICKS_ALL_WINDOWS", 2 * WINDOW + 60)
    error = await failure(configure(ada, ALWAYS, 61))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert (await ada.symbol(ALWAYS)).window_ticks == WINDOW
    assert await configure(ada, ALWAYS, 60) == 60
