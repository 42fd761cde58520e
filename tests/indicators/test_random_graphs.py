"""Random strategies over the whole catalogue of indicators: module, interpreter and ticks do the same."""

from __future__ import annotations

from collections import Counter

import pytest
from agreement import by_ticks, compiled, interpreted, wasm

from indicators.random_graphs import KINDS, wide_case

CHUNK = 10
IN_EVERY_RUN, AT_NIGHT = 100, 2_000


def check(first: int) -> None:
    for seed in range(first, first + CHUNK):
        one = wide_case(seed)
        compilation = compiled(one.document)
        assert compilation.artefact is not None
        result = wasm(compilation.artefact, one)
        assert interpreted(compilation, one) == result, f"interpreter, wide_case({seed})"
        if one.settings.get("path") != "worst":
            ticks = by_ticks(compilation.artefact, one).without_curve()
            assert ticks == result.without_curve(), f"ticks, wide_case({seed})"


@pytest.mark.parametrize("first", range(0, IN_EVERY_RUN, CHUNK))
def test_every_way_agrees(first: int) -> None:
    check(first)


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(IN_EVERY_RUN, IN_EVERY_RUN + AT_NIGHT, CHUNK))
def test_every_way_agrees_at_night(first: int) -> None:
    check(first)


def test_every_indicator_comes_up() -> None:
    types = Counter(node["type"] for seed in range(IN_EVERY_RUN) for node in wide_case(seed).document["nodes"])
    assert set(KINDS) <= set(types)
