"""Redis is lost: no trade, no tick and no message is, and none is there twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chaos.losses import LOSSES, Losses

SEED = 20261126


@pytest.mark.timeout(300)
async def test_losing_redis_loses_nothing_else(folder: Path, prove: Any) -> None:
    await prove(Losses(folder, SEED, Counter(dict.fromkeys(LOSSES, 1))), "losses of Redis", trades=10)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_losing_redis_again_and_again_loses_nothing_else(folder: Path, prove: Any) -> None:
    await prove(Losses(folder, SEED + 1, Counter(dict.fromkeys(LOSSES, 20))), "losses of Redis", trades=50)
