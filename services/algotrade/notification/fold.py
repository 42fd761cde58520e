"""Decides what of new notices is kept, in which place, and what is sent outside.

A notice whose id is in the inbox is a repeat. Rejections of one session by one node for one reason are one entry for a
while, which counts them, and so are messages of a notify node: what happens at every tick must not flood its owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from algotrade.notification.notice import Digest, Notice, Notification, Rule, State
from algotrade.platform import limits

Cause = tuple[str, str, str]  # session, node and reason


@dataclass(frozen=True, slots=True)
class Folded:
    """What to add to inboxes, in order, and the entries that stand for more than they did."""

    added: list[Notification]
    raised: list[Notification]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A notification that a rule sends to its channel, with how many before it were held back.

    ``entries``: sequences of those that it gathers in a digest, itself the first; none where it is sent by itself.
    """

    notification: Notification
    rule: Rule
    held_back: int
    state: State
    entries: tuple[int, ...] = ()

    @property
    def due_time(self) -> datetime:
        """When it is to be sent: at once, unless it is a digest that has room."""
        waits = self.entries and len(self.entries) < limits.MAX_DIGEST_ENTRIES
        return self.notification.create_time + timedelta(seconds=self.rule.choice.digest_seconds if waits else 0)


@dataclass(frozen=True, slots=True)
class Choices:
    """What rules send, the digests of before that have more entries now, and the rules that have changed by it."""

    chosen: list[Chosen]
    grown: list[Digest]
    rules: list[Rule]


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
    added: Sequence[Notification],
    rules: Sequence[Rule],
    waiting: Mapping[str, int],
    most_waiting: int,
    digests: Iterable[Digest] = (),
) -> Choices:
    """Choose what rules send of new notifications, once a channel: by itself rather than in a digest.

    ``waiting``: how many deliveries of a user are not sent yet; what comes on top of the most is dropped. ``digests``:
    those that may be added to.
    """
    choosing = _Choosing(rules, dict(waiting), most_waiting, digests)
    gathering_last = sorted(rules, key=lambda one: bool(one.choice.digest_seconds))
    for notification in added:
        for rule in gathering_last:
            if rule.user_id == notification.notice.user_id and rule.choice.fits(notification.notice):
                choosing.offer(notification, rule.rule_id)
    return choosing.outcome()


class _Choosing:
    """What was chosen so far."""

    def __init__(
        self, rules: Sequence[Rule], waiting: dict[str, int], most_waiting: int, digests: Iterable[Digest]
    ) -> None:
        self._before = {rule.rule_id: rule for rule in rules}
        self._rules = dict(self._before)
        self._waiting = waiting
        self._most_waiting = most_waiting
        self._open = {(one.rule_id, one.channel_id): one for one in digests}
        self._new: dict[tuple[str, str], int] = {}  # by rule and channel: where in `_chosen` its digest is
        self._grown: dict[tuple[str, str], Digest] = {}
        self._chosen: list[Chosen] = []
        self._sent: set[tuple[str, int, str]] = set()

    def outcome(self) -> Choices:
        changed = [rule for key, rule in self._rules.items() if rule != self._before[key]]
        return Choices(self._chosen, list(self._grown.values()), changed)

    def offer(self, notification: Notification, rule_id: str) -> None:
        """Send a notification by a rule, unless that holds it back or it goes to that channel anyway."""
        rule, user_id = self._rules[rule_id], notification.notice.user_id
        pause = timedelta(seconds=rule.choice.throttle_seconds)
        if rule.disabled:
            return
        if rule.send_time is not None and notification.create_time - rule.send_time < pause:
            self._rules[rule_id] = replace(rule, held_back=rule.held_back + 1)
            return
        key = (user_id, notification.sequence, rule.channel_id)
        if key not in self._sent:
            self._sent.add(key)
            if not (rule.choice.digest_seconds and self._joined(notification, rule)):
                self._send(notification, rule)
        self._rules[rule_id] = replace(rule, held_back=0, send_time=notification.create_time)

    def _send(self, notification: Notification, rule: Rule) -> None:
        user_id = notification.notice.user_id
        room = self._waiting.get(user_id, 0) < self._most_waiting
        self._waiting[user_id] = self._waiting.get(user_id, 0) + room
        state = State.PENDING if room else State.DROPPED
        entries = (notification.sequence,) if rule.choice.digest_seconds else ()
        if entries and room:
            self._new[rule.rule_id, rule.channel_id] = len(self._chosen)
        self._chosen.append(Chosen(notification, rule, rule.held_back, state, entries))

    def _joined(self, notification: Notification, rule: Rule) -> bool:
        """Add a notification to the rule's digest, if there is one with room."""
        key = (rule.rule_id, rule.channel_id)
        if (place := self._new.get(key)) is not None:
            found = self._chosen[place]
            if len(found.entries) < limits.MAX_DIGEST_ENTRIES:
                self._chosen[place] = replace(found, entries=(*found.entries, notification.sequence))
                return True
        elif (digest := self._open.get(key)) is not None and len(digest.entries) < limits.MAX_DIGEST_ENTRIES:
            self._open[key] = replace(digest, entries=(*digest.entries, notification.sequence))
            self._grown[key] = self._open[key]
            return True
        return False
