"""One `Settings` for every service, read from ``ALGOTRADE_…`` variables; wrong values fail at start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from algotrade.platform import failpoints, limits
from algotrade.platform.pages import built_pages
from algotrade.platform.topics import JSON_TOPICS

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

Seconds = Annotated[float, Field(gt=0)]
# "calls/seconds": so many at once, and afterwards as they come back, evenly
Rate = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,7}/[1-9][0-9]{0,4}$")]

Quota = Annotated[int, Field(ge=0, le=1_000_000_000)]  # calls a day


def _standard_collector() -> str | None:
    """Return what OpenTelemetry's own variables say."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((value for name in names if (value := os.environ.get(name))), None)


_PEER: Final = r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}"
Peer = Annotated[str, Field(pattern=rf"^{_PEER}$")]  # "strategy:50051"
Peers = Annotated[
    str, Field(pattern=rf"^{_PEER}(,127\.0\.0\.1:[0-9]{{1,5}})*$")
]  # … or several processes of one machine

Provider = (
    Literal["synthetic", "replay", "coinbase", "finnhub", "alpaca"]
    | Annotated[str, Field(pattern=r"^ccxt\.[a-z0-9]{1,40}$")]
)


class Settings(BaseSettings):
    """Where things are, how long they last, which adapter stands behind a port."""

    model_config = SettingsConfigDict(env_prefix="ALGOTRADE_", frozen=True, extra="forbid")

    # Where
    data_dir: Path = Path(".algotrade")
    keys_dir: Path | None = None  # the private keys; without one they are in data_dir/keys
    loopback_only: bool = True  # false, in a container: listen on what the addresses below say
    gateway_address: str = "127.0.0.1:8080"
    grpc_address: str = "127.0.0.1:50051"
    http_address: str = "127.0.0.1:9464"  # /metrics, the JWKS and the built frontend
    pages_dir: Path | None = Field(default_factory=built_pages)  # the built frontend; None: serve none
    envoy_admin_address: str = "127.0.0.1:9901"
    gateway_metrics_address: str | None = None  # Envoy's metrics for Prometheus, and nothing else of its admin port
    cors_origins: str = r"https?://(localhost|127\.0\.0\.1)(:[0-9]+)?"  # pattern of the pages that may call the gateway

    # Where the other services are, if not in this process: "host:port" each, and identity's public keys
    identity_address: Peer | None = None
    market_data_address: Peer | None = None
    strategy_address: Peer | None = None
    backtest_address: Peer | None = None
    forward_test_address: Peers | None = None
    notification_address: Peer | None = None  # realtime is there too
    jwks_url: Annotated[str, Field(pattern=r"^https?://[^/:]+:[0-9]+/.+$")] | None = None
    jwks_refresh_seconds: Seconds = 15.0

    # Who this process is to the others: a directory with tls.crt, tls.key and ca.crt, read anew when they change. With
    # one all that services and the gateway say to each other goes through TLS, and each sees who the other is.
    tls_dir: Path | None = None

    # Gateway
    gateway_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000  # at once; more are closed at once
    gateway_drain_seconds: Annotated[int, Field(ge=1, le=600)] = 1  # at its stop, clients have so long to go elsewhere
    request_headers_seconds: Seconds = 5.0  # a client may take so long over a request's headers
    access_log: Literal["all", "failed", "off"] = "all"

    # Rate limits, a method and caller, by the tier that the method's proto declares. Each gateway counts for
    # itself, in memory: two of them let twice as many through, unless they ask a service that counts for all.
    rate_limits: bool = True  # false: count only, and refuse nobody
    rate_address: Rate = "60000/60"  # everything that comes from one address, whoever calls
    rate_password: Rate = "20/60"  # noqa: S105
    rate_credential: Rate = "120/60"
    rate_open: Rate = "600/60"
    rate_compute: Rate = "120/60"
    rate_write: Rate = "600/60"
    rate_read: Rate = "3000/60"
    rate_stream: Rate = "300/60"
    # Where that service is (envoyproxy/ratelimit, which counts in Redis), and what it counts besides: calls a user has
    # in a day, of all methods of a tier together; 0 for no bound.
    rate_service: Peer | None = None
    quota_compute: Quota = 5_000
    quota_write: Quota = 50_000
    quota_read: Quota = 1_000_000
    quota_stream: Quota = 20_000
    trusted_proxies: Annotated[int, Field(ge=0, le=8)] = 0  # before the gateway; they say where a client really is

    # Database: a DSN such as postgresql://user:password@host/name; without one PostgreSQL is started in the data dir
    database_dsn: SecretStr | None = None
    database_replica_dsn: SecretStr | None = None  # where metrics and charts are read from, as long as it is …
    database_replica_lag_seconds: Seconds = 5.0  # … no further behind than this
    migrate_at_start: bool = True  # false: `algotrade migrate` has done it, and services need no right to alter tables
    database_pool_size: Annotated[int, Field(ge=2, le=100)] = 10
    lock_timeout_seconds: Seconds = 5.0
    idle_in_transaction_seconds: Seconds = 2.0  # so that a frozen writer cannot hold a lock for long
    statement_timeout_seconds: Seconds = 60.0

    # Redis: redis:// or rediss:// (TLS) with its password; without one windows and caches are in memory. It is never
    # more than a copy: while it is away, whoever uses it goes on without.
    redis_url: SecretStr | None = None
    redis_ca: Path | None = None  # rediss://: the authority to trust, in PEM; without one, those of the system
    redis_cluster: bool = False  # the URL is one of the nodes of a Redis Cluster
    redis_timeout_seconds: Seconds = 1.0  # an answer that takes longer is not waited for
    redis_retry_seconds: Seconds = 1.0  # one that is away is tried again so often

    # Tokens
    token_issuer: str = "algotrade"  # noqa: S105
    token_audience: str = "algotrade-api"  # noqa: S105
    access_token_seconds: Annotated[int, Field(ge=30, le=limits.MAX_ACCESS_TOKEN_SECONDS)] = 600
    refresh_token_seconds: Annotated[int, Field(ge=60)] = 14 * 24 * 3600  # a login that rests for longer ends
    login_seconds: Annotated[int, Field(ge=60)] = 90 * 24 * 3600  # … and after so long in any case
    password_guesses: Annotated[int, Field(ge=3, le=1000)] = (
        10  # wrong ones in a row for an address; then, for so long,
    )
    password_rest_seconds: Annotated[int, Field(ge=1, le=24 * 3600)] = 900  # none is looked at, wherever it comes from
    clock_skew_seconds: Annotated[int, Field(ge=0, le=limits.MAX_CLOCK_SKEW_SECONDS)] = 5
    revocation_poll_seconds: Seconds = 1.0  # a revoked token is good for no longer, in any process …
    revocation_stale_seconds: Seconds = 30.0  # … but while the database is away: after so long no token is good
    stream_token_grace_seconds: Annotated[float, Field(ge=0)] = 30.0  # a stream outlives its token by so much

    # gRPC
    unary_deadline_seconds: Seconds = 30.0
    shutdown_grace_seconds: Seconds = 5.0
    heartbeat_seconds: Seconds = 15.0
    stream_write_seconds: Seconds = 30.0  # a client that takes nothing for so long is ended
    streams_per_user: Annotated[int, Field(ge=1, le=limits.MAX_STREAMS_PER_USER)] = 500  # open at once, in this process
    stream_lag_ticks: Annotated[int, Field(ge=1)] = 8_192  # a reader further behind than this …
    stream_lag_seconds: Annotated[float, Field(ge=0)] = 10.0  # … for longer than this is ended
    reflection: bool = True

    # Event bus: a table of the database, or Kafka. A user or an authority makes the connection one with SCRAM-SHA-512
    # or TLS; `kafka_tls` is for brokers whose certificates the machine trusts anyway.
    bus: Literal["postgres", "kafka"] = "postgres"
    kafka_servers: Annotated[str, Field(pattern=r"^[^\s,:]+:[0-9]{1,5}(,[^\s,:]+:[0-9]{1,5})*$")] = "127.0.0.1:9092"
    kafka_user: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_tls: bool = False
    kafka_ca: Path | None = None
    kafka_replicas: Annotated[int, Field(ge=1, le=9)] = 1  # of a topic that is made
    kafka_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""  # of topics' names
    kafka_json_topics: tuple[str, ...] = ()  # for readers from outside; the others, and all in here, have protobuf
    kafka_seconds: Seconds = 10.0  # a request is waited for no longer
    bus_poll_seconds: Seconds = 0.5  # readers look again after this long even if nothing woke them
    bus_trim_seconds: Seconds = 30.0

    # Market data
    market_providers: tuple[Provider, ...] = ("synthetic", "replay")  # with the extra ccxt also ccxt.kraken …
    coinbase_symbols: tuple[str, ...] = ("BTC-USD", "ETH-USD")
    coinbase_on_demand_symbols: tuple[str, ...] = ()
    coinbase_api: Literal["exchange", "advanced"] = "exchange"
    coinbase_ws_url: str | None = None  # other than the venue's own
    coinbase_rest_url: str | None = None
    finnhub_token: SecretStr | None = None
    finnhub_symbols: tuple[str, ...] = ("AAPL",)  # or OURS=THEIRS, such as BTC-USDT=BINANCE:BTCUSDT
    finnhub_ws_url: str | None = None
    finnhub_rest_url: str | None = None
    finnhub_silence_seconds: Seconds = 150.0  # it pings every minute or two
    alpaca_key_id: SecretStr | None = None
    alpaca_key: SecretStr | None = None
    alpaca_symbols: tuple[str, ...] = ("AAPL",)  # or OURS=THEIRS, such as BTC-USD=BTC/USD
    alpaca_ws_url: str | None = None  # another of its feeds: …/v2/sip, …/v1beta3/crypto/us
    alpaca_rest_url: str | None = None
    alpaca_silence_seconds: Seconds = 900.0  # it says nothing at night; a dead connection fails its pings
    ccxt_symbols: tuple[str, ...] = ("BTC-USD",)  # of exchanges by ccxt; or OURS=THEIRS, such as BTC-PERP=BTC/USD:USD
    ccxt_silence_seconds: Seconds = 900.0  # a symbol of which nothing is heard for so long is asked for anew
    loose_grace_seconds: Annotated[float, Field(ge=0)] = 2.0  # trades of Finnhub and Alpaca come so late; bars wait
    equities_exchange: str = "XNYS"  # whose hours shares of Finnhub and Alpaca have; empty: none
    exchanges: dict[str, str] = Field(default_factory=dict)  # … of single symbols of venues: {"7203": "XTKS"}
    price_band_percent: Annotated[float, Field(ge=0)] = 25.0  # a venue's lone price further from the last is left out
    failover_seconds: Seconds = 10.0  # so long may a symbol's first provider be away before the next stands in for it
    venue_silence_seconds: Seconds = 10.0  # a connection on which nothing arrives for so long is dead
    venue_stale_seconds: Seconds = 60.0  # a symbol without a trade for so long is stale
    venue_patience_seconds: Seconds = 0.25  # so long may trades be in disorder before one counts as missing
    venue_give_up_seconds: Seconds = 120.0  # missing trades are fetched for so long, then given up
    venue_retry_seconds: Seconds = 1.0  # between two tries to fetch them
    venue_backoff_seconds: Seconds = 0.5  # after a lost connection, doubled each time …
    venue_most_backoff_seconds: Seconds = 30.0  # … up to this
    synthetic_symbols: tuple[str, ...] = ("BTC-USD", "ETH-USD")
    synthetic_on_demand_symbols: tuple[str, ...] = ()  # these run only while somebody is subscribed
    synthetic_seed: int = 7
    synthetic_ticks_per_second: Annotated[float, Field(gt=0, le=10_000)] = 20.0
    replay_path: Path | None = None  # bars or trades, CSV or Parquet; without one, daily bars of AAPL
    replay_symbol: str = "AAPL"
    replay_speed: Annotated[float, Field(ge=0)] = 0.0  # 1 is the speed of life; 0 is as fast as possible
    history_providers: tuple[str, ...] = ("coinbase",)  # of bars of the past; also finnhub, alpaca, ccxt.kraken …
    history_bytes: Annotated[int, Field(ge=0)] = 4 * 1024**3  # fetched bars kept on disk; the oldest files give way
    history_seconds: Seconds = 15.0  # a call fetches what is missing for no longer
    window_ticks: Annotated[int, Field(ge=1, le=limits.MAX_TICKS_A_WINDOW)] = 10_000
    marker_interval_seconds: Seconds = 1.0
    marker_grace_seconds: Annotated[float, Field(ge=0)] = 0.5

    # Forward test
    worker_name: Annotated[str, Field(max_length=200)] = ""  # one a worker that runs; without one, the host's and port
    worker_lease_seconds: Annotated[float, Field(ge=0.5)] = 4.0  # one not seen for so long: others take its sessions
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 1.0  # a session's row is no older, though nothing happens in it
    command_seconds: Seconds = 10.0  # a call waits no longer for the worker to apply its command
    archive_after_seconds: Annotated[float, Field(ge=0)] = 6 * 3600.0  # so old is a tick that is archived
    archive_poll_seconds: Seconds = 5.0
    check_seconds: Seconds = 60.0  # a session's past is checked again, at the earliest, after so long
    check_replay_seconds: Seconds = 10.0  # … by a replay that takes no longer
    seal_seconds: Seconds = 60.0  # trades are in the audit log, by a digest, after about so long
    silence_seconds: Annotated[float, Field(ge=1)] = 300.0  # a session without a tick for so long is told to be silent
    chart_seconds: Seconds = 5.0  # the points of a session's chart are behind it by about so much
    verify_seconds: Seconds = 25.0  # a session's past is replayed for no longer when somebody asks for its certificate
    verifications: Annotated[int, Field(ge=1, le=64)] = 2  # … of so many at once
    mark_seconds: Annotated[float, Field(ge=0)] = 0.25  # a stream's marks are at least so far apart
    realtime_seconds: Annotated[float, Field(ge=0)] = 0.5  # … and those of a session on realtime-updates

    # Notifications
    screen_seconds: Annotated[float, Field(ge=0)] = 0.25  # messages of StreamUpdates are at least so far apart
    rejections_together_seconds: Annotated[float, Field(ge=0)] = 3600.0  # of one cause they are one entry for so long
    channel_schemes: tuple[str, ...] = (
        *("discord", "slack", "tgram", "pover", "mailto", "mailtos"),
        *("json", "jsons", "form", "forms", "xml", "xmls"),
    )  # where channels may lead, as Apprise names it
    channel_private_hosts: bool = False  # whether to this machine and its network too
    delivery_seconds: Seconds = 10.0  # a try takes no longer
    delivery_threads: Annotated[int, Field(ge=1, le=64)] = 4  # tries at once, in this process; one a user

    # Backtest
    backtest_threads: Annotated[int, Field(ge=1, le=64)] = 4  # backtests and trials at once, in this process
    backtests_per_user: Annotated[int, Field(ge=1, le=64)] = 2  # … of one user, in all processes
    optimizations: Annotated[int, Field(ge=1, le=64)] = 2  # worked at at once, in this process
    optimizations_per_user: Annotated[int, Field(ge=1, le=64)] = 1  # … of one user, in all processes
    optimization_threads: Annotated[int, Field(ge=1, le=64)] = 2  # trials of one at once; others' runs come between
    backtest_lease_seconds: Seconds = 10.0  # a run whose worker is gone is begun anew after so long

    # Tests of crashes: where this process is to die, fail or freeze, as name[:nth][:action]; see failpoints.py
    failpoint: str = ""

    # Log and metrics
    sample_seconds: Seconds = 10.0  # figures that are asked of the database are no older
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

    # Traces: where a collector of OpenTelemetry takes OTLP over gRPC, https:// for TLS; without one there are none.
    # OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT says the same.
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^/:@]+:[0-9]{1,5}/?$")] | None = Field(
        default_factory=_standard_collector, validate_default=True
    )
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0  # of the traces that begin here, so many are kept

    # Errors: the DSN of a server that speaks Sentry's protocol; without one they are in the log alone
    sentry_dsn: SecretStr | None = None
    sentry_environment: str = "production"

    # Profiles: SIGUSR2 has a process write one into this folder
    profiles_dir: Path | None = None
    profile_seconds: Seconds = 30.0

    @field_validator("failpoint")
    @classmethod
    def _known_point(cls, value: str) -> str:
        if value:
            failpoints.Failpoint.parse(value)
        return value

    @field_validator("kafka_json_topics")
    @classmethod
    def _tellable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if others := set(value) - JSON_TOPICS:
            raise ValueError(f"{', '.join(sorted(others))}: not among {', '.join(sorted(JSON_TOPICS))}")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        """Of the URL's parts only the scheme is repeated: the rest holds the password."""
        if value is not None:
            url = urlsplit(value.get_secret_value())
            if url.scheme not in {"redis", "rediss"} or not url.hostname:
                raise ValueError("must be redis://:password@host:port/0, or rediss:// for TLS")
        return value

    @field_validator("sentry_dsn")
    @classmethod
    def _sentry(cls, value: SecretStr | None) -> SecretStr | None:
        """Its key is not repeated."""
        if value is not None:
            url = urlsplit(value.get_secret_value())
            if url.scheme not in {"http", "https"} or not (url.username and url.hostname and url.path.strip("/")):
                raise ValueError("must be https://key@host/project")
        return value

    @model_validator(mode="after")
    def _key_at_hand(self) -> Self:
        """A venue that wants a key is not asked without one."""
        named = {*self.market_providers, *self.history_providers}
        if "finnhub" in named and self.finnhub_token is None:
            raise ValueError("ALGOTRADE_FINNHUB_TOKEN is not set: the provider finnhub wants a key")
        if "alpaca" in named and None in (self.alpaca_key_id, self.alpaca_key):
            raise ValueError(
                "ALGOTRADE_ALPACA_KEY_ID or ALGOTRADE_ALPACA_KEY is not set: the provider alpaca wants a key"
            )
        return self

    @field_validator(
        "coinbase_ws_url", "coinbase_rest_url", "finnhub_ws_url", "finnhub_rest_url", "alpaca_ws_url", "alpaca_rest_url"
    )
    @classmethod
    def _secret_on_the_way(cls, value: str | None) -> str | None:
        """What is traded on comes encrypted, but from this machine itself."""
        if value is None:
            return value
        parts = urlsplit(value)
        if parts.scheme in {"wss", "https"} or (parts.hostname in LOOPBACK and parts.scheme in {"ws", "http"}):
            return value
        raise ValueError("must begin with wss:// or https://, or be on this machine")

    @field_validator(
        "grpc_address", "http_address", "gateway_address", "envoy_admin_address", "gateway_metrics_address"
    )
    @classmethod
    def _loopback(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Everything listens on this machine only, unless told otherwise; Envoy's admin port does in any case."""
        if value is None:
            return None
        host, separator, port = value.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be an address such as 127.0.0.1:50051")
        bound = info.data.get("loopback_only", True) or info.field_name == "envoy_admin_address"
        if bound and host not in {"127.0.0.1", "localhost", "[::1]"}:
            raise ValueError("must be a loopback address such as 127.0.0.1:50051")
        return value

    @property
    def private_keys(self) -> Path:
        """Where the private keys are."""
        return self.keys_dir or self.data_dir / "keys"
