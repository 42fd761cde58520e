"""Decides what of new notices is kept, in which place, and what is sent outside.

A notice whose id is in the inbox is a repeat. Rejections of one session by one node for one reason are one entry for a
while, which counts them, and so are messages of a notify node: what happens at every tick must not flood its owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from algotrade.notification.notice import Notice, Notification, Rule, State

Cause = tuple[str, str, str]  # session, node and reason


@dataclass(frozen=True, slots=True)
class Folded:
    """What to add to inboxes, in order, and the entries that stand for more than they did."""

    added: list[Notification]
    raised: list[Notification]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A notification that a rule sends to its channel, with how many before it were held back."""

    notification: Notification
    rule: Rule
    held_back: int
    state: State


def cause_of(notice: Notice) -> Cause:
    """Return what notices that are counted together have in common."""
    return notice.session_id, notice.node_id, notice.reason


def fold(
    notices: Iterable[Notice],
    last: Mapping[str, int],
    known: Iterable[str],
    newest: Mapping[Cause, Notification],
    now: datetime,
    together: timedelta,
) -> Folded:
    """Fold notices into inboxes.

    ``last``: the newest sequence of each inbox, without those that are gone; ``known``: ids that are in them;
    ``newest``: the newest entry of each cause; ``together``: how long one entry counts.
    """
    sequences, seen, counting = dict(last), set(known), dict(newest)
    added: dict[tuple[str, int], Notification] = {}
    raised: dict[tuple[str, int], Notification] = {}
    for notice in notices:
        if notice.user_id not in sequences:
            continue
        if notice.kind.counted and (entry := counting.get(cause_of(notice))) is not None:
            if notice.event_sequence <= entry.last_event_sequence:
                continue  # counted before
            if now - entry.create_time < together:
                entry = replace(
                    entry,
                    notice=replace(entry.notice, event_ns=notice.event_ns),
                    count=entry.count + 1,
                    last_event_sequence=notice.event_sequence,
                )
                counting[cause_of(notice)] = entry
                key = (notice.user_id, entry.sequence)
                (added if key in added else raised)[key] = entry
                continue
        if notice.notification_id in seen:
            continue
        seen.add(notice.notification_id)
        sequences[notice.user_id] += 1
        sequence = sequences[notice.user_id]
        entry = Notification(notice, sequence, now, last_event_sequence=notice.event_sequence)
        added[notice.user_id, sequence] = entry
        if notice.kind.counted:
            counting[cause_of(notice)] = entry
    return Folded(list(added.values()), list(raised.values()))


def choose(
    added: Sequence[Notification], rules: Sequence[Rule], waiting: Mapping[str, int], most_waiting: int
) -> tuple[list[Chosen], list[Rule]]:
    """Return what rules send of new notifications, once a channel, and the rules that have changed by it.

    ``waiting``: how many deliveries of a user are not sent yet; what comes on top of the most is dropped.
    """
    chosen: list[Chosen] = []
    current = {rule.rule_id: rule for rule in rules}
    counts = dict(waiting)
    sent: set[tuple[str, int, str]] = set()
    for notification in added:
        user_id = notification.notice.user_id
        for rule in [one for one in current.values() if one.user_id == user_id]:
            if rule.disabled or not rule.choice.fits(notification.notice):
                continue
            pause = timedelta(seconds=rule.choice.throttle_seconds)
            if rule.send_time is not None and notification.create_time - rule.send_time < pause:
                current[rule.rule_id] = replace(rule, held_back=rule.held_back + 1)
                continue
            key = (user_id, notification.sequence, rule.channel_id)
            if key not in sent:
                sent.add(key)
                room = counts.get(user_id, 0) < most_waiting
                counts[user_id] = counts.get(user_id, 0) + room
                state = State.PENDING if room else State.DROPPED
                chosen.append(Chosen(notification, rule, rule.held_back, state))
            current[rule.rule_id] = replace(rule, held_back=0, send_time=notification.create_time)
    before = {rule.rule_id: rule for rule in rules}
    return chosen, [rule for rule in current.values() if rule != before[rule.rule_id]]
