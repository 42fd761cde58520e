"""News of sessions that another process steps, for those who watch them here: from the bus.

Nothing is followed while every session that is watched is stepped here. What is heard are events that were stored, each
with its number: nothing is believed twice, and what is missed shows and is read from the store. Marks of value come as
they are told to realtime-updates, for which it is said there, again and again, who watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import aclosing
from typing import Final

from google.protobuf.message import DecodeError

from algotrade.engine import fixed
from algotrade.forward_test.changes import Changes, Mark
from algotrade.forward_test.messages import STATUSES, read_event
from algotrade.forward_test.session import shard_of
from algotrade.platform import limits
from algotrade.platform.background import end
from algotrade.platform.bus import Bus, Message
from algotrade.platform.caller import TRACEPARENT_KEY
from algotrade.platform.log import logger
from algotrade.platform.topics import (
    FORWARD_TEST_EVENTS,
    REALTIME_UPDATES,
    STRATEGY_SIGNALS,
    TRADE_EXECUTIONS,
    Topic,
)
from algotrade.v1 import events_pb2

log = logger(__name__)

LOOK_SECONDS: Final = 1.0  # shards change hands while somebody watches
RENEW_SECONDS: Final = 8.0  # twice before what was said is forgotten
RETRY_SECONDS: Final = 1.0
_TOPICS: Final = (TRADE_EXECUTIONS, STRATEGY_SIGNALS, FORWARD_TEST_EVENTS, REALTIME_UPDATES)
_STATUS_OF: Final = {value: status for status, value in STATUSES.items()}


class Elsewhere:
    """Listens on behalf of `Changes`."""

    def __init__(self, bus: Bus, changes: Changes, here: Callable[[], Collection[int]]) -> None:
        """Take where to listen, whom to tell, and which shards are stepped by this process."""
        self._bus = bus
        self._changes = changes
        self._here = here

    async def run(self) -> None:
        """Listen for ever, while there is something to listen for."""
        while True:
            self._changes.joined.clear()
            if self._watched():
                await self._listen()
            try:
                async with asyncio.timeout(LOOK_SECONDS if self._changes.watched else None):
                    await self._changes.joined.wait()
            except TimeoutError:
                pass

    def _watched(self) -> list[str]:
        here = self._here()
        return [session_id for session_id in self._changes.watched if shard_of(session_id) not in here]

    async def _listen(self) -> None:
        """Follow the bus as long as anybody watches what is stepped elsewhere."""
        following = [asyncio.create_task(self._follow(topic), name=f"elsewhere-{topic.name}") for topic in _TOPICS]
        said: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        try:
            while watched := self._watched():
                users = {one.user_id for session_id in watched for one in self._changes.watchers(session_id)} - {""}
                due = [user_id for user_id in sorted(users) if said.get(user_id, 0.0) < loop.time()]
                if due and await self._say(due[: limits.MAX_READ_RECORDS]):
                    said |= dict.fromkeys(due, loop.time() + RENEW_SECONDS)
                self._changes.joined.clear()
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._changes.joined.wait()
                except TimeoutError:
                    pass
        finally:
            await end(*following)

    async def _say(self, user_ids: list[str]) -> bool:
        """Say that users watch."""
        messages = [
            Message(
                user_id,
                events_pb2.RealtimeUpdate(interest=events_pb2.RealtimeInterest(user_id=user_id)).SerializeToString(),
            )
            for user_id in user_ids
        ]
        try:
            await self._bus.publish(REALTIME_UPDATES, messages)
        except Exception as error:
            log.warning("elsewhere.not_said", error=type(error).__name__)
            return False
        return True

    async def _follow(self, topic: Topic) -> None:
        while True:
            try:
                ends = await self._bus.ends(topic)
                async with aclosing(self._bus.subscribe(topic, ends, limits.MAX_READ_RECORDS)) as batches:
                    for session_id in self._watched():  # what was told before is not heard
                        self._changes.missed(session_id)
                    async for records in batches:
                        for record in records:
                            self._hear(topic, record.payload, record.headers.get(TRACEPARENT_KEY, ""))
            except Exception as error:
                log.warning("elsewhere.failed", topic=topic.name, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, topic: Topic, payload: bytes, cause: str) -> None:
        """Pass on what concerns somebody here, with its trace; what cannot be read others tell of."""
        try:
            if topic is TRADE_EXECUTIONS or topic is STRATEGY_SIGNALS:
                kind = events_pb2.TradeExecution if topic is TRADE_EXECUTIONS else events_pb2.StrategySignal
                told = kind.FromString(payload)
                if self._changes.watchers(told.session_id):
                    event = read_event(told.session_id, told.event)
                    self._changes.happened(event.session_id, event.sequence, cause, [event])
            elif topic is FORWARD_TEST_EVENTS:
                moved = events_pb2.ForwardTestEvent.FromString(payload)
                if moved.HasField("status"):
                    status = moved.status
                    standing = _STATUS_OF[status.status]
                    self._changes.stored(moved.session_id, status.last_sequence, standing, cause)
            else:
                for one in events_pb2.RealtimeUpdate.FromString(payload).marks.marks:
                    if shard_of(one.session_id) not in self._here():
                        self._changes.marked(one.session_id, _mark(one))
        except (DecodeError, KeyError, ValueError):
            return


def _mark(told: events_pb2.SessionMarkUpdate) -> Mark:
    mark = told.mark
    return Mark(
        mark.event_time.ToNanoseconds(),
        fixed.parse(mark.last_price),
        fixed.parse(mark.equity),
        fixed.parse(mark.unrealized_pnl),
        mark.bars,
    )
