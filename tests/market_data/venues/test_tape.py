"""The tape, told what happens and when: states, waiting, fetching, giving up; nothing here takes time."""

from __future__ import annotations

import pytest

from algotrade.market_data.feed import FeedChange, FeedItem, FeedState, FeedTicks, FeedTime, Resume
from algotrade.market_data.venues.said import Beat, Doubt, Down, Fill, FillFailed, Heard, Trade, Trades, Up
from algotrade.market_data.venues.tape import NEVER, Tape, TapeRules
from algotrade.platform import limits

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
RESUMED = Resume(1, 5, START - SECOND, 100, FeedState.LIVE, "v:10")


class Told:
    """A tape and a clock; what it says is written down in short."""

    def __init__(self, resume: Resume = RESUMED) -> None:
        self.now = START
        self.tape = Tape(resume, TapeRules(), self.now, "v")
        self.begun = short(self.tape.begin(self.now))

    def hear(self, heard: Heard | None, seconds: float = 0.0) -> list[object]:
        self.now += round(seconds * SECOND)
        return short(self.tape.hear(heard, self.now))

    def fetch(self) -> int | None:
        return self.tape.fetch(self.now)

    def live(self) -> Told:
        self.hear(Up())
        assert self.fetch() == 10
        assert self.hear(Fill([], complete=True)) == ["LIVE"]
        return self


def short(items: list[FeedItem]) -> list[object]:
    said: list[object] = []
    for item in items:
        if isinstance(item, FeedTicks):
            assert item.trade_ids is not None
            said += [int(number.removeprefix("v:")) for number in item.trade_ids]
        else:
            said.append(item.state.name if isinstance(item, FeedChange) else ("time", item.ts))
    return said


def trades(*numbers: int, wrong: str = "") -> Trades:
    return Trades("X", [Trade(number, START + number, 100, 1.0, 0, wrong) for number in numbers])


def test_after_a_restart_it_is_a_gap_until_what_was_missed_is_fetched() -> None:
    told = Told()
    assert told.begun == ["GAP"]
    assert told.fetch() is None
    assert told.hear(Up()) == []
    assert told.fetch() == 10
    assert told.fetch() is None, "it is fetched once"
    assert told.hear(trades(14)) == []
    assert told.hear(Fill(trades(11, 12, 13).trades, complete=True)) == [11, 12, 13, 14, "LIVE"]
    assert told.hear(trades(15)) == [15]


def test_a_new_symbol_begins_live_with_its_first_trade_and_never_with_a_snapshot() -> None:
    told = Told(Resume(epoch=1))
    assert told.begun == []
    assert told.hear(Up()) == []
    assert told.fetch() is None
    assert told.hear(Trades("X", trades(1, 2, 3).trades, snapshot=True)) == []
    assert told.hear(trades(4, 5)) == [4, 5]


def test_disorder_within_patience_is_put_right_and_never_told() -> None:
    told = Told().live()
    assert told.hear(trades(12)) == []
    assert told.fetch() is None
    assert told.hear(trades(11), 0.2) == [11, 12]
    assert told.tape.counts["gaps"] == 1, "the one of the restart"


def test_a_missing_trade_becomes_a_gap_is_fetched_and_time_stands_still_meanwhile() -> None:
    told = Told().live()
    assert told.hear(Beat("X", told.now)) == [("time", START - SECOND)]
    assert told.hear(trades(12)) == []
    assert told.hear(Beat("X", told.now + SECOND)) == [], "a marker now would make 11 late"
    due = told.tape.due_ns()
    assert due == told.now + SECOND // 4
    assert told.hear(None, 0.25) == ["GAP"]
    assert told.fetch() == 10
    assert told.hear(trades(13)) == []
    assert told.hear(Fill(trades(11, 12).trades, complete=True)) == [11, 12, 13, "LIVE"]
    assert told.hear(Beat("X", told.now + SECOND), 0.1) == [("time", START)]


def test_a_heartbeat_that_names_a_later_trade_shows_the_hole() -> None:
    told = Told().live()
    told.hear(Beat("X", told.now, 11))
    assert told.hear(None, 0.25) == ["GAP"]
    assert told.fetch() == 10
    assert told.hear(Fill(trades(11).trades, complete=True)) == [11, "LIVE"]


def test_a_lost_frame_is_looked_after_at_once_and_says_nothing_where_nothing_is_missing() -> None:
    told = Told().live()
    assert told.hear(Doubt()) == []
    assert told.hear(Beat("X", told.now)) == [], "a marker now would make what is missing late"
    assert told.fetch() == 10
    assert told.hear(Fill([], complete=True)) == []
    assert told.hear(Beat("X", told.now)) == [("time", START - SECOND)]
    assert told.hear(Doubt()) == []
    assert told.hear(None, 0.25) == ["GAP"]
    assert told.hear(Fill(trades(11).trades, complete=True)) == [11, "LIVE"]


def test_what_cannot_be_fetched_is_tried_again_and_given_up_in_the_end() -> None:
    told = Told().live()
    told.hear(trades(13))
    assert told.hear(None, 0.25) == ["GAP"]
    for _ in range(3):
        assert told.fetch() == 10
        assert told.hear(FillFailed("status 503")) == []
        assert told.fetch() is None
        assert told.tape.due_ns() == told.now + SECOND
        told.hear(None, 1.0)
    assert told.hear(trades(15), 110) == []
    assert told.hear(None, 7) == [13, 15, "LIVE"]
    assert told.tape.counts["lost"] == 3
    assert told.hear(trades(16)) == [16]


