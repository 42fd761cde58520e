"""One user, 150 sessions of several strategies at once: each does what the engine alone does with its ticks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from forward_test.test_recovery import EAGER, walk
from forward_test.test_verify import CROSS
from graphs import sma_cross
from market_data.feeds import ManualFeed

from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.records import EventKind, Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import TradeBook
from algotrade.forward_test.book import engine_trade
from algotrade.forward_test.postgres import PostgresSessionStore
from algotrade.platform.process import Platform
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import types_pb2

COUNT: Final = 150
TICKS: Final = 300
AT_ONCE: Final = 8
GRAPHS: Final = (EAGER, CROSS, sma_cross(2, 4), sma_cross(3, 9), sma_cross(5, 20))
INTERVALS: Final = ("tick", "5s", "tick", "tick")


@dataclass(frozen=True)
class Plan:
    """What one of the sessions is."""

    number: int

    @property
    def graph(self) -> int:
        return self.number % len(GRAPHS)

    @property
    def symbol(self) -> str:
        return ("AAA", "BBB")[self.number // len(GRAPHS) % 2]

    @property
    def settings(self) -> Mapping[str, str]:
        """No two with the same figures: what one does cannot pass for what another does."""
        return {
            "interval": INTERVALS[self.number % len(INTERVALS)],
            "initial_cash": str(5_000 + 37 * self.number),
            "fee_bps": str(self.number % 12),
            "slippage_bps": str(self.number % 5),
        }


async def test_150_sessions_of_a_user_do_what_the_engine_alone_does(
    trader: Any, feed: ManualFeed, platform: Platform
) -> None:
    ada = await trader()
    strategies = [await ada.strategy(graph) for graph in GRAPHS]
    room = asyncio.Semaphore(AT_ONCE)

    async def begin(plan: Plan) -> pb.Session:
        request = pb.CreateSessionRequest(
            strategy_id=strategies[plan.graph], symbol=plan.symbol, settings=types_pb2.RunSettings(**plan.settings)
        )
        async with room:
            return await ada.start((await ada.sessions.CreateSession(request)).session)

    plans = [Plan(number) for number in range(COUNT)]
    sessions = await asyncio.gather(*map(begin, plans))
    ticks = {"AAA": walk(31, TICKS), "BBB": walk(32, TICKS)}
    for parts in zip(*(np.array_split(ticks[symbol], 10) for symbol in ("AAA", "BBB")), strict=True):
        for symbol, part in zip(("AAA", "BBB"), parts, strict=True):
            feed.push(symbol, part)
    for session in sessions:
        await ada.at_tick(session, TICKS)

    store = PostgresSessionStore(platform.database)
    artefacts = [artefact for graph in GRAPHS if (artefact := compile_strategy(graph).artefact) is not None]
    for plan, session in zip(plans, sessions, strict=True):
        found = await store.get(ada.user_id, session.session_id)
        assert found is not None
        events, book, state = alone(artefacts[plan.graph], plan, ticks[plan.symbol])
        stored = await store.events(found, 0, 10_000)
        assert [(e.sequence, e.kind, e.tick_sequence, e.price, e.fee, e.cash) for e in stored] == [
            tuple(int(e[name]) for name in ("number", "kind", "tick_seq", "price", "fee", "cash")) for e in events
        ], plan
        closed, still_open = await store.trades(found, 0, 10_000)
        assert [engine_trade(trade) for trade in closed] == book.closed, plan
        assert (still_open and engine_trade(still_open)) == book.open, plan
        assert (found.cash, found.equity, found.quantity, found.bars) == state, plan
        assert any(e.kind == EventKind.ENTRY for e in stored), plan
    listed = await ada.sessions.ListSessions(pb.ListSessionsRequest(page_size=COUNT + 1))
    assert len(listed.sessions) == COUNT


def alone(artefact: Artefact, plan: Plan, ticks: Records) -> tuple[Records, TradeBook, tuple[int, int, int, int]]:
    """What the engine makes of a plan, by itself, in one step over all ticks."""
    numbered = ticks.copy()
    numbered["seq"] = np.arange(1, len(ticks) + 1)
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings.parse(plan.settings))
    events = sessions.step(numbered)
    book = TradeBook(artefact.manifest.nodes)
    book.apply(events)
    state = sessions.state(slot)
    return events, book, (state.cash, state.equity, state.quantity, state.bars)
