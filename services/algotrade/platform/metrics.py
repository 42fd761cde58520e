"""Prometheus metrics. The gRPC names are the ones existing dashboards know; docs/observability.md explains each.

Labels take few values, all known beforehand: methods, topics, partitions, symbols, states. A user, a session or a path
is never one.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_METHOD: Final = ("grpc_type", "grpc_service", "grpc_method")
_LATENCY: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TICKS: Final = (0, 16, 64, 256, 1024, 4096, 16_384, 65_536)


class Metrics:
    """The metrics of one process, in a registry of their own so that two platforms in one process do not mix."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register every metric once."""
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._calls()
        self._database_and_bus()
        self._market()
        self._venues()
        self._sessions_and_runs()
        self._notifications()

    def _calls(self) -> None:
        self.started = self._counter("grpc_server_started_total", "RPCs started.", *_METHOD)
        self.handled = self._counter("grpc_server_handled_total", "RPCs completed, by code.", *_METHOD, "grpc_code")
        self.handling_seconds = self._seconds("grpc_server_handling_seconds", "Time from start to end.", *_METHOD)
        self.messages_received = self._counter("grpc_server_msg_received_total", "Messages received.", *_METHOD)
        self.messages_sent = self._counter("grpc_server_msg_sent_total", "Messages sent.", *_METHOD)
        self.open_streams = self._gauge("algotrade_grpc_open_streams", "Streams now open.", *_METHOD)
        self.dependency_up = self._gauge(
            "algotrade_dependency_up", "Whether it answered when last looked at.", "service", "dependency"
        )

    def _database_and_bus(self) -> None:
        self.pool_connections = self._gauge("algotrade_database_connections", "Connections of the pool.", "state")
        self.pool_size = self._gauge("algotrade_database_pool_size", "Connections the pool may have.")
        self.pool_seconds = self._seconds("algotrade_database_checkout_seconds", "Time to get a connection.")
        self.pool_waits = self._counter(
            "algotrade_database_checkout_waits_total", "Checkouts that found every connection in use."
        )
        self.bus_records = self._counter("algotrade_bus_records_total", "Records written to the event bus.", "topic")
        self.bus_seconds = self._seconds("algotrade_bus_publish_seconds", "Time to commit a publish.", "topic")
        self.bus_append_seconds = self._seconds(
            "algotrade_bus_append_seconds",
            "Time to append within a transaction, waiting for its turn included.",
            "topic",
        )
        self.replica_reads = self._counter(
            "algotrade_replica_reads_total", "Reads meant for the replica of the database, by who answered.", "source"
        )
        self.replica_seconds = self._gauge(
            "algotrade_replica_age_seconds",
            "Age of the newest transaction on the replica, when last asked.",
        )
        self.bus_reads = self._counter(
            "algotrade_bus_reads_total", "Reads, by where they were answered.", "topic", "source"
        )
        self.bus_read_seconds = self._seconds("algotrade_bus_read_seconds", "Time of a read from the table.", "topic")
        self.redis_errors = self._counter(
            "algotrade_redis_errors_total", "Times that Redis was given up, by what it was used for.", "use"
        )
        self.cache_reads = self._counter(
            "algotrade_cache_reads_total",
            "Reads of the cache: hit, miss, or error where Redis was away.",
            "kind",
            "result",
        )
        self.redis_memory = self._gauge("algotrade_redis_memory_bytes", "Memory that Redis uses, all servers together.")
        self.bus_behind = self._gauge(
            "algotrade_bus_behind_records",
            "Records that a reader has still to read, by the topic's furthest partition.",
            "topic",
            "reader",
        )
        self.outbox_seconds = self._gauge("algotrade_outbox_oldest_seconds", "Age of the oldest message not yet sent.")

    def _market(self) -> None:
        self.ticks = self._counter("algotrade_market_ticks_total", "Ticks logged.", "symbol")
        self.ticks_left_out = self._counter(
            "algotrade_market_ticks_left_out_total", "Ticks left out.", "symbol", "reason"
        )
        self.markers = self._counter("algotrade_market_markers_total", "Time markers logged.", "symbol")
        self.window_reads = self._counter(
            "algotrade_window_reads_total", "Reads of ticks, by whether the window had them.", "result"
        )
        self.window_rebuilds = self._counter(
            "algotrade_window_rebuilds_total", "Windows that Redis had lost, filled again from the log."
        )
        self.stream_lag_ticks = self._histogram(
            "algotrade_stream_lag_ticks", "How far behind the newest tick a stream was when it read.", _TICKS
        )

    def _venues(self) -> None:
        self.venue_connected = self._gauge("algotrade_venue_connected", "Whether its connection stands.", "venue")
        self.venue_last_frame_seconds = self._gauge(
            "algotrade_venue_last_frame_age_seconds", "How long ago it last said anything.", "venue"
        )
        self.venue_reconnects = self._counter(
            "algotrade_venue_disconnects_total", "Connections lost or not made, by cause.", "venue", "cause"
        )
        self.venue_events = self._counter(
            "algotrade_venue_events_total",
            "Trades passed on, gaps, backfills, trades lost and so on.",
            "venue",
            "event",
        )
        self.venue_rejected = self._counter(
            "algotrade_venue_rejected_total", "Trades and frames left out, by reason.", "venue", "reason"
        )

    def _sessions_and_runs(self) -> None:
        self.sessions = self._gauge("algotrade_sessions", "Sessions stored.", "status")
        self.sessions_held = self._gauge("algotrade_sessions_held", "Sessions in memory of the worker.", "state")
        self.worker_shards = self._gauge("algotrade_worker_shards", "Shards whose sessions this process steps.")
        self.session_checks = self._counter(
            "algotrade_session_checks_total", "Sessions replayed from their last base, by what was found.", "outcome"
        )
        self.session_silences = self._counter(
            "algotrade_session_silences_total", "Sessions that go on and were stepped over no tick for too long."
        )
        self.session_step_seconds = self._seconds("algotrade_session_step_seconds", "Time to step a lane over a batch.")
        self.session_commit_seconds = self._seconds("algotrade_session_commit_seconds", "Time to commit what happened.")
        self.worker_lag_records = self._gauge(
            "algotrade_worker_lag_records", "Records that its furthest session has still to read.", "partition"
        )
        self.backtests = self._gauge("algotrade_backtests", "Backtests not yet ended.", "state")
        self.optimizations = self._gauge("algotrade_optimizations", "Optimisations not yet ended.", "state")
        self.optimization_trials = self._counter("algotrade_optimization_trials_total", "Trials made and stored.")
        self.artefact_reads = self._counter(
            "algotrade_artefact_reads_total", "Artefacts asked for, by whether the cache had them.", "result"
        )

    def _notifications(self) -> None:
        self.notifications = self._counter("algotrade_notifications_total", "Notifications stored.", "kind")
        self.notification_records_unreadable = self._counter(
            "algotrade_notification_records_unreadable_total",
            "Records passed over: not what their topic holds.",
            "topic",
        )
        self.notification_places_lost = self._counter(
            "algotrade_notification_places_lost_total", "Places in the log that were given up for the oldest.", "topic"
        )
        self.deliveries = self._counter(
            "algotrade_notification_deliveries_total", "Deliveries tried, by outcome.", "outcome"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=_LATENCY, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[int, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)
