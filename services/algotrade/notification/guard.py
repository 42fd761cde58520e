"""Watches over the connections of a thread that sends: none to addresses that are not public, none after time is up.

Names can lie: what a name meant when a channel was made, or a moment ago, need not be what is connected to. So the
address is judged where the interpreter itself connects, by an audit hook, whichever library asks and however it got
there: by name, by redirection, by mail. The hook looks only at threads that are inside a `Guard`.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import Any, Final, Self

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")  # an IPv4 address behind it, which would have to be judged


class RefusedAddress(OSError):  # noqa: N818  (an outcome)
    """A connection to where nothing may be sent."""


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet; what is none is not."""
    try:
        found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is not None:
            found = inner
        elif found in _TRANSLATED:
            return False
    return found.is_global and not found.is_multicast


class Guard:
    """A context in which the running thread connects to public addresses only, unless private ones are allowed."""

    def __init__(self, *, allow_private: bool) -> None:
        """Take the rule."""
        self.refused = False
        self._allow_private = allow_private
        self._descriptors: list[int] = []
        self._cut = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Begin to watch the running thread."""
        _install()
        _HERE.guard = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Watch it no longer."""
        _HERE.guard = None
        with self._lock:
            for descriptor in self._descriptors:
                os.close(descriptor)
            self._descriptors.clear()

    def cut(self) -> None:
        """End the thread's connections, from another thread: what it waits for will not come."""
        with self._lock:
            self._cut = True
            for descriptor in self._descriptors:
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
                    connection.shutdown(socket.SHUT_RDWR)

    def check(self, connection: socket.socket, address: Any) -> None:
        """Judge a connection that is about to be made. Raises RefusedAddress."""
        host = address[0] if isinstance(address, tuple) and address else ""
        public = connection.family in (socket.AF_INET, socket.AF_INET6) and is_public(str(host))
        with self._lock:
            if self._cut or not (public or self._allow_private):
                self.refused = self.refused or not self._cut
                raise RefusedAddress(f"nothing may be sent to {host}")
            self._descriptors.append(os.dup(connection.fileno()))


class _Here(threading.local):
    guard: Guard | None = None


_HERE: Final = _Here()
_INSTALLED: Final = threading.Event()
_INSTALLING: Final = threading.Lock()


def _install() -> None:
    """Add the hook, once a process: it cannot be taken away again."""
    with _INSTALLING:
        if not _INSTALLED.is_set():
            sys.addaudithook(_audit)
            _INSTALLED.set()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and (guard := _HERE.guard) is not None:
        guard.check(*arguments)
