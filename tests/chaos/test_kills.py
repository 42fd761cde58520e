"""kill -9, again and again: nothing is lost, nothing is doubled, and whoever follows misses nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chaos.campaign import Campaign
from chaos.commits import UnknownCommits
from chaos.takeover import Takeover
from sqlalchemy.engine import URL

from algotrade.platform import failpoints

SEED = 20261125


@pytest.mark.timeout(600)
async def test_twenty_kills_and_more_lose_and_double_nothing(folder: Path, prove: Any) -> None:
    kinds = Counter(point=len(failpoints.POINTS), random=2, starting=1, database=1, immediate=1)
    campaign = Campaign(folder, SEED, kinds)
    assert len(campaign.faults) >= 20
    assert {fault.point for fault in campaign.faults} >= set(failpoints.POINTS)
    await prove(campaign, "kills", trades=100)


@pytest.mark.timeout(300)
async def test_a_commit_whose_outcome_nobody_knows_is_done_once(folder: Path, empty_database: URL, prove: Any) -> None:
    scenario = UnknownCommits(folder, empty_database, SEED, cuts=12)
    await prove(scenario, "unknown commits", trades=20)
    assert scenario.wire.cuts["between COMMIT and its answer"] > 2
    assert scenario.wire.cuts["before COMMIT arrived"] > 2


@pytest.mark.timeout(300)
async def test_a_frozen_platform_that_wakes_changes_nothing_any_more(
    folder: Path, empty_database: URL, prove: Any
) -> None:
    await prove(Takeover(folder, empty_database, SEED, turns=2), "takeovers", trades=20)


# ---------------------------------------------------------------------- the same, long: 200 kills and what goes with it


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_two_hundred_kills_lose_and_double_nothing(folder: Path, prove: Any) -> None:
    kinds = Counter(point=5 * len(failpoints.POINTS), random=50, starting=15, database=20, immediate=15)
    campaign = Campaign(folder, SEED + 1, kinds, ticks=20_000, replay_speed=20)
    assert len(campaign.faults) >= 200
    await prove(campaign, "kills", trades=1000)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_many_unknown_commits_are_done_once(folder: Path, empty_database: URL, prove: Any) -> None:
    await prove(UnknownCommits(folder, empty_database, SEED + 1, cuts=200), "unknown commits", trades=100)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_many_takeovers_change_nothing(folder: Path, empty_database: URL, prove: Any) -> None:
    await prove(Takeover(folder, empty_database, SEED + 1, turns=24), "takeovers", trades=100)
