"""The spans themselves, by OpenTelemetry's SDK. Loaded only where they are wanted: see `tracing`.

What they hold is what the log may hold: statements of SQL without their values, errors by their kind, no text of an
error, which may quote what was to be stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any, Final

import grpc
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.grpc import aio_client_interceptors
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from algotrade.platform.call import Call, Layer
from algotrade.platform.caller import CORRELATION_ID, TRACEPARENT, TRACEPARENT_KEY

SEND_SECONDS: Final = 3.0  # a request to the collector, and what is left at the end, take no longer
_PROPAGATOR: Final = TraceContextTextMapPropagator()
# As OpenTelemetry has it: the other codes are the caller's affair.
_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class _OfWork(Sampler):
    """Begins no trace with a question to a server: those that are asked again and again are in nobody's call."""

    def __init__(self, ratio: float) -> None:
        self._other = TraceIdRatioBased(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> SamplingResult:
        if kind is SpanKind.CLIENT:
            return SamplingResult(Decision.DROP)
        return self._other.should_sample(parent_context, trace_id, name, kind, *args, **kwargs)

    def get_description(self) -> str:
        return f"OfWork({self._other.get_description()})"


class _Discreet(SpanExporter):
    """Sends spans without the text of errors; that there was one stays."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([_without_text(span) for span in spans])

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _without_text(span: ReadableSpan) -> ReadableSpan:
    if not span.status.description:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=(),
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class Spans:
    """Makes spans and sends them, in a thread of its own; a collector that is away costs spans and nothing else."""

    def __init__(self, endpoint: str, ratio: float, name: str) -> None:
        """Take where the collector is (http:// in the clear, https://), which part of traces to keep, and who tells."""
        own = {"service.namespace": "algotrade", "service.name": name, "service.version": version("algotrade")}
        resource = Resource.create(own).merge(OTELResourceDetector().detect())  # OTEL_SERVICE_NAME has the last word
        self._provider = TracerProvider(
            sampler=ParentBased(root=_OfWork(ratio)),
            resource=resource,
            span_limits=SpanLimits(max_events=0),  # they would be exceptions with their text
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=SEND_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(_Discreet(exporter)))
        self._tracer = self._provider.get_tracer("algotrade")
        self._sql = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
        self._sql.instrument(tracer_provider=self._provider)

    def flush(self) -> None:
        """Send what is there."""
        self._provider.force_flush(int(SEND_SECONDS * 1000))

    def close(self) -> None:
        """Send what is left, if the collector takes it in time, and let the driver be as it was."""
        self._sql.uninstrument()
        self.flush()
        self._provider.shutdown()

    # ------------------------------------------------------------------ calls

    @property
    def layer(self) -> Layer:
        """A layer around a handler, right behind the one that reads the caller's trace."""

        @asynccontextmanager
        async def layer(call: Call) -> AsyncIterator[None]:
            kind, service, method = call.labels
            attributes = {
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "algotrade.correlation_id": CORRELATION_ID.get(),
            }
            with self._running(call.method.lstrip("/"), SpanKind.SERVER, TRACEPARENT.get(), attributes) as span:
                structlog.contextvars.bind_contextvars(trace_id=f"{span.get_span_context().trace_id:032x}")
                try:
                    yield
                finally:
                    span.set_attribute("rpc.grpc.status_code", call.code.value[0])
                    if kind != "unary":
                        span.set_attribute("algotrade.messages", call.sent)
                    if call.code in _FAULTS and not call.stopping:
                        span.set_status(StatusCode.ERROR)

        return layer

    @property
    def client_interceptors(self) -> list[grpc.aio.ClientInterceptor]:
        """Those of unary calls to other services. A stream's spans are those of its server."""
        found = aio_client_interceptors(tracer_provider=self._provider)  # type: ignore[no-untyped-call]
        return [one for one in found if isinstance(one, grpc.aio.UnaryUnaryClientInterceptor)]

    # ------------------------------------------------------------------ work and records

    @contextmanager
    def work(self, name: str, parent: str) -> Iterator[None]:
        """Run something within a span; one that is of another trace than the running one names that by a link."""
        asked = trace.get_current_span().get_span_context()
        links = [trace.Link(asked)] if parent and asked.is_valid else []
        with self._running(name, SpanKind.INTERNAL, parent, {}, links) as span, _failing([span]):
            yield

    @contextmanager
    def messages(self, kind: str, topic: str, parents: Sequence[str]) -> Iterator[None]:
        """Run something within a span of each parent's trace; the first is the running one."""
        operation = "publish" if kind == "PRODUCER" else "process"
        attributes = {
            "messaging.system": "algotrade.bus",
            "messaging.destination.name": topic,
            "messaging.operation.type": operation,
        }
        name = f"{operation} {topic}"
        with ExitStack() as stack:
            spans = [
                self._tracer.start_span(name, _context(parent), SpanKind[kind], attributes) for parent in parents[1:]
            ]
            for span in spans:
                stack.callback(span.end)
            first = stack.enter_context(self._running(name, SpanKind[kind], parents[0], attributes))
            with _failing([first, *spans]):
                yield

    @contextmanager
    def _running(
        self, name: str, kind: SpanKind, parent: str, attributes: dict[str, Any], links: Sequence[trace.Link] = ()
    ) -> Iterator[trace.Span]:
        with self._tracer.start_as_current_span(
            name,
            _context(parent) if parent else None,
            kind,
            attributes,
            links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier)
            before = TRACEPARENT.get()
            TRACEPARENT.set(carrier.get(TRACEPARENT_KEY, before))
            try:
                yield span
            finally:
                TRACEPARENT.set(before)


def _context(parent: str) -> Context:
    return _PROPAGATOR.extract({TRACEPARENT_KEY: parent}, context=Context())


@contextmanager
def _failing(spans: Sequence[trace.Span]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", type(error).__name__)
        raise
