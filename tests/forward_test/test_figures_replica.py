"""What a session's trades come to, read on a replica of the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forward_test.test_figures import daily, metrics
from forward_test.test_lifecycle import ROUND_TRIP, TICKS
from market_data.feeds import ManualFeed
from pydantic import SecretStr
from replicas import Replica, replica_of
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.process import Platform
from algotrade.platform.replica import open_replica
from algotrade.v1 import forward_test_service_pb2 as pb


@pytest.fixture
async def replica(database: AsyncEngine, data_dir: Path) -> AsyncIterator[Replica]:
    async with replica_of(database, data_dir / "figures") as replica:
        yield replica


@pytest.fixture
async def platform(platform: Platform, replica: Replica) -> AsyncIterator[Platform]:
    given = {"database_replica_dsn": SecretStr(replica.dsn), "database_replica_lag_seconds": 60.0}
    settings = platform.settings.model_copy(update=given)
    async with open_replica(settings) as engine:
        yield replace(platform, settings=settings, replica=engine)


async def test_figures_and_points_are_the_same_wherever_they_are_read(
    trader: Any, feed: ManualFeed, platform: Platform, replica: Replica
) -> None:
    ada = await trader()
    session = await ada.started(ROUND_TRIP, "AAA", settings=TICKS)
    feed.push("AAA", daily(10, 20, 12, 25, 10, 50, 12, 40))
    await ada.at_tick(session, 8)
    await ada.stop(session, pb.STOP_MODE_KEEP)
    request = pb.ListChartPointsRequest(session_id=session.session_id)
    while len((await ada.sessions.ListChartPoints(request)).points) < 7:
        pass  # they are drawn behind the session
    await replica.caught_up()

    def answered(source: str) -> float:
        return platform.metrics.replica_reads.labels(source)._value.get()

    before = answered("replica")
    figures, points = await metrics(ada, session), (await ada.sessions.ListChartPoints(request)).points
    assert answered("replica") == before + 3
    await replica.server.kill()
    before = answered("database")
    assert await metrics(ada, session) == figures
    assert (await ada.sessions.ListChartPoints(request)).points == points
    assert answered("database") == before + 3
