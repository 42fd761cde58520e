"""Channels between services: correlation id, trace and the caller's token travel with every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, cast

import grpc

from algotrade.platform import limits, tracing
from algotrade.platform.caller import CORRELATION_ID, CORRELATION_KEY, PRINCIPAL, TRACEPARENT, TRACEPARENT_KEY
from algotrade.platform.certificates import Certificates, Pems
from algotrade.platform.renewing import RenewingChannel

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
    return grpc.aio.insecure_channel(_target(address), options=OPTIONS, interceptors=_interceptors(token))


def open_renewing(
    address: str, token: TokenSource | None, certificates: Certificates, process: str
) -> grpc.aio.Channel:
    """Return such a channel with TLS on both sides: to the process of this name only, in this process's own name."""
    target, options = _target(address), (*OPTIONS, ("grpc.ssl_target_name_override", process))

    def opened(pems: Pems) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(pems.authorities, pems.key, pems.certificate)
        return grpc.aio.secure_channel(target, credentials, options=options, interceptors=_interceptors(token))

    return cast(grpc.aio.Channel, RenewingChannel(certificates, opened))


def _target(address: str) -> str:
    return f"ipv4:{address}" if "," in address else address


def _interceptors(token: TokenSource | None) -> list[grpc.aio.ClientInterceptor]:
    source = token or _callers_token
    spans = tracing.running()
    traced = spans.client_interceptors if spans else []
    return [*traced, _Unary(source), _Stream(source)]


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
