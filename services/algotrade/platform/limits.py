"""Every bound of the platform, named once."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# gRPC
MAX_REQUEST_BYTES: Final = 2 * MIB  # a drawing of 1 MiB and room for its envelope
MAX_RESPONSE_BYTES: Final = 16 * MIB  # an artefact with its report
MAX_METADATA_BYTES: Final = 16 * KIB
MAX_CONCURRENT_STREAMS: Final = 1000  # a connection between gateway and services
MAX_CLIENT_STREAMS: Final = 500  # a connection of a client
MAX_TOKEN_BYTES: Final = 8 * KIB
MAX_CORRELATION_ID_CHARS: Final = 128
MAX_PAGES_BYTES: Final = 16 * MIB  # the built frontend, held in memory
# An error travels in headers, its message twice and with escapes; gRPC may refuse more than 8 KiB of them.
MAX_ERROR_MESSAGE_BYTES: Final = 600
MAX_ERROR_FACT_BYTES: Final = 250
MAX_ERROR_FACTS_BYTES: Final = 2 * KIB  # all violations together
MAX_VIOLATIONS: Final = 16

# Event bus
MAX_PAYLOAD_BYTES: Final = 1 * MIB
MAX_KEY_BYTES: Final = 256
MAX_READ_RECORDS: Final = 1000
MAX_TRIM_RECORDS: Final = 10_000  # a statement
TAIL_RECORDS: Final = 512  # kept in memory a partition, so that readers at the end ask no database
KAFKA_TAIL_RECORDS: Final = 8_192  # … and no Kafka, where going back costs a fetch of a megabyte
TAIL_BYTES: Final = 8 * MIB  # … of a partition, all together, at least one record
MAX_BATCH_BYTES: Final = 1 * MIB  # of records that go to Kafka as one; a single message of all it may be is more
MAX_LOGGED_BATCH_BYTES: Final = 2 * MIB  # that Kafka's topics take
MAX_FETCH_BYTES: Final = 8 * MIB  # that a reader of Kafka's tail asks for at once
KAFKA_READERS: Final = 8  # reads of what is no longer in memory at once, a process
MAX_OUTBOX_MESSAGES: Final = 500  # that go from the bus's outbox to Kafka in a turn

# Streams and windows
MAX_STREAMS_PER_USER: Final = 1_000  # open at once, a process
MAX_TOLD_EVENTS: Final = 64  # of a session that somebody follows, kept for that reader
MAX_TICKS_A_RECORD: Final = 256
MAX_TICKS_A_MESSAGE: Final = 256
MAX_TICKS_A_TAIL: Final = 256  # of a window in Redis, the newest, kept in the process too
MAX_TICKS_AN_ENTRY: Final = 64  # of a window's stream in Redis
MAX_TICKS_A_WINDOW: Final = 100_000
MAX_TICKS_ALL_WINDOWS: Final = 10_000_000  # a process
MAX_WINDOW_REPLY_TICKS: Final = 10_000
MAX_BARS_A_PAGE: Final = 5_000
MAX_BARS_A_MESSAGE: Final = 256
MAX_SYMBOLS: Final = 500  # a process
MAX_RECENT_TRADE_IDS: Final = 10_000  # a symbol
MAX_QUEUED_TICKS: Final = 65_536  # between a feed and the writer
MAX_QUEUED_FRAMES: Final = 1_024  # of a symbol, between a venue's connection and its tape
MAX_VENUE_FRAME_BYTES: Final = 16 * MIB
MAX_WAITING_TRADES: Final = 20_000  # of a symbol, for those missing before them
BARS_A_CHUNK: Final = 1_500  # of a file in the cache of history: five pages of Coinbase
MAX_HISTORY_BARS: Final = 5_000_000  # that one download may ask for
MAX_RANGE_BARS: Final = 300_000  # of a range of the past that a client names: they fit a message
MAX_HISTORY_PAGE: Final = 4 * BARS_A_CHUNK  # lengths of a bar: twenty requests of Coinbase
MAX_TRADES_AHEAD: Final = 10_000_000  # a number further ahead of the last trade is believed over REST only
FAR_TRADES_BELIEVED: Final = 100  # in a row make one ask REST
MAX_BACKFILL_PAGES: Final = 20  # of a thousand trades, for one hole
MAX_RETRY_AFTER_SECONDS: Final = 300.0  # a venue that asks to be left alone for longer is asked again

# Redis and caches
MAX_REDIS_CONNECTIONS: Final = 50  # a process, to each server
MAX_REDIS_CALLS: Final = 20  # at once, of windows and of the cache each: a cluster's client refuses what is too many
MAX_CACHED_VALUE_BYTES: Final = 16 * MIB
MAX_CACHE_BYTES: Final = 64 * MIB  # a process, where the cache is in memory
MAX_QUEUED_NEWS: Final = 1_000  # of a listener in the same process

# Accounts
MAX_SUBSCRIPTIONS: Final = 200  # a user
MAX_ACCESS_TOKEN_SECONDS: Final = 3600
MAX_CLOCK_SKEW_SECONDS: Final = 60
MAX_LOGINS: Final = 100  # a user; the oldest gives way
MAX_API_KEYS: Final = 100  # a user
MAX_STRATEGIES: Final = 1_000  # a user
MAX_STRATEGY_VERSIONS: Final = 1_000  # a strategy
MAX_STRATEGY_BYTES: Final = 256 * MIB  # a user: drawings of all versions, and each module that they compile to
MAX_TEST_RUN_SECONDS: Final = 5.0  # of a processor
MAX_SESSIONS: Final = 1_000  # a user

# Backtests
MAX_BACKTESTS: Final = 1_000  # a user
MAX_BACKTEST_BYTES: Final = 1024 * MIB  # a user: drawings, curves and trades; bars are counted by themselves
MAX_UNFINISHED_BACKTESTS: Final = 50  # a user
MAX_UPLOADED_BARS: Final = 40_000  # a request
MAX_UPLOADED_DELTAS: Final = 120_000  # … in differences: some 16 bytes a bar
MAX_AXIS_VALUES: Final = 10_000  # of a parameter that is searched
MAX_TRIALS: Final = 100_000  # of an optimisation
MAX_FOLDS: Final = 50
MAX_POINTS: Final = 2**62  # of a space that is searched
MAX_AXES: Final = 20  # of an optimisation that is kept
MAX_KEPT_TRIALS: Final = 20_000  # of one
MAX_TPE_TRIALS: Final = 2_000  # of one by tpe, whose choice takes the longer the more it knows
MAX_OPTIMIZATION_BARS: Final = 5_000_000_000  # that the trials of one are run over, all together
MAX_OPTIMIZATIONS: Final = 100  # a user
MAX_UNFINISHED_OPTIMIZATIONS: Final = 5  # a user
MAX_JUDGED_FOLDS: Final = 500_000  # a user: trials by folds, which is what is kept of them
MAX_BACKTEST_BARS: Final = 4_000_000  # a user, in different data

# Sessions
MAX_SESSION_EVENTS: Final = 1_000_000  # of a session, which is halted with the commit that comes to so many
MAX_WARMUP_RECORDS: Final = 100_000  # of a partition that a session reads before it begins
ARCHIVED_RECORDS: Final = 1024  # of a partition that one segment of the archive spans
ARCHIVE_TIDIED: Final = 200  # segments that are looked at in a turn
MAX_JUDGED_TRADES: Final = 100_000  # of a session, when its metrics are asked for
MAX_CHART_BARS: Final = 100_000  # kept a symbol and interval, the newest
CHART_BARS_TIDIED: Final = 10_000  # of a chart are stored before older ones are removed
MAX_CHARTED_FILLS: Final = 200_000  # of a session, when its chart or its metrics are asked for
MAX_MARKS_A_ROUND: Final = 10  # that streams send between two rounds of the worker; the rest have their turn next
MAX_MARKS_A_SECOND: Final = 200  # of a worker: of 100 sessions that are watched each has one in half a second
MAX_MARKS_A_TURN: Final = 50  # that the worker tells realtime-updates at once; the rest have their turn next

# Notifications
MAX_NOTIFICATIONS: Final = 5_000  # kept a user, the newest
MAX_NOTIFICATION_CHANNELS: Final = 50  # a user
MAX_NOTIFICATION_RULES: Final = 100  # a user
MAX_WAITING_DELIVERIES: Final = 500  # a user; what comes on top is not sent
MAX_DIGEST_ENTRIES: Final = 50  # a digest; a full one is sent at once
MAX_EVENTS_A_SCREEN: Final = 2_000  # that wait for a client to take them
MAX_RESUMED_RECORDS: Final = 20_000  # between a cursor and now; beyond, a snapshot is cheaper
