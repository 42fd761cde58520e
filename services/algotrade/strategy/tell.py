"""What strategy-compilations is told of a version that was compiled."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.platform.bus import Message
from algotrade.strategy.compile import Compiled
from algotrade.strategy.store import StoredStrategy
from algotrade.v1.events_pb2 import StrategyCompilation

FINDING_CHARS: Final = 500


def compilation(user_id: str, strategy: StoredStrategy, compiled: Compiled, now: datetime) -> Message:
    """Return the record of what the compiler says of a version."""
    counts = Counter(found.severity for found in compiled.diagnostics)
    first = sorted(compiled.diagnostics, key=lambda found: found.severity != "error")[:1]
    create_time = Timestamp()
    create_time.FromDatetime(now)
    told = StrategyCompilation(
        strategy_id=strategy.strategy_id,
        user_id=user_id,
        strategy_name=strategy.name,
        version=strategy.version,
        artefact_hash=compiled.artefact.hash if compiled.artefact else "",
        errors=counts["error"],
        warnings=counts["warning"],
        first_finding=first[0].message[:FINDING_CHARS] if first else "",
        create_time=create_time,
    )
    return Message(strategy.strategy_id, told.SerializeToString())
