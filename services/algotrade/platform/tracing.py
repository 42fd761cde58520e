"""Spans of what is done, for a collector of OpenTelemetry. Where the settings name none, nothing is made or loaded.

A process makes spans for one platform at a time: SQL is traced by wrapping the driver, which the process has once. The
running span is the process's `TRACEPARENT`, so that calls to other services and records of the bus carry it as they
carry a trace that a client brought along.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from enum import Enum
from typing import TYPE_CHECKING, Final

from algotrade.platform.caller import TRACEPARENT, TRACEPARENT_KEY
from algotrade.platform.settings import Settings

if TYPE_CHECKING:
    from algotrade.platform.spans import Spans

MAX_TRACES: Final = 16  # of a batch of records that are told of; the rest have a span less


class Kind(Enum):
    """What a span is of, by its name in OpenTelemetry."""

    INTERNAL = "INTERNAL"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


_spans: Spans | None = None
_off: Final = nullcontext()


@asynccontextmanager
async def tracing(settings: Settings, name: str) -> AsyncIterator[Spans | None]:
    """Make and send spans under a program's name while the context is open; at its end send what is left."""
    global _spans
    if not settings.otlp_endpoint:
        yield None
        return
    if _spans is not None:
        raise RuntimeError("this process makes spans already")
    from algotrade.platform.spans import Spans

    _spans = Spans(settings.otlp_endpoint, settings.trace_ratio, name)
    try:
        yield _spans
    finally:
        spans, _spans = _spans, None
        await asyncio.to_thread(spans.close)


def running() -> Spans | None:
    """Return what makes spans; None where nothing does."""
    return _spans


def span(name: str, parent: str = "") -> AbstractContextManager[object]:
    """Return a context that is a span of the trace that runs, of the parent's where one is given, else of a new one."""
    return _off if _spans is None else _spans.work(name, parent)


def messages(kind: Kind, topic: str, headers: Iterable[Mapping[str, str]]) -> AbstractContextManager[object]:
    """Return a context that is a span in each trace that records of a topic belong to; the first is the running one."""
    if _spans is None:
        return _off
    found = dict.fromkeys(one[TRACEPARENT_KEY] for one in headers if TRACEPARENT_KEY in one)
    return _spans.messages(kind.value, topic, list(found)[:MAX_TRACES]) if found else _off


def traced_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return a record's headers with the trace that runs, where they name none."""
    running_trace = TRACEPARENT.get()
    if not running_trace or TRACEPARENT_KEY in headers:
        return headers
    return {**headers, TRACEPARENT_KEY: running_trace}
