"""The outermost layers around a call: its correlation id, its metrics, and the one line that the log has of it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
import structlog

from algotrade.platform import limits
from algotrade.platform.call import Call, Layer
from algotrade.platform.caller import (
    CORRELATION_ID,
    CORRELATION_KEY,
    REQUEST_ID_KEY,
    TRACEPARENT,
    TRACEPARENT_KEY,
    carried,
)
from algotrade.platform.database import is_away
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics

log = logger(__name__)

# As the gateway's template has it.
_CORRELATION_ID: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{,{limits.MAX_CORRELATION_ID_CHARS - 1}}}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context

# What a call's end is worth in the log. The rest is the caller's affair, and of interest to nobody else.
_LEVELS: Final = {
    grpc.StatusCode.UNKNOWN: logging.ERROR,
    grpc.StatusCode.INTERNAL: logging.ERROR,
    grpc.StatusCode.DATA_LOSS: logging.ERROR,
    grpc.StatusCode.UNAVAILABLE: logging.WARNING,
    grpc.StatusCode.DEADLINE_EXCEEDED: logging.WARNING,
    grpc.StatusCode.RESOURCE_EXHAUSTED: logging.WARNING,
}


@asynccontextmanager
async def correlated(call: Call) -> AsyncIterator[None]:
    """Give the call an id, the caller's or a new one, that every log line, every record and every further call carries.

    A trace that comes with the call is passed on as it is.
    """
    given = next((call.metadata[key][0] for key in (CORRELATION_KEY, REQUEST_ID_KEY) if key in call.metadata), "")
    correlation_id = given if _CORRELATION_ID.fullmatch(given) else str(uuid.uuid4())
    trace = call.metadata.get(TRACEPARENT_KEY, [""])[0]
    CORRELATION_ID.set(correlation_id)  # each call runs in a task, so in a context, of its own
    TRACEPARENT.set(trace if _TRACEPARENT.fullmatch(trace) else "")
    structlog.contextvars.bind_contextvars(correlation_id=correlation_id)
    call.context.set_trailing_metadata(carried())
    yield


def measured(metrics: Metrics) -> Layer:
    """Count and time calls, and log each one's end."""

    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        metrics.started.labels(*call.labels).inc()
        metrics.messages_received.labels(*call.labels).inc()
        streams = metrics.open_streams.labels(*call.labels)
        begin = time.perf_counter()
        if call.streaming:
            streams.inc()
        try:
            yield
        except asyncio.CancelledError:
            call.code = grpc.StatusCode.CANCELLED
            raise
        finally:
            seconds = time.perf_counter() - begin
            if call.streaming:
                streams.dec()
            elif call.sent:
                metrics.messages_sent.labels(*call.labels).inc()
            metrics.handled.labels(*call.labels, call.code.name).inc()
            metrics.handling_seconds.labels(*call.labels).observe(seconds)
            _log_end(call, seconds)

    return layer


def _log_end(call: Call, seconds: float) -> None:
    """Write the call's line; user and correlation id stand on it as on every line of the call."""
    kind, service, method = call.labels
    fields: dict[str, object] = {}
    if call.reason:
        fields["reason"] = call.reason
    if call.streaming:
        fields["messages"] = call.sent
    if call.error is not None:
        # That the database is away is an event; anything else is a fault of ours, so its place is of interest.
        fields |= {"error": type(call.error).__name__} if is_away(call.error) else {"exc_info": call.error}
    level = logging.INFO if call.stopping else _LEVELS.get(call.code, logging.INFO)
    ms = round(seconds * 1000, 3)
    log.log(level, "rpc.finished", service=service, method=method, type=kind, code=call.code.name, ms=ms, **fields)
