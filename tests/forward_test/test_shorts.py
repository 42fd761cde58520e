"""Short positions and what waits, through a session: its row, positions, records of the bus, flatten and pause."""

from __future__ import annotations

from typing import Any

from forward_test.test_commands import steer
from forward_test.test_lifecycle import START, TICKS, failure, prices
from forward_test.test_outbox import told
from graphs import on_closes
from market_data.feeds import SECOND, ManualFeed

from algotrade.platform import topics
from algotrade.platform.errors import violations
from algotrade.platform.process import Platform
from algotrade.v1 import events_pb2
from algotrade.v1 import forward_test_service_pb2 as pb

SHORTS = TICKS | {"allow_short": True}
TEN = {"size_mode": "quantity", "size": 10}


def short(cover: float = 30, **params: Any) -> Any:
    return on_closes({"s": ("short", TEN | params, 10), "c": ("cover", {"portion": 40}, cover)})


async def test_a_short_position_is_told_on_its_side(trader: Any, feed: ManualFeed, platform: Platform) -> None:
    ada = await trader()
    session = await ada.started(short(), "AAA", settings=SHORTS)
    feed.push("AAA", prices(10, 20, 15, 30, 25))
    session = await ada.at_tick(session, 5)
    # 10 sold at 20, 4 bought back at 25: cash 10000 + 200 - 100, 6 still owed at 25
    assert (session.cash, session.quantity, session.average_price) == ("10100", "-6", "20")
    assert (session.equity, session.realized_pnl) == ("9950", "-20")
    (position,) = (await ada.sessions.ListPositions(pb.ListPositionsRequest())).positions
    assert (position.side, position.quantity) == (pb.TRADE_SIDE_SHORT, "6")
    assert (position.average_price, position.last_price, position.unrealized_pnl) == ("20", "25", "-30")
    assert position.entry_time.seconds == START // SECOND + 1
    sold, bought = await ada.events(session, 2)
    assert (sold.kind, sold.side, sold.quantity, sold.amount) == (pb.SESSION_EVENT_KIND_ENTRY, "short", "10", "200")
    assert (bought.kind, bought.side, bought.quantity, bought.pnl) == (pb.SESSION_EVENT_KIND_EXIT, "short", "4", "-20")
    updates = [
        events_pb2.PortfolioUpdate.FromString(record.payload)
        for record in await told(platform, topics.PORTFOLIO_UPDATES, session.session_id, 2)
    ]
    assert [(u.cash, u.quantity, u.equity) for u in updates] == [
        ("10200", "-10", "10000"),
        ("10100", "-6", "9950"),
    ]


async def test_a_short_is_flattened_by_buying_it_back(trader: Any, feed: ManualFeed) -> None:
    ada = await trader()
    session = await ada.started(short(), "AAA", settings=SHORTS)
    feed.push("AAA", prices(10, 20, 15))
    await ada.at_tick(session, 3)
    await steer(ada, "Flatten", session)
    feed.push("AAA", prices(12, first=3))
    session = await ada.reached(session, lambda one: one.total_trades == 1)
    assert (session.quantity, session.equity) == ("0", "10080")
    (trade,) = await ada.trades(session)
    assert (trade.side, trade.exit_reason, trade.pnl) == (pb.TRADE_SIDE_SHORT, "flatten", "80")


async def test_shorts_have_to_be_allowed(trader: Any) -> None:
    ada = await trader()
    error = await failure(ada.create(short(), "AAA", settings=TICKS))
    assert violations(error) == {"settings.allow_short": "the strategy sells short"}
