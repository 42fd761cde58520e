"""Delivers notifications to channels outside: at least once, a bounded number of tries, a few at a time.

A delivery is claimed for a while before it is sent. Whoever is killed meanwhile has perhaps sent it; when the while is
over it is due again. Within a claim a message is tried a few times in a row, then after longer pauses, then given up.
A digest is a delivery like any other, due when its time is over; nothing is added to it once it was taken up.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

import stamina

from algotrade.notification.address import Addresses, Undelivered
from algotrade.notification.notice import Entry, Parcel, Severity, State
from algotrade.notification.seal import Seal
from algotrade.notification.store import DeliveryStore
from algotrade.platform.clock import Clock, utc
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics

log = logger(__name__)

PAUSES: Final = (timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=30))  # after each claim but the last
TRIES_A_CLAIM: Final = 3
IN_VAIN: Final = frozenset({"unreadable_channel", "refused_address"})  # trying again at once changes nothing
RETRY_SECONDS: Final = 1.0


class Deliverer:
    """Sends what is due."""

    def __init__(
        self,
        store: DeliveryStore,
        addresses: Addresses,
        seal: Seal,
        clock: Clock,
        metrics: Metrics,
        *,
        at_once: int,
        seconds: float,
        poll_seconds: float,
    ) -> None:
        """Take what to send and how; ``seconds`` is how long a try may take."""
        self._store = store
        self._addresses = addresses
        self._seal = seal
        self._clock = clock
        self._metrics = metrics
        self._at_once = at_once
        self._claim = timedelta(seconds=seconds * (TRIES_A_CLAIM + 1) + 30)
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}  # by user: one at a time
        self.failure: BaseException | None = None  # why nothing is sent just now

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._claim_some()
                    self.failure = None
                except Exception as error:
                    self.failure = error
                    log.warning("deliver.failed", error=type(error).__name__, exc_info=error)
                    await asyncio.sleep(RETRY_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._wake.wait()
        finally:
            for task in self._sending.values():
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _claim_some(self) -> None:
        free = self._at_once - len(self._sending)
        if free <= 0:
            return
        now = utc(self._clock.now_ns())
        for parcel in await self._store.claim(now, now + self._claim, free, list(self._sending)):
            task = asyncio.create_task(self._deliver(parcel), name=f"deliver-{parcel.channel_id}")
            self._sending[parcel.user_id] = task
            task.add_done_callback(partial(self._done, parcel.user_id))

    def _done(self, user_id: str, task: asyncio.Task[None]) -> None:
        del self._sending[user_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("deliver.not_noted", error=type(error).__name__)  # it is due again when its claim is over
        self.wake()

    async def _deliver(self, parcel: Parcel) -> None:
        failure = await self.send(parcel)
        now = utc(self._clock.now_ns())
        state, due = State.SENT, now
        if failure:
            again = parcel.attempts <= len(PAUSES)
            state = State.PENDING if again else State.FAILED
            due = now + PAUSES[parcel.attempts - 1] if again else now
            log.info("deliver.refused", channel_id=parcel.channel_id, failure=failure, attempts=parcel.attempts)
        self._metrics.deliveries.labels(failure or "sent").inc()
        await self._store.finish(parcel, state, failure, now, due)

    async def send(self, parcel: Parcel) -> str:
        """Try to send; return why it was not taken, or an empty text."""
        try:
            url = self._seal.open(parcel.sealed_url)
        except ValueError:
            return "unreadable_channel"
        title, body, severity = written(parcel)
        try:
            async for attempt in stamina.retry_context(
                on=_worth_another_try,
                attempts=TRIES_A_CLAIM,
                wait_initial=0.2,
                wait_max=2.0,
            ):
                with attempt:
                    await self._addresses.send(url, title, body, severity)
        except Undelivered as error:
            return error.failure
        return ""


def written(parcel: Parcel) -> tuple[str, str, Severity]:
    """Return title, body and severity of a message; those of a digest say what it holds, a line each."""
    title, body, severity = parcel.title, parcel.body, parcel.severity
    if len(parcel.entries) > 1:
        title = f"{len(parcel.entries)} notifications"
        body = "\n".join(_line(entry) for entry in parcel.entries)
        severity = max(entry.severity for entry in parcel.entries)
    if parcel.held_back:
        body = f"{body}\n({parcel.held_back} more were held back.)".strip()
    return title, body, severity


def _line(entry: Entry) -> str:
    often = f" ({entry.count} times)" if entry.count > 1 else ""
    return f"{entry.create_time:%Y-%m-%d %H:%M:%S} UTC {entry.title}{often}"


def _worth_another_try(error: Exception) -> bool:
    return isinstance(error, Undelivered) and error.failure not in IN_VAIN
