"""Addresses outside, as Apprise writes them: which are allowed, what of one may be shown, and sending to one."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from apprise import Apprise, AppriseAsset, NotifyType, OverflowMode

from algotrade.notification.guard import Guard, is_public
from algotrade.notification.notice import Severity
from algotrade.platform.errors import InvalidArgument

# Whose host is the receiver itself, so that it can be shown and has to be judged. Of the others the host is a secret.
OWN_HOST: Final = frozenset({"json", "jsons", "form", "forms", "xml", "xmls"})
TYPES: Final = {
    Severity.INFO: NotifyType.INFO,
    Severity.WARNING: NotifyType.WARNING,
    Severity.CRITICAL: NotifyType.FAILURE,
}


@dataclass(frozen=True, slots=True)
class Address:
    """What may be shown of an address."""

    service: str
    masked: str


class Undelivered(Exception):  # noqa: N818  (an outcome)
    """A message was not taken: refused_address, timed_out, not_taken or unreadable_channel."""

    def __init__(self, failure: str) -> None:
        """Take the reason."""
        super().__init__(failure)
        self.failure = failure


class Addresses:
    """Judges addresses and sends to them, in threads of its own."""

    def __init__(self, schemes: Sequence[str], *, allow_private: bool, seconds: float, threads: int) -> None:
        """Take what is allowed, how long a message may take, and how many are sent at once."""
        self._schemes = frozenset(schemes)
        self._allow_private = allow_private
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="deliver")
        self._asset = AppriseAsset(app_id="AlgoTrade", app_desc="AlgoTrade", async_mode=False, http_redirects=False)
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it writes addresses, secrets included

    def close(self) -> None:
        """Take nothing more. What is being sent ends with its time."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, url: str) -> Address:
        """Judge an address without sending anything. Raises InvalidArgument."""
        scheme = _scheme(url)
        if scheme not in self._schemes:
            raise _bad("scheme_not_allowed", f"must begin with one of {', '.join(sorted(self._schemes))}, then ://")
        plugin = await asyncio.to_thread(self._plugin, url)  # the first address loads every kind there is
        if plugin is None:
            raise _bad("unreadable", "is not an address that Apprise can send to")
        hosts = [getattr(plugin, "smtp_host", None), plugin.host if scheme in OWN_HOST else None]
        for host in filter(None, hosts):
            if not (self._allow_private or await _may_be_public(str(host).strip("[]"))):
                raise _bad("host_not_allowed", "leads to a private or local host")
        shown = f"{plugin.host}{f':{plugin.port}' if plugin.port else ''}/****" if scheme in OWN_HOST else "****"
        return Address(str(plugin.service_name), f"{scheme}://{shown}")

    async def send(self, url: str, title: str, body: str, severity: Severity) -> None:
        """Send one message and return when it was taken. Raises Undelivered."""
        guard = Guard(allow_private=self._allow_private)
        sending = partial(self._send, guard, url, title, body, severity)
        running = asyncio.get_running_loop().run_in_executor(self._threads, sending)
        try:
            async with asyncio.timeout(self._seconds):
                taken = await asyncio.shield(running)
        except TimeoutError:
            raise Undelivered("timed_out") from None
        finally:
            if not running.done():
                guard.cut()
                running.cancel()
                running.add_done_callback(_forget)
        if taken is None:
            raise Undelivered("unreadable_channel")
        if not taken:
            raise Undelivered("refused_address" if guard.refused else "not_taken")

    def _send(self, guard: Guard, url: str, title: str, body: str, severity: Severity) -> bool | None:
        plugin = self._plugin(url) if _scheme(url) in self._schemes else None
        if plugin is None:
            return None
        # Whatever the address says of these:
        plugin.redirects = False
        plugin.overflow_mode = OverflowMode.SPLIT  # a digest that is too long for one message is several
        plugin.socket_connect_timeout = plugin.socket_read_timeout = self._seconds
        with guard:
            try:
                return bool(plugin.notify(body=body or title, title=title, notify_type=TYPES[severity]))
            except Exception:  # what a kind of channel raises is its own; all of it means that nothing was taken
                return False

    def _plugin(self, url: str) -> Any:
        return Apprise.instantiate(url, asset=self._asset, suppress_exceptions=True)


def _scheme(url: str) -> str:
    try:
        return urlsplit(url.strip()).scheme.lower()
    except ValueError:
        return ""


async def _may_be_public(host: str) -> bool:
    """Whether a host is public as far as one can see now. What counts is what is connected to when it comes to it."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True  # nobody knows such a name today
    return all(is_public(str(address[0])) for *_, address in found)


def _bad(cause: str, sentence: str) -> InvalidArgument:
    return InvalidArgument("CHANNEL_URL_INVALID", f"url: {sentence}", violations=[("url", sentence)], cause=cause)


def _forget(running: asyncio.Future[Any]) -> None:
    if not running.cancelled():
        running.exception()
