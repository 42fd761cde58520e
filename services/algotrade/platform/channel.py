"""Channels between services: correlation id, trace and the caller's token travel with every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import grpc

from algotrade.platform import limits, tracing
from algotrade.platform.caller import CORRELATION_ID, CORRELATION_KEY, PRINCIPAL, TRACEPARENT, TRACEPARENT_KEY

# What is away may be back in a moment, as when it is started anew: a call is tried again for about a second. gRPC
# does so only where no answer has begun; calls that change things carry a request_id.
_RETRY: Final = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
OPTIONS: Final = (
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRY}]})),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", limits.MAX_RESPONSE_BYTES),
    ("grpc.max_send_message_length", limits.MAX_REQUEST_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

TokenSource = Callable[[], str | None]


def open_channel(address: str, token: TokenSource | None = None) -> grpc.aio.Channel:
    """Return a channel whose calls carry the running call's correlation id, and its token unless one is given.

    Of several addresses, with commas between them, it takes the first that answers.
    """
    source = token or _callers_token
    target = f"ipv4:{address}" if "," in address else address
    spans = tracing.running()
    traced = spans.client_interceptors if spans else []
    interceptors = [*traced, _Unary(source), _Stream(source)]
    return grpc.aio.insecure_channel(target, options=OPTIONS, interceptors=interceptors)


def _callers_token() -> str | None:
    caller = PRINCIPAL.get()
    return caller.token if caller else None


class _Carrier:
    def __init__(self, token: TokenSource) -> None:
        self._token = token

    def details(self, given: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata: Any = grpc.aio.Metadata(*(given.metadata or ()))
        for key, value in ((CORRELATION_KEY, CORRELATION_ID.get()), (TRACEPARENT_KEY, TRACEPARENT.get())):
            if value and key not in metadata:
                metadata.add(key, value)
        if "authorization" not in metadata and (token := self._token()):
            metadata.add("authorization", f"Bearer {token}")
        return grpc.aio.ClientCallDetails(
            given.method, given.timeout, metadata, given.credentials, given.wait_for_ready
        )


class _Unary(_Carrier, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self.details(client_call_details), request)


class _Stream(_Carrier, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self.details(client_call_details), request)
