"""A collector of OpenTelemetry on a free port: it keeps what it is sent and can say what came of what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from algotrade.platform import tracing


@dataclass
class Collector(pb_grpc.TraceServiceServicer):
    """Spans by their id, each with the name of who sent it."""

    endpoint: str = ""
    spans: dict[bytes, tuple[str, Span]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def Export(self, request: Any, context: Any) -> pb.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[span.span_id] = (attributes["service.name"], span)
        self.news.set()
        return pb.ExportTraceServiceResponse()

    def named(self, name: str) -> Iterator[Span]:
        """Yield the spans of a name."""
        yield from (span for _, span in list(self.spans.values()) if span.name == name)

    def path(self, span: Span) -> list[str]:
        """Return the names from a span up to the first of its trace that is here, those of the gateway as `gateway`."""
        names: list[str] = []
        found: tuple[str, Span] | None = ("", span)
        while found is not None:
            service, one = found
            names.append("gateway" if service == "gateway" else one.name)
            found = self.spans.get(one.parent_span_id)
        return names

    def came_so(self, *names: str) -> bool:
        """Tell whether a span of the first name came of those behind it, in this order; others may be between."""
        for span in self.named(names[0]):
            rest = iter(self.path(span))
            if all(name in rest for name in names):
                return True
        return False

    async def until_came(self, *names: str) -> None:
        """Wait for a span that came so."""
        while not self.came_so(*names):
            self.news.clear()
            if spans := tracing.running():
                await asyncio.to_thread(spans.flush)
            if not self.came_so(*names):
                await self.news.wait()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Yield a collector while it listens."""
    server, collector = grpc.aio.server(), Collector()
    pb_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)
