"""A running RPC, as the layers around its handler see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message


@dataclass(slots=True)
class Call:
    """A running RPC."""

    method: str  # /package.Service/Method
    streaming: bool
    request: Message
    context: grpc.aio.ServicerContext[Any, Any]
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""  # why it failed: a name of ErrorReason
    error: BaseException | None = None  # what failed, where that is not the caller's affair
    sent: int = 0  # messages
    stopping: bool = False  # the server ends this stream
    metadata: Mapping[str, Sequence[str]] = field(init=False)
    labels: tuple[str, str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Sort the metadata and name the call as metrics do."""
        metadata: dict[str, list[str]] = {}
        for key, value in self.context.invocation_metadata() or ():
            if isinstance(value, str):
                metadata.setdefault(key, []).append(value)
        self.metadata = metadata
        _, service, name = self.method.split("/")
        self.labels = ("server_stream" if self.streaming else "unary", service, name)


Layer = Callable[[Call], AbstractAsyncContextManager[None]]
