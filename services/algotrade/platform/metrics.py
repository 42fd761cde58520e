"""Prometheus metrics. The gRPC names are the ones existing dashboards know."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_METHOD = ("grpc_type", "grpc_service", "grpc_method")
_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one process, in a registry of their own so that two platforms in one process do not mix."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register every metric once."""
        self.registry = registry or CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self.registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=_LATENCY, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=self.registry)

        self.started = counter("grpc_server_started_total", "RPCs started.", *_METHOD)
        self.handled = counter("grpc_server_handled_total", "RPCs completed, by code.", *_METHOD, "grpc_code")
        self.handling_seconds = histogram("grpc_server_handling_seconds", "Time in the handler.", *_METHOD)
        self.messages_sent = counter("grpc_server_msg_sent_total", "Stream messages sent.", *_METHOD)
        self.open_streams = Gauge(
            "algotrade_grpc_open_streams", "Server streams now open.", _METHOD, registry=self.registry
        )
        self.bus_records = counter("algotrade_bus_records_total", "Records written to the event bus.", "topic")
        self.bus_seconds = histogram("algotrade_bus_publish_seconds", "Time to commit a publish.", "topic")
        self.ticks = counter("algotrade_market_ticks_total", "Ticks logged.", "symbol")
        self.ticks_left_out = counter("algotrade_market_ticks_left_out_total", "Ticks left out.", "symbol", "reason")
        self.markers = counter("algotrade_market_markers_total", "Time markers logged.", "symbol")
        self.sessions_held = gauge("algotrade_sessions_held", "Sessions in memory of the worker.", "state")
        self.session_step_seconds = histogram("algotrade_session_step_seconds", "Time to step a lane over a batch.")
        self.session_commit_seconds = histogram("algotrade_session_commit_seconds", "Time to commit what happened.")
        self.outbox_seconds = gauge("algotrade_outbox_oldest_seconds", "Age of the oldest message not yet sent.")
