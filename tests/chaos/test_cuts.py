"""Streams that are cut: whoever comes back with the cursor has neither a hole nor a repeat."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from chaos.cuts import Cuts

SEED = 20261125


@pytest.mark.timeout(300)
async def test_every_stream_goes_on_where_it_was_cut(folder: Path, prove: Any) -> None:
    kinds = Counter(reader=14, wire=10, gateway=1, stop=1)
    await prove(Cuts(folder, SEED, kinds), "cuts", trades=10)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_every_stream_goes_on_where_it_was_cut_again_and_again(folder: Path, prove: Any) -> None:
    kinds = Counter(reader=400, wire=400, gateway=25, stop=25)
    await prove(Cuts(folder, SEED + 1, kinds), "cuts", trades=100)
