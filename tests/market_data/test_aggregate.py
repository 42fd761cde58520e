"""What enters the log, what is left out, and why."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_data.feeds import made

from algotrade.engine.records import MARKER, Records
from algotrade.market_data.aggregate import SymbolAggregate
from algotrade.market_data.feed import FeedTicks, Resume
from algotrade.platform import limits

START = Resume(epoch=1, sequence=10, event_ns=1000, price=500)


def test_good_ticks_are_numbered_on_from_the_log() -> None:
    aggregate = SymbolAggregate(START)
    taken = aggregate.take(FeedTicks(made((1000, 501), (1000, 502), (1500, 503, 0.0))))
    assert taken.ticks["seq"].tolist() == [11, 12, 13]
    assert taken.ticks["price"].tolist() == [501, 502, 503]
    assert not taken.left_out
    assert (aggregate.sequence, aggregate.event_ns, aggregate.price) == (13, 1500, 503)


@pytest.mark.parametrize(
    ("tick", "reason"),
    [
        ((2000, 0), "bad_price"),
        ((2000, -5), "bad_price"),
        ((2000, 5, -1.0), "bad_size"),
        ((2000, 5, math.nan), "bad_size"),
        ((2000, 5, math.inf), "bad_size"),
        ((9001, 5), "future"),
        ((999, 5), "late"),
    ],
)
def test_a_bad_tick_is_left_out_and_counted(tick: tuple[int, int], reason: str) -> None:
    aggregate = SymbolAggregate(START)
    taken = aggregate.take(FeedTicks(made((1000, 1), tick, (2000, 2))), latest_ns=9000)
    assert taken.ticks["price"].tolist() == [1, 2]
    assert taken.ticks["seq"].tolist() == [11, 12]
    assert dict(taken.left_out) == {reason: 1}


def test_a_bad_tick_does_not_make_later_ones_late() -> None:
    aggregate = SymbolAggregate(START)
    taken = aggregate.take(FeedTicks(made((5000, 0), (2000, 1), (9999, 1), (3000, 2))), latest_ns=9000)
    assert taken.ticks["ts"].tolist() == [2000, 3000]
    assert dict(taken.left_out) == {"bad_price": 1, "future": 1}


def test_a_trade_id_counts_once_within_and_across_batches() -> None:
    aggregate = SymbolAggregate(START)
    first = aggregate.take(FeedTicks(made((1000, 1), (1000, 2), (1000, 3)), ["a", "b", "a"]))
    assert first.ticks["price"].tolist() == [1, 2]
    second = aggregate.take(FeedTicks(made((1000, 4), (1000, 5)), ["b", "c"]))
    assert second.ticks["price"].tolist() == [5]
    assert second.ticks["seq"].tolist() == [13]
    assert dict(first.left_out) == dict(second.left_out) == {"duplicate": 1}


def test_the_memory_of_trade_ids_is_bounded() -> None:
    aggregate = SymbolAggregate(START)
    count = limits.MAX_RECENT_TRADE_IDS
    ticks = made(*((1000, 1) for _ in range(count)))
    aggregate.take(FeedTicks(ticks, [f"id-{number}" for number in range(count)]))
    aggregate.take(FeedTicks(made((1000, 1)), ["one-more"]))
    assert dict(aggregate.take(FeedTicks(made((1000, 1)), ["id-1"])).left_out) == {"duplicate": 1}
    assert not aggregate.take(FeedTicks(made((1000, 1)), ["id-0"])).left_out, "the oldest was forgotten"


def test_the_same_trade_twice_without_ids_is_two_trades() -> None:
    taken = SymbolAggregate(START).take(FeedTicks(made((1000, 5, 2.0), (1000, 5, 2.0))))
    assert len(taken.ticks) == 2


def test_the_first_tick_may_lie_before_the_epoch() -> None:
    taken = SymbolAggregate(Resume(epoch=1)).take(FeedTicks(made((-9000, 5), (-8000, 6), (-8500, 7))))
    assert taken.ticks["ts"].tolist() == [-9000, -8000]
    assert dict(taken.left_out) == {"late": 1}


def test_a_marker_is_numbered_and_makes_earlier_ticks_late() -> None:
    aggregate = SymbolAggregate(START)
    [marker] = aggregate.marker(2000)
    assert (marker["seq"], marker["ts"], marker["price"], marker["flags"]) == (11, 2000, 0, MARKER)
    assert aggregate.price == 500
    assert len(aggregate.marker(2000)) == 0, "time said so already"
    assert dict(aggregate.take(FeedTicks(made((1999, 1), (2000, 2)))).left_out) == {"late": 1}


ROWS = st.tuples(
    st.integers(0, 50), st.integers(-2, 9), st.sampled_from([0.0, 1.5, -1.0, math.nan]), st.sampled_from("abcdef")
)


@pytest.mark.parametrize("with_ids", [True, False])
@given(batches=st.lists(st.lists(ROWS, max_size=8), max_size=8))
def test_any_feed_gives_an_ordered_log_and_accounts_for_every_tick(
    with_ids: bool, batches: list[list[tuple[int, int, float, str]]]
) -> None:
    aggregate = SymbolAggregate(Resume(epoch=1))
    logged: list[Records] = []
    expected: list[tuple[int, int]] = []
    seen: set[str] = set()
    left_out = offered = 0
    for batch in batches:
        ids = [row[3] for row in batch] if with_ids else None
        taken = aggregate.take(FeedTicks(made(*(row[:3] for row in batch)), ids), latest_ns=40)
        logged.append(taken.ticks)
        left_out += taken.left_out.total()
        offered += len(batch)
        for ts, price, size, trade_id in batch:  # the rules, one tick at a time
            good = price > 0 and size >= 0 and ts <= 40 and (not expected or ts >= expected[-1][0])
            if good and not (with_ids and trade_id in seen):
                seen.add(trade_id)
                expected.append((ts, price))
    ticks = np.concatenate(logged) if logged else made()
    assert len(ticks) + left_out == offered
    assert ticks["seq"].tolist() == list(range(1, len(ticks) + 1))
    assert list(zip(ticks["ts"].tolist(), ticks["price"].tolist(), strict=True)) == expected


def banded(*prices: int, start: int = 100) -> tuple[list[int], int]:
    """Return the prices that a band of 20 % lets through, each in a call of its own as well as all in one."""
    resume = Resume(epoch=1, sequence=10 if start else 0, event_ns=1000, price=start)
    one, other = SymbolAggregate(resume, 0.2), SymbolAggregate(resume, 0.2)
    taken = one.take(FeedTicks(made(*((1001, price) for price in prices))))
    singly = [other.take(FeedTicks(made((1001, price)))).ticks["price"].tolist() for price in prices]
    assert [price for part in singly for price in part] == taken.ticks["price"].tolist()
    return taken.ticks["price"].tolist(), taken.left_out["jump"]


def test_a_lone_price_far_from_the_last_is_left_out() -> None:
    assert banded(110, 1, 111, 10_000, 112) == ([110, 111, 112], 2)


def test_a_market_that_has_moved_is_believed_after_a_few_prices() -> None:
    assert banded(50, 51, 52, 53, 54, 55, 56) == ([54, 55, 56], 4)
    assert banded(50, 5000, 51, 52, 53, 54, 55) == ([55], 6), "they must be near each other, and in a row"


def test_the_first_price_of_all_is_believed() -> None:
    assert banded(7, 8, 100, start=0) == ([7, 8], 1)


@given(st.lists(st.integers(1, 10**12), max_size=60))
def test_a_band_never_shuts_a_market_out(prices: list[int]) -> None:
    steady = [10**6] * 5
    passed, _ = banded(*prices, *steady)
    assert passed[-1] == 10**6