def test_what_the_venue_no_longer_has_is_lost_and_said() -> None:
    told = Told().live()
    told.hear(trades(19))
    told.hear(None, 0.25)
    told.fetch()
    assert told.hear(Fill(trades(15, 16, 17, 18).trades, complete=False)) == [15, 16, 17, 18, 19, "LIVE"]
    assert told.tape.counts["lost"] == 4


def test_more_than_can_wait_is_given_up() -> None:
    told = Told().live()
    told.hear(None, 0.0)
    first = 12
    items = told.hear(trades(*range(first, first + limits.MAX_WAITING_TRADES + 1)))
    assert items[0] == first
    assert len(items) == limits.MAX_WAITING_TRADES + 1


@pytest.mark.parametrize("cause", ["silent: nothing came", "closed: 1006"])
def test_a_lost_connection_is_a_gap_until_it_is_back_and_whole(cause: str) -> None:
    told = Told().live()
    assert told.hear(Down(cause)) == ["GAP"]
    assert told.hear(Down(cause)) == []
    assert told.tape.due_ns() == NEVER
    assert told.hear(Up(), 30) == []
    assert told.fetch() == 10
    assert told.hear(Trades("X", trades(10, 11).trades, snapshot=True)) == []
    assert told.hear(Fill(trades(11).trades, complete=True)) == [11, "LIVE"]


def test_nobody_trades_for_long_is_stale_and_time_goes_on() -> None:
    told = Told().live()
    told.hear(trades(11))
    assert told.hear(Beat("X", told.now + 59 * SECOND), 59)[0] != "STALE"
    assert told.tape.due_ns() == told.now + SECOND
    assert told.hear(None, 1) == ["STALE"]
    assert told.tape.due_ns() == NEVER
    assert told.hear(Beat("X", told.now)) == [("time", (told.now - SECOND // 2) // SECOND * SECOND)]
    assert told.hear(trades(12)) == ["LIVE", 12], "the trade itself is of a live feed"


def test_a_trade_that_cannot_be_is_counted_and_leaves_no_hole() -> None:
    told = Told().live()
    assert told.hear(trades(11, wrong="bad_size")) == []
    assert told.hear(trades(12)) == [12]
    assert told.tape.counts["bad_size"] == 1


def test_repeats_are_counted_and_a_fetch_of_more_than_was_missing_is_not() -> None:
    told = Told().live()
    told.hear(trades(11, 12))
    told.hear(trades(11))
    assert told.tape.counts["duplicates"] == 1
    told.hear(trades(14))
    told.hear(None, 0.25)
    told.fetch()
    told.hear(Fill(trades(13, 14).trades, complete=True))
    assert told.tape.counts["duplicates"] == 1


@pytest.mark.parametrize("trade_id", ["", "10", "other:10", "v:x"])
def test_a_symbol_that_came_from_elsewhere_says_that_nobody_knows_what_was_missed(trade_id: str) -> None:
    told = Told(Resume(1, 5, START, 100, trade_id=trade_id))
    assert told.begun == ["GAP"]
    told.hear(Up())
    assert told.fetch() is None
    items = told.tape.hear(Trades("X", trades(7).trades, snapshot=True), told.now)
    [change] = items
    assert isinstance(change, FeedChange)
    assert (change.state, change.detail) == (FeedState.LIVE, "what was missed nobody knows")
    assert not isinstance(change, FeedTime)


def test_a_number_far_ahead_is_not_believed_and_shuts_nothing_out() -> None:
    told = Told().live()
    assert told.hear(trades(10**17)) == []
    assert told.hear(Beat("X", told.now, 10**18)) == [("time", START - SECOND)]
    assert told.hear(trades(11)) == [11]
    assert told.tape.counts["bad_number"] == 1


def test_a_venue_that_went_on_far_ahead_is_believed_over_rest() -> None:
    told = Told().live()
    first = 10**9
    for number in range(first, first + limits.FAR_TRADES_BELIEVED + 1):
        told.hear(trades(number))
    assert told.hear(None, 0.25) == ["GAP"]
    assert told.fetch() == 10
    ahead = [first + 200, first + 201]
    assert told.hear(Fill(trades(*ahead).trades, complete=False)) == [*ahead, "LIVE"]
    assert told.hear(trades(first + 202)) == [first + 202]


def test_a_venue_far_ahead_without_rest_is_begun_anew_with() -> None:
    told = Told()
    told.hear(Up())
    told.fetch()
    told.hear(FillFailed("status 503"))
    told.hear(trades(10**9))
    assert told.hear(None, 120) == []
    assert told.hear(trades(10**9 + 5)) == [10**9 + 5, "LIVE"]


def test_what_nobody_has_is_not_fetched_for_ever() -> None:
    told = Told().live()
    told.hear(Beat("X", told.now, 12))
    assert told.hear(None, 0.25) == ["GAP"]
    assert told.fetch() == 10
    assert told.hear(Fill(trades(11).trades, complete=True)) == [11, "LIVE"], "12 was named, and is not there"
    assert told.fetch() is None
    assert told.hear(trades(12)) == [12]
