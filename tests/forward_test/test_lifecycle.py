"""Sessions through their door: made, started, traded, stopped; and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from functools import partial
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from graphs import at_prices, sma_cross
from market_data.feeds import SECOND, ManualFeed, made
from sqlalchemy import text

from algotrade.engine import fixed
from algotrade.engine.records import Records
from algotrade.forward_test.build import build
from algotrade.platform.errors import info, violations
from algotrade.platform.process import Platform
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.strategy_service_pb2 import CreateStrategyRequest

START = 1_700_000_000 * SECOND
TICKS = {"interval": "tick", "fee_bps": "0"}
ROUND_TRIP = at_prices(10, 12)


def prices(*values: float, first: int = 0) -> Records:
    """Ticks one second apart; ``first`` is the number of the first."""
    return made(*((START + (first + index) * SECOND, round(value * fixed.SCALE)) for index, value in enumerate(values)))


async def failure(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_session_is_made_started_trades_and_is_stopped(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.create(ROUND_TRIP, "AAA", settings=TICKS, name="First")
    assert (session.name, session.symbol, session.status) == ("First", "AAA", pb.SESSION_STATUS_CREATED)
    assert (session.cash, session.equity, session.quantity) == ("10000", "10000", "0")
    assert session.settings.fee_bps == "0"
    assert session.settings.initial_cash == "10000"

    session = await ada.start(session)
    assert session.status == pb.SESSION_STATUS_RUNNING
    assert session.HasField("start_time")
    assert not session.HasField("stop_time")

    feed.push("AAA", prices(9, 10, 20, 21))
    session = await ada.at_tick(session, 4)
    assert (session.cash, session.quantity, session.average_price) == ("0", "500", "20")
    assert (session.last_price, session.equity) == ("21", "10500")
    (trade,) = await ada.trades(session)
    assert (trade.sequence, trade.entry_price, trade.exit_price, trade.pnl) == (1, "20", "", "")
    assert not trade.HasField("exit_time")

    feed.push("AAA", prices(12, 25, first=4))
    session = await ada.at_tick(session, 6)
    assert (session.cash, session.quantity, session.realized_pnl) == ("12500", "0", "2500")
    assert (session.total_trades, session.winning_trades, session.last_sequence) == (1, 1, 2)
    (trade,) = await ada.trades(session)
    assert (trade.sequence, trade.exit_price, trade.pnl, trade.exit_reason) == (2, "25", "2500", "sell")

    session = await ada.stop(session, pb.STOP_MODE_FLATTEN)
    assert session.status == pb.SESSION_STATUS_STOPPED
    assert session.HasField("stop_time")


async def test_warm_up_moves_indicators_and_nothing_else(trader: Any, feed: ManualFeed) -> None:
    """Ticks from before the start make the means; what they would have traded or rejected is nobody's."""
    ada = await trader()
    probe = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    early = [10, 9, 8, 7, 8, 9, 10, 11, 12, 9, 7, 6, 5, 4]  # a cross up, a cross down
    feed.push("AAA", prices(*early))
    await ada.at_tick(probe, len(early))

    session = await ada.started(sma_cross(2, 4), "AAA", settings=TICKS)
    assert session.warmup_bars == 4
    feed.push("AAA", prices(9, 10, first=len(early)))  # crosses up at once: the means are warm
    session = await ada.at_tick(session, len(early) + 2)
    assert session.bars == len(early) + 2
    (event,) = await ada.events(session, 1)
    assert (event.sequence, event.kind, event.price) == (1, pb.SESSION_EVENT_KIND_ENTRY, "10")
    assert event.tick_sequence == len(early) + 2


