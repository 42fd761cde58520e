"""What a user does to strategies and sessions is in the audit log: in order, before and after, under a pseudonym."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from graphs import sma_cross
from sqlalchemy import text

from algotrade.platform.audit import entries, first_broken
from algotrade.v1 import forward_test_service_pb2 as pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb


def digest(graph: str) -> str:
    return hashlib.sha256(graph.encode()).hexdigest()


async def test_every_act_leaves_an_entry(trader: Any, database: Any) -> None:
    ada = await trader()
    first, second = json.dumps(sma_cross(2, 3)), json.dumps(sma_cross(3, 5))
    made = await ada.strategies.CreateStrategy(strategy_pb.CreateStrategyRequest(name="cross", graph=first))
    strategy_id = made.strategy.strategy_id
    request = strategy_pb.UpdateStrategyRequest(strategy_id=strategy_id, graph=second)
    request.update_mask.paths.append("graph")
    await ada.strategies.UpdateStrategy(request)
    session = await ada.create(sma_cross(2, 3), "AAA")
    await ada.start(session)
    await ada.stop(session, pb.STOP_MODE_KEEP)
    await ada.sessions.DeleteSession(pb.DeleteSessionRequest(session_id=session.session_id))
    await ada.strategies.DeleteStrategy(strategy_pb.DeleteStrategyRequest(strategy_id=strategy_id))

    async with database.connect() as connection:
        found = [entry.event async for entry in entries(connection)]
        assert await first_broken(connection) is None
        row = (await connection.execute(text("SELECT user_id, audit_actor FROM users"))).one()
    acts = [event for event in found if event.action.startswith(("strategy", "session"))]
    assert [event.action for event in acts] == [
        *("strategy_created", "strategy_changed", "strategy_created", "session_created"),
        *("session_told", "session_told", "session_deleted", "strategy_deleted"),
    ]
    assert {event.actor for event in acts} == {row.audit_actor}
    assert str(row.user_id) not in str(acts)
    assert all(event.correlation_id for event in acts)
    assert acts[0].facts == {"strategy_id": strategy_id, "after": digest(first)}
    changed = {"strategy_id": strategy_id, "version": "2", "before": digest(first), "after": digest(second)}
    assert acts[1].facts == changed
    assert [acts[index].facts["command"] for index in (4, 5)] == ["start", "stop_keep"]
