"""Where inboxes, channels, rules and deliveries are kept: a port for each who asks.

What the API asks for is asked on behalf of a user, who sees nobody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from algotrade.notification.notice import (
    Channel,
    ChannelChange,
    Delivery,
    Inbox,
    Notice,
    Notification,
    Parcel,
    Rule,
    RuleChange,
    State,
)
from algotrade.platform.once import Once


class Moved(Exception):  # noqa: N818  (an outcome)
    """The place in a log is not where the reader took it to be; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of records of a partition, and what they say, each with its record's offset."""

    topic: str
    partition: int
    first: int
    after: int
    notices: tuple[tuple[int, Notice], ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What was new in a batch, and how much of it is to be sent outside."""

    notifications: tuple[Notification, ...] = ()
    deliveries: int = 0


class Intake(Protocol):
    """What comes in from the bus."""

    async def positions(self, topic: str) -> Mapping[int, int]:
        """Return the next offset to read of each partition that was ever read."""
        ...

    async def begin(self, topic: str, partition: int, offset: int) -> None:
        """Begin to read a partition; where that was begun before, change nothing."""
        ...

    async def jump(self, topic: str, partition: int, offset: int, to: int) -> None:
        """Move the place in a partition, if it is still at an offset."""
        ...

    async def take(self, batch: Batch) -> Taken:
        """Store what a batch says, with its deliveries and the place after it, all or nothing.

        What was stored before, be it that a record or a whole batch comes again, is not stored again. Raises Moved.
        """
        ...


class InboxStore(Protocol):
    """What the API asks of inboxes."""

    async def inbox(self, user_id: str) -> Inbox:
        """Return what there is of an inbox."""
        ...

    async def after(self, user_id: str, sequence: int, count: int) -> list[Notification]:
        """List what follows a sequence, in order."""
        ...

    async def before(self, user_id: str, sequence: int | None, count: int, *, unread: bool) -> list[Notification]:
        """List what is before a sequence, the newest first; None: from the newest on."""
        ...

    async def mark_read(self, user_id: str, notification_ids: Sequence[str], up_to: int, now: datetime) -> int:
        """Note that these, and all up to a sequence, were read; return how many had not been."""
        ...


class ChannelStore(Protocol):
    """What the API asks and tells of channels and rules. A change of what is not there is None."""

    async def create_channel(self, channel: Channel, once: Once | None) -> bytes | None:
        """Keep a new channel. Where the request was answered before, change nothing and return that answer.

        Raises AlreadyExists for a request_id with another body, ResourceExhausted for one channel too many.
        """
        ...

    async def channel(self, user_id: str, channel_id: str) -> Channel | None:
        """Find a channel."""
        ...

    async def channels(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Channel]:
        """List channels: those before a (create_time, channel_id), the newest first."""
        ...

    async def change_channel(self, user_id: str, channel_id: str, change: ChannelChange) -> Channel | None:
        """Change a channel."""
        ...

    async def delete_channel(self, user_id: str, channel_id: str) -> bool:
        """Delete a channel with its rules and deliveries; tell whether it was there."""
        ...

    async def create_rule(self, rule: Rule, once: Once | None) -> bytes | None:
        """Keep a new rule, as `create_channel` does. Raises NotFound too, where the user has no such channel."""
        ...

    async def rule(self, user_id: str, rule_id: str) -> Rule | None:
        """Find a rule."""
        ...

    async def rules(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Rule]:
        """List rules: those before a (create_time, rule_id), the newest first."""
        ...

    async def change_rule(self, user_id: str, rule_id: str, change: RuleChange) -> Rule | None:
        """Change a rule. Raises NotFound where the user has no such channel."""
        ...

    async def delete_rule(self, user_id: str, rule_id: str) -> bool:
        """Delete a rule; tell whether it was there."""
        ...


class DeliveryStore(Protocol):
    """What is to be sent, and was."""

    async def deliveries(self, user_id: str, before: tuple[int, str] | None, count: int) -> list[Delivery]:
        """List deliveries: those before a (sequence, channel_id), the newest notification first."""
        ...

    async def claim(self, now: datetime, until: datetime, count: int, busy: Sequence[str]) -> list[Parcel]:
        """Take up deliveries that are due, one a user and none of busy users; nobody else takes them until then."""
        ...

    async def finish(self, parcel: Parcel, state: State, failure: str, now: datetime, due: datetime) -> None:
        """Note how a delivery went; one that is pending is due again at a time."""
        ...
