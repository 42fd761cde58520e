"""A channel between services that is opened anew when this process's certificate changes.

gRPC reads a client's certificate once, when a channel is opened. Stubs keep their channel for ever, so they are given
this one, which has the calls that stubs make of a channel and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc

from algotrade.platform.certificates import Certificates, Pems

GRACE_SECONDS: Final = 60.0  # calls that run end on the channel they began on

Open = Callable[[Pems], grpc.aio.Channel]


class RenewingChannel:
    """What stubs and probes need of a grpc.aio.Channel."""

    def __init__(self, certificates: Certificates, opened: Open) -> None:
        """Take who this process is, and how a channel is opened as it."""
        self._certificates = certificates
        self._opened = opened
        self._pems = certificates.current()
        self._channel = opened(self._pems)
        self._ending: set[asyncio.Task[None]] = set()

    def unary_unary(self, method: str, *codec: Any, **more: Any) -> Callable[..., Any]:
        """Return a call that goes over the channel of the moment."""
        return self._late("unary_unary", method, codec, more)

    def unary_stream(self, method: str, *codec: Any, **more: Any) -> Callable[..., Any]:
        """Return a call that goes over the channel of the moment."""
        return self._late("unary_stream", method, codec, more)

    async def close(self, grace: float | None = None) -> None:
        """Close this channel, and those before it."""
        for task in self._ending:
            task.cancel()
        await self._channel.close(grace)

    def _late(self, kind: str, method: str, codec: Any, more: Any) -> Callable[..., Any]:
        made_on: grpc.aio.Channel | None = None
        made: Any = None

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal made_on, made
            channel = self._now()
            if channel is not made_on:
                made_on, made = channel, getattr(channel, kind)(method, *codec, **more)
            return made(*arguments, **options)

        return call

    def _now(self) -> grpc.aio.Channel:
        pems = self._certificates.current()
        if pems is not self._pems:
            before, self._pems, self._channel = self._channel, pems, self._opened(pems)
            ending = asyncio.get_running_loop().create_task(before.close(GRACE_SECONDS), name="channel-ends")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return self._channel
