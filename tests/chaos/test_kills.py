"""kill -9, again and again: nothing is lost, nothing is doubled, and whoever follows misses nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.campaign import Campaign

from algotrade.platform import failpoints


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="at-k-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.timeout(600)
async def test_thirty_kills_lose_and_double_nothing(
    folder: Path, record_property: Callable[[str, object], None]
) -> None:
    kinds = Counter(point=len(failpoints.POINTS), random=5, starting=2, database=2, immediate=1)
    campaign = Campaign(folder, 20261125, kinds)
    assert len(campaign.faults) >= 30
    verdict = await campaign.run()
    record_property("table", campaign.table("kills"))
    print(campaign.table("kills"))
    assert not verdict.wrong, "\n".join(verdict.wrong[:20])
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.sessions >= 6
    assert verdict.trades > 100