async def test_stop_flatten_sells_at_the_next_tick(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    session = await ada.stop(session, pb.STOP_MODE_FLATTEN)
    assert (session.status, session.quantity) == (pb.SESSION_STATUS_STOPPING, "500")
    assert (await ada.stop(session, pb.STOP_MODE_FLATTEN)).status == pb.SESSION_STATUS_STOPPING
    feed.push("AAA", prices(30, 10, 11, 12, first=2))  # after the sale nothing is decided any more
    session = await ada.reached(session, lambda found: found.status == pb.SESSION_STATUS_STOPPED)
    assert (session.cash, session.quantity, session.last_tick_sequence) == ("15000", "0", 3)
    (trade,) = await ada.trades(session)
    assert (trade.exit_price, trade.exit_reason) == ("30", "flatten")
    assert session.last_sequence == trade.sequence


async def test_stop_keep_leaves_the_position(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    session = await ada.stop(session, pb.STOP_MODE_KEEP)
    assert (session.status, session.quantity) == (pb.SESSION_STATUS_STOPPED, "500")
    assert await ada.stop(session, pb.STOP_MODE_FLATTEN) == session  # stopping a stopped session changes nothing
    assert len(await ada.trades(session)) == 1


async def test_a_waiting_flatten_can_be_turned_into_keep(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(at_prices(10), "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 20))
    await ada.at_tick(session, 2)
    await ada.stop(session, pb.STOP_MODE_FLATTEN)
    session = await ada.stop(session, pb.STOP_MODE_KEEP)
    assert (session.status, session.quantity) == (pb.SESSION_STATUS_STOPPED, "500")


async def test_sessions_of_one_feed_do_not_touch_each_other(trader: Any, feed: ManualFeed) -> None:
    """Two of one artefact and settings apart, one of another artefact, one on another symbol, one started later."""
    ada = await trader()
    cheap = await ada.started(at_prices(10), "AAA", settings=TICKS)
    dear = await ada.started(at_prices(10), "AAA", settings=TICKS | {"fee_bps": "100"})
    other = await ada.started(at_prices(11), "AAA", settings=TICKS)
    elsewhere = await ada.started(at_prices(10), "BBB", settings=TICKS)
    feed.push("AAA", prices(10, 20, 11, 25))
    feed.push("BBB", prices(5, 10, 40))
    for session, sequence, average in ((cheap, 4, "20"), (dear, 4, "20"), (other, 4, "25"), (elsewhere, 3, "40")):
        assert (await ada.at_tick(session, sequence)).average_price == average
    late = await ada.started(at_prices(10), "AAA", settings=TICKS)
    await ada.stop(cheap, pb.STOP_MODE_KEEP)
    feed.push("AAA", prices(10, 50, first=4))
    late = await ada.at_tick(late, 6)
    assert (late.average_price, late.last_sequence) == ("50", 1)
    dear = await ada.at_tick(dear, 6)
    assert (dear.average_price, dear.last_price) == ("20", "50")
    assert (await ada.get(cheap)).last_price == "25"


async def test_a_repeated_request_makes_one_session(trader: Any) -> None:
    ada = await trader()
    request = pb.CreateSessionRequest(
        request_id=str(uuid.uuid4()), strategy_id=await ada.strategy(ROUND_TRIP), symbol="AAA"
    )
    first = await ada.sessions.CreateSession(request)
    assert await ada.sessions.CreateSession(request) == first
    assert len((await ada.sessions.ListSessions(pb.ListSessionsRequest())).sessions) == 1
    request.symbol = "BBB"
    error = await failure(ada.sessions.CreateSession(request))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")

    start = pb.StartSessionRequest(session_id=first.session.session_id, request_id=str(uuid.uuid4()))
    started = await ada.sessions.StartSession(start)
    assert await ada.sessions.StartSession(start) == started
    other = await ada.create(ROUND_TRIP, "AAA")
    start.session_id = other.session_id
    assert (await failure(ada.sessions.StartSession(start))).code() == grpc.StatusCode.ALREADY_EXISTS


async def test_what_a_status_forbids(trader: Any) -> None:
    ada = await trader()
    session = await ada.create(ROUND_TRIP, "AAA")
    error = await failure(ada.stop(session, pb.STOP_MODE_KEEP))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_STATUS")
    assert info(error).metadata["status"] == "created"
    started = await ada.start(session)
    assert (await ada.start(session)) == started
    await ada.stop(session, pb.STOP_MODE_KEEP)
    error = await failure(ada.start(session))
    assert (error.code(), info(error).metadata["status"]) == (grpc.StatusCode.FAILED_PRECONDITION, "stopped")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"settings": {"fee_bps": "-1"}}, "settings.fee_bps"),
        ({"settings": {"initial_cash": "0"}}, "settings.initial_cash"),
        ({"settings": {"initial_cash": "1.000000001"}}, "settings.initial_cash"),
        ({"settings": {"initial_cash": "many"}}, "settings.initial_cash"),
        ({"settings": {"interval": "3m"}}, "settings.interval"),
        ({"settings": {"interval": "native"}}, "settings.interval"),
        ({"settings": {"path": "worst"}}, "settings.path"),
        ({"settings": {"fill": "best"}}, "settings.fill"),
        ({"settings": {"day_timezone": "Mars/Olympus"}}, "settings.day_timezone"),
        ({"parameters": {"slow": "3"}}, "parameters.slow"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wrong_setting_is_named(trader: Any, fields: dict[str, Any], where: str) -> None:
    ada = await trader()
    error = await failure(ada.create(ROUND_TRIP, "AAA", **fields))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SETTINGS_INVALID")
    assert list(violations(error)) == [where]
    assert not (await ada.sessions.ListSessions(pb.ListSessionsRequest())).sessions


async def test_parameters_are_bound_and_shown(trader: Any) -> None:
    graph = sma_cross(3, 5)
    graph["parameters"] = [{"name": "fast", "type": "int", "default": 3, "min": 2, "max": 4, "step": 1}]
    graph["nodes"][1]["data"]["params"]["timeperiod"] = {"param": "fast"}
    ada = await trader()
    assert dict((await ada.create(graph, "AAA")).parameters) == {"fast": "3"}
    assert dict((await ada.create(graph, "AAA", parameters={"fast": "4"})).parameters) == {"fast": "4"}
    error = await failure(ada.create(graph, "AAA", parameters={"fast": "9"}))
    assert list(violations(error)) == ["parameters.fast"]


async def test_what_is_not_there(trader: Any) -> None:
    ada = await trader()
    error = await failure(ada.create(ROUND_TRIP, "CCC"))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "SYMBOL_NOT_FOUND")
    missing = pb.CreateSessionRequest(strategy_id=str(uuid.uuid4()), symbol="AAA")
    error = await failure(ada.sessions.CreateSession(missing))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "STRATEGY_NOT_FOUND")
    missing = pb.CreateSessionRequest(strategy_id=await ada.strategy(ROUND_TRIP), strategy_version=2, symbol="AAA")
    error = await failure(ada.sessions.CreateSession(missing))
    assert info(error).reason == "STRATEGY_VERSION_NOT_FOUND"


async def test_a_draft_cannot_run(trader: Any) -> None:
    ada = await trader()
    graph = '{"version": 1, "name": "empty", "nodes": [], "edges": []}'
    saved = await ada.strategies.CreateStrategy(CreateStrategyRequest(graph=graph))
    request = pb.CreateSessionRequest(strategy_id=saved.strategy.strategy_id, symbol="AAA")
    error = await failure(ada.sessions.CreateSession(request))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STRATEGY_NOT_COMPILABLE")


async def test_another_users_session_is_not_there(trader: Any) -> None:
    ada, bob = await trader(), await trader()
    session = await ada.started(ROUND_TRIP, "AAA")
    stream = bob.stream(session)
    for call in (
        bob.get(session),
        bob.start(session),
        bob.stop(session, pb.STOP_MODE_KEEP),
        bob.trades(session),
        stream.read(),
    ):
        error = await failure(call)
        assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    assert not (await bob.sessions.ListSessions(pb.ListSessionsRequest())).sessions
    stolen = pb.CreateSessionRequest(strategy_id=session.strategy_id, symbol="AAA")
    assert info(await failure(bob.sessions.CreateSession(stolen))).reason == "STRATEGY_NOT_FOUND"
    assert (await ada.get(session)).status == pb.SESSION_STATUS_RUNNING


async def test_sessions_are_listed_newest_first_in_pages(trader: Any) -> None:
    ada = await trader()
    strategy_id = await ada.strategy(ROUND_TRIP)
    names = [f"s{index}" for index in range(5)]
    for name in names:
        await ada.sessions.CreateSession(pb.CreateSessionRequest(strategy_id=strategy_id, symbol="AAA", name=name))
    found, token = [], ""
    while True:
        page = await ada.sessions.ListSessions(pb.ListSessionsRequest(page_size=2, page_token=token))
        found += [session.name for session in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert found == names[::-1]
    error = await failure(ada.sessions.ListSessions(pb.ListSessionsRequest(page_token="x")))
    assert info(error).reason == "PAGE_TOKEN_INVALID"


async def test_an_overflow_halts_its_session_alone(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    rich = await ada.started(ROUND_TRIP, "AAA", settings=TICKS | {"initial_cash": "40000000000"})
    poor = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(10, 1, 12, 1000, 10))
    poor = await ada.at_tick(poor, 5)
    assert (poor.status, poor.total_trades) == (pb.SESSION_STATUS_RUNNING, 1)
    rich = await ada.reached(rich, lambda found: found.status == pb.SESSION_STATUS_HALTED)
    assert rich.halt_reason == "amount_overflow"
    assert rich.HasField("stop_time")
    assert rich.quantity != "0"
    last = (await ada.events(rich, rich.last_sequence))[-1]
    assert (last.kind, last.reason) == (pb.SESSION_EVENT_KIND_HALT, "amount_overflow")


async def test_deleting_an_account_takes_its_sessions_along(trader: Any, feed: ManualFeed, database: Any) -> None:
    ada, bob = await trader(), await trader()
    gone = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    left = await bob.started(ROUND_TRIP, "AAA", settings=TICKS)
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM users WHERE user_id = CAST(:id AS uuid)"), {"id": ada.user_id})
    feed.push("AAA", prices(10, 20, 12, 25))
    assert (await bob.at_tick(left, 4)).total_trades == 1
    assert info(await failure(ada.get(gone))).reason == "SESSION_NOT_FOUND"


async def test_settings_default_to_the_feed(trader: Any) -> None:
    ada = await trader()
    session = await ada.create(ROUND_TRIP, "AAA")
    assert session.settings == types_pb2.RunSettings(
        interval="1m",
        initial_cash="10000",
        fee_bps="10",
        slippage_bps="0",
        fill="next_tick",
        lot_step="0.00000001",
        price_step="0.00000001",
        min_notional="0",
        max_position_percent="100",
        path="tradingview",
        day_timezone="UTC",
        native_seconds="0",
    )


async def test_a_service_that_is_away_is_named(
    trader: Any, serve: Any, open_channel_to: Any, upstream: Any, platform: Platform
) -> None:
    nowhere = SimpleNamespace(port=1)
    alone = await serve(partial(build, upstream=open_channel_to(nowhere)))
    ada = await trader(alone)
    request = pb.CreateSessionRequest(strategy_id=str(uuid.uuid4()), symbol="AAA")
    error = await failure(ada.sessions.CreateSession(request))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert info(error).metadata["dependency"] == "strategy"


async def test_the_worker_shows_what_it_holds(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    ada = await trader()
    await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", prices(9, 10, 20))
    await ada.at_tick(session, 3)
    registry = platform.metrics.registry
    assert registry.get_sample_value("algotrade_sessions_held", {"state": "running"}) == 2
    assert registry.get_sample_value("algotrade_session_step_seconds_count") > 0
    assert registry.get_sample_value("algotrade_session_commit_seconds_count") > 0
    assert registry.get_sample_value("algotrade_outbox_oldest_seconds") is not None
