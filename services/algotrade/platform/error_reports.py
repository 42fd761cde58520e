"""Errors sent to a server that speaks Sentry's protocol, where the settings have its DSN.

What the log says at level error is reported: the exception with its place, without local variables, and the fields by
which the log finds the call again. Nothing else is looked at: no request, no header, no statement.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from algotrade.platform.settings import Settings

SEND_SECONDS: Final = 2.0  # what is left at the end takes no longer
_TAGS: Final = ("correlation_id", "trace_id", "service", "method", "code", "session_id", "symbol")
_OURS: Final = "sentry_sdk"  # what the client itself logs is not reported


@asynccontextmanager
async def error_reports(settings: Settings, name: str) -> AsyncIterator[None]:
    """Report errors under a program's name while the context is open; at its end send what is left."""
    if settings.sentry_dsn is None:
        yield
        return
    import sentry_sdk

    client = sentry_sdk.Client(
        dsn=settings.sentry_dsn.get_secret_value(),
        release=f"algotrade@{version('algotrade')}",
        environment=settings.sentry_environment,
        server_name=name,
        default_integrations=False,
        include_local_variables=False,
        include_source_context=False,
        in_app_include=["algotrade"],
        max_request_body_size="never",
        shutdown_timeout=SEND_SECONDS,
    )
    handler = _Handler(client)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        await asyncio.to_thread(client.close, SEND_SECONDS)


class _Handler(logging.Handler):
    def __init__(self, client: Any) -> None:
        super().__init__(logging.ERROR)
        self._client = client

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == _OURS:
            return
        try:
            self._client.capture_event(_event(record, self._client.options))
        except Exception:
            self.handleError(record)


def _event(record: logging.LogRecord, options: dict[str, Any]) -> Any:
    """Return a line of the log as an event: ours is a dictionary still, that of a library a text."""
    from sentry_sdk.utils import event_from_exception

    fields: Mapping[str, Any] = record.msg if isinstance(record.msg, dict) else {}
    error = _exception(fields.get("exc_info") or record.exc_info)
    event: dict[str, Any] = dict(event_from_exception(error, client_options=options)[0]) if error else {}
    # The text of a library's line may quote anything; its kind is the module that wrote it.
    told = str(fields["event"]) if fields else record.name
    event |= {
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": told,
        "tags": {name: str(fields[name]) for name in _TAGS if name in fields},
    }
    return event


def _exception(given: Any) -> BaseException | None:
    if given is True:  # the one that is being handled
        return sys.exc_info()[1]
    if isinstance(given, tuple):
        given = given[1]
    return given if isinstance(given, BaseException) else None
