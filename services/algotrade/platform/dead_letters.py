"""Where a record goes that its reader cannot read: as it is, with where it was and why, so that nothing waits for it.

The reader goes on once it is kept. One that dies in between keeps it again: place and topic tell that it is the same.
"""

from __future__ import annotations

from typing import Final

from algotrade.platform.bus import Bus, Message, Record
from algotrade.platform.topics import DEAD_LETTERS

TOPIC: Final = "dead-topic"
PARTITION: Final = "dead-partition"
OFFSET: Final = "dead-offset"
READER: Final = "dead-reader"
REASON: Final = "dead-reason"
MAX_REASON_CHARS: Final = 500


async def bury(bus: Bus, record: Record, reader: str, reason: str) -> None:
    """Keep a record that a reader passes over. Raises BusError where it cannot be kept."""
    headers = {
        **record.headers,
        TOPIC: record.topic,
        PARTITION: str(record.partition),
        OFFSET: str(record.offset),
        READER: reader,
        REASON: reason[:MAX_REASON_CHARS],
    }
    await bus.publish(DEAD_LETTERS, [Message(record.key, record.payload, headers)])
