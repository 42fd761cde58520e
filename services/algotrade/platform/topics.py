"""The topics of the event bus: how many partitions, and how long a record stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOUR: Final = 3600
DAY: Final = 24 * HOUR
DEFAULT_RECORDS: Final = 200_000
PROTOBUF: Final = "application/protobuf"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Topic:
    """A named log. Its number of partitions is for ever: a key must always fall into the same one."""

    name: str
    partitions: int
    retention_seconds: int
    retention_records: int = DEFAULT_RECORDS  # a partition


MARKET_DATA_UPDATES: Final = Topic("market-data-updates", 8, 24 * HOUR, 500_000)
SYMBOL_SUBSCRIPTIONS: Final = Topic("symbol-subscriptions", 1, 7 * DAY)
STRATEGY_COMPILATIONS: Final = Topic("strategy-compilations", 1, 7 * DAY)
STRATEGY_SIGNALS: Final = Topic("strategy-signals", 4, 7 * DAY)
TRADE_EXECUTIONS: Final = Topic("trade-executions", 4, 30 * DAY)
PORTFOLIO_UPDATES: Final = Topic("portfolio-updates", 4, 7 * DAY)
FORWARD_TEST_EVENTS: Final = Topic("forward-test-events", 4, 7 * DAY)
USER_NOTIFICATIONS: Final = Topic("user-notifications", 1, 24 * HOUR)
REALTIME_UPDATES: Final = Topic("realtime-updates", 1, 1 * HOUR, 50_000)
DEAD_LETTERS: Final = Topic("dead-letters", 1, 30 * DAY, 50_000)  # what a reader could not read; see dead_letters.py

TOPICS: Final = (
    MARKET_DATA_UPDATES,
    SYMBOL_SUBSCRIPTIONS,
    STRATEGY_COMPILATIONS,
    STRATEGY_SIGNALS,
    TRADE_EXECUTIONS,
    PORTFOLIO_UPDATES,
    FORWARD_TEST_EVENTS,
    USER_NOTIFICATIONS,
    REALTIME_UPDATES,
    DEAD_LETTERS,
)

# Those that may be told as JSON: ticks and marks are too many to be written out, and dead letters are what they were.
JSON_TOPICS: Final = frozenset(topic.name for topic in TOPICS) - {
    MARKET_DATA_UPDATES.name,
    REALTIME_UPDATES.name,
    DEAD_LETTERS.name,
}
