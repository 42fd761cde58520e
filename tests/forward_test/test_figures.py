"""Positions over all sessions, and what a session's trades come to."""

from __future__ import annotations

from math import sqrt
from typing import Any

import grpc
import numpy as np
import pytest
from forward_test.test_lifecycle import ROUND_TRIP, START, TICKS, failure, prices
from graphs import at_prices
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.engine import fixed
from algotrade.engine.records import Records
from algotrade.platform import limits
from algotrade.platform.errors import info
from algotrade.v1 import forward_test_service_pb2 as pb


def daily(*values: float) -> Records:
    """Ticks one day apart."""
    days = 86_400 * SECOND
    return made(*((START + index * days, round(value * fixed.SCALE)) for index, value in enumerate(values)))


async def metrics(owner: Any, session: pb.Session) -> dict[str, str]:
    response = await owner.sessions.GetMetrics(pb.GetMetricsRequest(session_id=session.session_id))
    assert response.session_id == session.session_id
    assert all(one.unit and one.definition for one in response.metrics)
    found = {one.name: one.value for one in response.metrics}
    assert len(found) == len(response.metrics)
    return found


async def test_positions_of_all_sessions_in_pages(trader: Any, feed: ManualFeed) -> None:
    ada, bob = await trader(), await trader()
    first = await ada.started(at_prices(10), "AAA", settings=TICKS, name="first")
    second = await ada.started(at_prices(10), "AAA", settings=TICKS | {"fee_bps": "100"}, name="second")
    flat = await ada.started(at_prices(11), "AAA", settings=TICKS)
    last = await ada.started(at_prices(5), "BBB", settings=TICKS, name="last")
    feed.push("AAA", prices(10, 20, 30))
    feed.push("BBB", prices(5, 8, 4))
    for session in (first, second, flat, last):
        await ada.at_tick(session, 3)
    await ada.stop(first, pb.STOP_MODE_KEEP)

    found, token = [], ""
    while True:
        page = await ada.sessions.ListPositions(pb.ListPositionsRequest(page_size=2, page_token=token))
        found += page.positions
        token = page.next_page_token
        if not token:
            break
    assert [position.session_name for position in found] == ["last", "second", "first"]
    low, dear, kept = found
    assert (low.symbol, low.side, low.quantity) == ("BBB", pb.TRADE_SIDE_LONG, "1250")
    assert (low.average_price, low.last_price, low.unrealized_pnl) == ("8", "4", "-5000")
    assert low.entry_time.seconds == START // SECOND + 1
    assert (kept.session_status, kept.unrealized_pnl) == (pb.SESSION_STATUS_STOPPED, "5000")
    session = await ada.get(second)
    held = fixed.parse(dear.quantity) * 30 - (fixed.parse(dear.quantity) * 20 + fixed.parse(dear.fees))
    assert dear.fees != "0"
    assert fixed.parse(dear.unrealized_pnl) == held == fixed.parse(session.equity) - fixed.parse("10000")

    assert not (await bob.sessions.ListPositions(pb.ListPositionsRequest())).positions
    error = await failure(ada.sessions.ListPositions(pb.ListPositionsRequest(page_token="x")))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_metrics_of_a_session(trader: Any, feed: ManualFeed) -> None:
    """+25 %, then -20 %, then a position that has doubled: figures worked out by hand."""
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", daily(10, 20, 12, 25, 10, 50, 12, 40, 10, 50, 100))
    session = await ada.at_tick(session, 11)
    assert session.total_trades == 2
    found = await metrics(ada, session)
    assert (found["initial_cash"], found["equity"], found["net_profit"]) == ("10000", "20000", "10000")
    assert (found["realized_pnl"], found["unrealized_pnl"], found["total_return"]) == ("0", "10000", "100.0")
    assert (found["trades"], found["closed_trades"], found["win_rate"]) == ("3", "2", "50.0")
    assert (found["profit_factor"], found["payoff_ratio"], found["expectancy"]) == ("1.0", "1.0", "0")
    assert (found["best_trade_pnl"], found["worst_trade_pnl"]) == ("2500", "-2500")
    assert float(found["max_realized_drawdown"]) == pytest.approx(-20)
    # At closes the equity was lowest at the price of 12, 6,000 below its peak of 10,000, and again 76 % below 12,500.
    assert float(found["max_drawdown"]) == pytest.approx(-76)
    returns = np.array([0, 0, 0.25, 0, 0, 0, -0.2])  # the days from the first entry to the last exit
    sharpe = returns.mean() / returns.std(ddof=1) * sqrt(365)
    assert float(found["realized_sharpe"]) == pytest.approx(sharpe)


async def test_metrics_of_a_session_without_trades_are_undefined(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.create(ROUND_TRIP, "AAA", settings=TICKS)
    found = await metrics(ada, session)
    assert (found["equity"], found["net_profit"], found["closed_trades"]) == ("10000", "0", "0")
    undefined = {name for name, value in found.items() if not value}
    assert {"win_rate", "profit_factor", "expectancy", "realized_sharpe", "max_drawdown"} <= undefined


async def test_metrics_that_are_not_there(trader: Any, feed: ManualFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = await trader(), await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    assert info(await failure(metrics(bob, session))).reason == "SESSION_NOT_FOUND"
    feed.push("AAA", prices(10, 20, 12, 25, 10, 20, 12, 25))
    await ada.at_tick(session, 8)
    monkeypatch.setattr(limits, "MAX_JUDGED_TRADES", 1)
    error = await failure(metrics(ada, session))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
