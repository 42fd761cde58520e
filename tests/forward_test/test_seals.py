"""Trades in the audit log by their digests: what is changed, taken away or put in is found."""

from __future__ import annotations

from typing import Any

import pytest
from forward_test.test_lifecycle import ROUND_TRIP, TICKS, prices
from market_data.feeds import ManualFeed
from sqlalchemy import text

from algotrade.forward_test.postgres_seals import PostgresSeals, SealCheck
from algotrade.platform.audit import entries, first_broken
from algotrade.v1 import forward_test_service_pb2 as pb

ROUND = (10, 11, 12, 11)  # ticks that make one trade


class Market:
    """Sessions that trade when they are told to."""

    def __init__(self, trader: Any, feed: ManualFeed) -> None:
        self.trader = trader
        self._feed = feed
        self._said = 0

    async def session(self) -> pb.Session:
        return await self.trader.started(ROUND_TRIP, "AAA", settings=TICKS)

    async def trade(self, session: pb.Session, times: int) -> None:
        for _ in range(times):
            self._feed.push("AAA", prices(*ROUND, first=self._said))
            self._said += len(ROUND)
        await self.trader.at_tick(session, self._said)


@pytest.fixture
async def market(trader: Any, feed: ManualFeed) -> Market:
    return Market(await trader(), feed)


async def found(database: Any) -> tuple[list[str], int, int]:
    """Return what is found, how many trades are as they were, and how many are gone with their session."""
    async with database.connect() as connection, database.connect() as beside:
        assert await first_broken(connection) is None
        check = SealCheck(beside)
        wrong = [str(one) async for entry in entries(connection) async for one in check.follow(entry)]
        return wrong + [str(one) for one in check.missing()], check.trades, check.gone


async def test_each_trade_is_sealed_once(market: Market, database: Any) -> None:
    seals = PostgresSeals(database)
    assert await seals.seal() == 0
    first, second = await market.session(), await market.session()
    await market.trade(first, 3)
    await market.trader.at_tick(second, 12)
    assert await seals.seal() == 2
    assert await seals.seal() == 0
    await market.trader.stop(second, pb.STOP_MODE_KEEP)
    await market.trade(first, 2)
    assert await seals.seal() == 1
    assert await found(database) == ([], 8, 0)
    async with database.connect() as connection:
        events = [entry.event async for entry in entries(connection) if entry.event.action == "trades_sealed"]
        actors = (await connection.execute(text("SELECT actor FROM trade_seals"))).scalars().all()
        assert set(actors) == set((await connection.execute(text("SELECT audit_actor FROM users"))).scalars())
    assert [(event.facts["sessions"], event.facts["trades"]) for event in events] == [("2", "6"), ("1", "2")]


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE trades SET pnl = pnl + 0.00000001 WHERE sequence = 4",
        "UPDATE trades SET exit_reason = 'x' WHERE sequence = 4",
        "UPDATE trades SET sequence = 3 WHERE sequence = 4",
        "DELETE FROM trades WHERE sequence = 4",
        """INSERT INTO trades SELECT session_month, session_id, 3, side, quantity, entry_ns, entry_price, exit_ns,
            exit_price, fees, pnl, exit_reason, ambiguous FROM trades WHERE sequence = 4""",
    ],
)
async def test_a_trade_that_is_not_as_it_was_is_found(market: Market, database: Any, tampering: str) -> None:
    session = await market.session()
    await market.trade(session, 4)
    await PostgresSeals(database).seal()
    assert await found(database) == ([], 4, 0)
    async with database.begin() as connection:
        assert (await connection.execute(text(tampering))).rowcount == 1
    wrong, right, _ = await found(database)
    assert (len(wrong), right) == (1, 0)
    assert session.session_id in wrong[0]


async def test_seals_are_only_added_and_one_that_was_changed_is_found(market: Market, database: Any) -> None:
    await market.trade(await market.session(), 2)
    await PostgresSeals(database).seal()
    with pytest.raises(Exception, match="append-only"):
        async with database.begin() as connection:
            await connection.execute(text("DELETE FROM trade_seals"))
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE trade_seals DISABLE TRIGGER append_only"))
        await connection.execute(text("DELETE FROM trade_seals"))
        await connection.execute(text("ALTER TABLE trade_seals ENABLE TRIGGER append_only"))
    wrong, _, _ = await found(database)
    assert len(wrong) == 1
    assert wrong[0].startswith("the seals of event")


async def test_what_a_user_deleted_is_counted_and_what_somebody_else_did_is_found(
    market: Market, database: Any
) -> None:
    mine, gone = await market.session(), await market.session()
    await market.trade(mine, 2)
    await market.trader.at_tick(gone, 8)
    await PostgresSeals(database).seal()
    await market.trader.stop(mine, pb.STOP_MODE_KEEP)
    await market.trader.sessions.DeleteSession(pb.DeleteSessionRequest(session_id=mine.session_id))
    assert await found(database) == ([], 2, 2)
    async with database.begin() as connection:
        where = {"session_id": gone.session_id}
        await connection.execute(text("DELETE FROM forward_test_sessions WHERE session_id = :session_id"), where)
    wrong, right, deleted = await found(database)
    assert (len(wrong), right, deleted) == (1, 0, 2)
    assert gone.session_id in wrong[0]
