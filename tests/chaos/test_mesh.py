"""The mesh on real servers, two workers in it: nothing is lost, nothing is doubled, whatever fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chaos.mesh import FAULTS, MeshFaults

SEED = 20261128
SHORT = ("takeover", "zombie")  # tests/e2e/test_stack.py kills the servers
OFTEN = Counter(worker=40, takeover=40, zombie=40, scaled=10, service=10, postgres=10, kafka=10, redis=5, closed=12)


@pytest.mark.timeout(600)
async def test_the_mesh_loses_and_doubles_nothing(folder: Path, prove: Any) -> None:
    kinds = Counter(dict.fromkeys(SHORT, 1))
    await prove(MeshFaults(folder, SEED, kinds), "faults of the mesh", trades=5)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_the_mesh_loses_and_doubles_nothing_again_and_again(folder: Path, prove: Any) -> None:
    kinds = Counter(dict.fromkeys(FAULTS, 3)) | OFTEN
    assert kinds.total() >= 200
    await prove(MeshFaults(folder, SEED + 1, kinds, ticks=20_000, replay_speed=20), "faults of the mesh", trades=1000)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_twenty_rolling_restarts_are_not_noticed(folder: Path, prove: Any) -> None:
    await prove(MeshFaults(folder, SEED + 2, Counter(rolling=20), ticks=20_000, replay_speed=20), "rolling", trades=100)
