"""Trades in any order, repeated and late: each is passed on once, in order, and never before one that is missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from algotrade.market_data.venues.line import TradeLine
from algotrade.market_data.venues.said import Trade


def numbers(trades: list[Trade]) -> list[int]:
    return [trade.number for trade in trades]


def trades(*numbers: int) -> list[Trade]:
    return [Trade(number) for number in numbers]


@given(st.lists(st.integers(1, 40), max_size=120), st.integers(0, 5))
def test_each_trade_passes_once_in_order_and_none_before_a_missing_one(arrivals: list[int], last: int) -> None:
    line, passed = TradeLine(last), []
    for number in arrivals:
        passed += numbers(line.take(trades(number)))
    came = set(arrivals)
    contiguous = []
    while last + len(contiguous) + 1 in came:
        contiguous.append(last + len(contiguous) + 1)
    assert passed == contiguous
    assert line.hole == (max(arrivals, default=0) > last + len(contiguous))
    assert line.duplicates + len(contiguous) + line.waiting == len(arrivals)


@given(st.lists(st.sets(st.integers(1, 40)), max_size=8))
def test_giving_up_loses_what_never_came_and_nothing_else(batches: list[set[int]]) -> None:
    line, passed, lost = TradeLine(0), [], 0
    for batch in batches:
        passed += numbers(line.take(trades(*batch)))
    while line.hole:
        missing, following = line.give_up()
        lost += missing
        passed += numbers(following)
    came = set().union(*batches)
    assert passed == sorted(came)
    assert lost == max(came, default=0) - len(came)


def test_the_first_trade_begins_the_line_and_a_named_number_does_too() -> None:
    assert numbers(TradeLine().take(trades(7, 8))) == [7, 8]
    line = TradeLine()
    line.name(9)
    assert not line.hole
    assert line.take(trades(9)) == []
    line.name(11)
    assert line.hole
    assert numbers(line.take(trades(11, 10))) == [10, 11]
    assert not line.hole
