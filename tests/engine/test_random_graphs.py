"""Random strategies on random tapes, run every way there is; all must do the same, to the last unit.

The oracle and the engine sum floats in different orders, so a comparison of two numbers that are equal but for
rounding may fall either way. The oracle says where a case hangs on that; what happened before is compared all the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agreement import Outcome, by_ticks, compiled, interpreted, oracle, wasm
from by_hand import rows
from graphs import at_prices
from oracle.random_bars import LENGTHS, Tape
from oracle.random_graphs import Case, case
from oracle.settings import units

from algotrade.engine.fixed import SCALE
from algotrade.engine.limits import MAX_AMOUNT

CHUNK = 20
IN_EVERY_RUN, AT_NIGHT = 1_000, 10_000


@pytest.mark.parametrize("first", range(0, IN_EVERY_RUN, CHUNK))
def test_every_way_agrees(first: int) -> None:
    check(first, longest=LENGTHS[1])


def test_a_halt_leaves_the_last_price_before_it() -> None:
    """Found at night: bars and ticks ended with another equity when an exit inside a bar overflowed."""
    # 4e10 of cash bought at 10 and sold at 13 is more than the ledger holds, 2**62 of 1e-8
    document = at_prices(9, take_profit={"percent": 30})
    bars = rows((9,), (10,), (10, 14, 10, 12), (12,))
    settings = {"initial_cash": "40000000000", "fee_bps": "0"}
    one = Case(0, document, settings, {}, Tape(bars, units(10), 86_400, "by hand"))
    compilation = compiled(one.document)
    assert compilation.artefact is not None
    result = wasm(compilation.artefact, one)
    assert (result.halted, result.bars) == ("amount_overflow", 2)
    assert by_ticks(compilation.artefact, one).without_curve() == result.without_curve()
    assert interpreted(compilation, one) == result


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(IN_EVERY_RUN, IN_EVERY_RUN + AT_NIGHT, CHUNK))
def test_every_way_agrees_at_night(first: int) -> None:
    check(first)


def check(first: int, longest: int = LENGTHS[-1]) -> None:
    in_doubt = 0
    for seed in range(first, first + CHUNK):
        one, name = case(seed, longest), f"case({seed}, {longest})"
        compilation = compiled(one.document)
        assert compilation.artefact is not None
        result = wasm(compilation.artefact, one)
        assert interpreted(compilation, one) == result, f"interpreter, {name}"
        if one.settings.get("path") != "worst":
            assert by_ticks(compilation.artefact, one).without_curve() == result.without_curve(), f"ticks, {name}"
        in_doubt += not agrees_with_oracle(one, result, name)
    assert in_doubt <= CHUNK // 2


def agrees_with_oracle(one: Case, result: Outcome, name: str) -> bool:
    """Assert agreement; False where only a part could be compared."""
    expected, reference = oracle(one)
    if reference.fragile:
        # A bar is at least one row, so this row is not later than the bar in doubt.
        until = one.tape.rows[min(reference.fragile)[0]][0]
        known, told = before(result, until), before(expected, until)
        assert known == (told[: len(known)] if result.halted else told), f"oracle up to {until}, {name}"
        return False
    if result.halted:
        # The oracle's integers have no end; the engine stops at a bound, and up to there both did the same.
        assert result.halted == "amount_overflow"
        assert reference.largest > MAX_AMOUNT // 2, f"{name} halted early"
        closed = [trade for trade in result.trades if trade[4] is not None]
        assert closed == expected.trades[: len(closed)], f"oracle before the halt, {name}"
        return False
    assert reference.largest < 2 * MAX_AMOUNT, f"{name} should have halted"
    assert expected.without_curve() == result.without_curve(), f"oracle, {name}"
    if one.settings.get("interval", "native") == "native":
        curve = np.array([float(equity) for equity in reference.equity]) / SCALE
        np.testing.assert_allclose(np.frombuffer(result.curve), curve, rtol=1e-12, atol=1e-7)
    return True


def before(outcome: Outcome, until: int) -> list[tuple[Any, ...]]:
    """Trades that were over before a moment, and so were decided before it."""
    return [trade for trade in outcome.trades if trade[4] is not None and trade[4] < until]
