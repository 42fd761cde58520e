"""What a reader of a session is told of its events: those that follow its cursor, no hole, and never too many."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st

from algotrade.engine.fixed import MAX
from algotrade.forward_test.changes import Changes, Mark
from algotrade.forward_test.messages import event_message, read_event
from algotrade.forward_test.session import Event, Status
from algotrade.platform import limits

amounts = st.integers(-MAX, MAX)
events = st.builds(
    Event,
    session_id=st.just("s"),
    sequence=st.integers(1, 2**60),
    kind=st.integers(1, 6),
    event_ns=st.integers(0, 2**62),
    tick_sequence=st.integers(0, 2**60),
    node_id=st.text(max_size=10),
    reason=st.text(max_size=10),
    side=st.sampled_from(["", "long", "short"]),
    price=amounts,
    quantity=amounts,
    amount=amounts,
    fee=amounts,
    pnl=st.none() | amounts,
    cash=amounts,
)


def event(sequence: int) -> Event:
    return Event("s", sequence, 1, 0, 0, "", "", "", 0, 0, 0, 0, None, 0)


def sequences(found: list[Event]) -> list[int]:
    return [one.sequence for one in found]


@hypothesis.given(events)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert read_event("s", event_message(event)) == event


def test_events_are_given_once_in_their_order_however_they_come() -> None:
    changes = Changes()
    with changes.watching("s") as watch:
        for sequence in (2, 1, 2, 4):
            changes.happened("s", sequence, events=[event(sequence)])
        assert watch.sequence == 4
        assert sequences(watch.take(0)) == [1, 2]
        assert sequences(watch.take(2)) == [], "the third was not heard of: the store has it"
        changes.stored("s", 5, Status.RUNNING, events=[event(3), event(5)])
        assert sequences(watch.take(2)) == [3, 4, 5]
        changes.happened("s", 5, events=[event(5)])
        assert sequences(watch.take(5)) == []


def test_a_mark_is_due_when_a_session_has_moved_and_somebody_may_be_sent_one() -> None:
    changes = Changes()
    assert changes.mark_due("s", 1) is None, "nobody watches"
    with changes.watching("s") as watch, changes.watching("s") as other:
        watch.due_ns, other.due_ns = 300, 200
        assert changes.mark_due("s", 1) == 200
        changes.marked("s", Mark(7, 2, 3, 4, 5), 1)
        assert changes.mark_due("s", 1) is None, "what it is worth is as it was"
        assert changes.mark_due("s", 2) == 200, "though it may be of the same moment"
        with changes.watching("s") as late:
            late.due_ns = 100
            assert changes.mark_due("s", 1) == 100, "who has come since has had none"


def test_a_row_that_was_stored_wakes_a_reader_only_where_it_says_something_new() -> None:
    changes = Changes()
    with changes.watching("s") as watch:
        changes.stored("s", 3, Status.RUNNING)
        assert watch.changed.is_set()
        watch.changed.clear()
        changes.stored("s", 3, Status.RUNNING)
        assert not watch.changed.is_set()
        changes.stored("s", 3, Status.PAUSED)
        assert watch.changed.is_set()
        watch.changed.clear()
        changes.stored("s", 4, Status.PAUSED, events=[event(4)])
        assert watch.changed.is_set()


def test_what_nobody_takes_is_not_kept_for_ever() -> None:
    changes = Changes()
    with changes.watching("s") as watch:
        latest = 10 * limits.MAX_TOLD_EVENTS - 1
        for sequence in range(1, latest + 1):
            changes.happened("s", sequence, events=[event(sequence)])
        assert watch.take(0) == []
        found = sequences(watch.take(9 * limits.MAX_TOLD_EVENTS))
        assert found[-1] == latest
        assert len(found) <= limits.MAX_TOLD_EVENTS
