"""A session keeps what it runs: its strategy may change, or be deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from graphs import at_prices, sma_cross
from market_data.feeds import SECOND, ManualFeed, made

from algotrade.v1 import strategy_service_pb2 as strategy_pb

START = 1_700_000_000 * SECOND


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_session_runs_what_it_was_created_from(trader: Any, feed: ManualFeed, deleted: bool) -> None:
    ada = await trader()
    session = await ada.create(at_prices(10, 12), "AAA", settings={"interval": "tick"})
    if deleted:
        await ada.strategies.DeleteStrategy(strategy_pb.DeleteStrategyRequest(strategy_id=session.strategy_id))
    else:
        request = strategy_pb.UpdateStrategyRequest(
            strategy_id=session.strategy_id, update_mask=FieldMask(paths=["graph"]), graph=json.dumps(sma_cross(3, 7))
        )
        assert (await ada.strategies.UpdateStrategy(request)).strategy.version == 2
    started = await ada.start(session)
    feed.push("AAA", made(*((START + n * SECOND, p * 10**8) for n, p in enumerate((10, 20, 12, 25)))))
    ended = await ada.at_tick(started, 4)
    assert (ended.total_trades, ended.artefact_hash, ended.strategy_version) == (1, session.artefact_hash, 1)
