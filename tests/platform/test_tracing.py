"""Spans: nothing of them where nobody wants them, no text of an error in them, and a collector that is away."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from collector import collecting
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform import tracing
from algotrade.platform.bus import Message, protobuf_headers
from algotrade.platform.caller import TRACEPARENT
from algotrade.platform.settings import Settings

UNWANTED = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.instrumentation")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_without_a_collector_nothing_is_made_or_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    code = "import sys, algotrade.platform.process; print(*(name for name in sys.modules if 'opentelemetry' in name))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    # redis-py loads what it counts with wherever OpenTelemetry is installed.
    assert not [name for name in loaded.split() if name.startswith(UNWANTED)]
    assert Settings().otlp_endpoint is None
    assert tracing.running() is None
    with tracing.span("work"), tracing.messages(tracing.Kind.PRODUCER, "topic", [{"traceparent": TRACE}]):
        assert not TRACEPARENT.get()


def test_opentelemetrys_own_variable_turns_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    assert Settings().otlp_endpoint == "http://collector:4317"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")
    with pytest.raises(ValueError, match="otlp_endpoint"):
        Settings()


async def twice_in(database: AsyncEngine) -> None:
    """Add an account and add it again, which fails."""
    add = text("INSERT INTO users (user_id, email, display_name, password_hash) VALUES (gen_random_uuid(), :e, '', '')")
    with tracing.span("twice"):
        for _ in range(2):
            async with database.begin() as connection:
                await connection.execute(add, {"e": "ada@example.com"})


async def test_an_error_has_its_kind_and_not_its_text(database: AsyncEngine, settings: Settings) -> None:
    async with collecting() as collector, asyncio.timeout(30):
        on = settings.model_copy(update={"otlp_endpoint": collector.endpoint})
        async with tracing.tracing(on, "test") as spans:
            assert spans is not None
            with pytest.raises(IntegrityError):
                await twice_in(database)
            async with database.begin() as connection:
                await connection.execute(text("SELECT 1"))  # in nobody's trace
    [twice] = collector.named("twice")
    inserts = list(collector.named("INSERT"))
    assert {span.parent_span_id for span in inserts} == {twice.span_id}
    assert sorted(span.status.code for span in (*inserts, twice)) == [0, 2, 2]
    assert {span.trace_id for _, span in collector.spans.values()} == {twice.trace_id}
    assert "ada@example.com" not in str(list(collector.spans.values()))
    assert "INSERT INTO users" in str(inserts[0])


async def test_records_of_several_traces_are_told_of_in_each(settings: Settings) -> None:
    async with collecting() as collector, asyncio.timeout(30):
        on = settings.model_copy(update={"otlp_endpoint": collector.endpoint})
        async with tracing.tracing(on, "test"):
            batch: list[Message] = []
            for name in ("one", "two"):
                with tracing.span(name):
                    batch.append(Message("key", b"", protobuf_headers()))
            headers = [message.headers for message in (*batch, Message("key", b"", {}))]
            with tracing.messages(tracing.Kind.PRODUCER, "topic", headers):
                pass
            assert not TRACEPARENT.get()
    assert sorted(collector.path(span)[1] for span in collector.named("publish topic")) == ["one", "two"]


async def test_a_collector_that_is_away_costs_spans_alone(settings: Settings) -> None:
    on = settings.model_copy(update={"otlp_endpoint": "http://127.0.0.1:9"})
    async with tracing.tracing(on, "test"):
        with tracing.span("lost"):
            assert TRACEPARENT.get()
    assert tracing.running() is None
