"""What a new writer does first where the log is not in the database: it finds out where the log really stands.

The one before it may have died with ticks in the log that its lease does not know of, or be about to log some more.

1. A record with the new epoch and no ticks goes into the log. What an older writer logs behind it, readers drop.
2. What the lease does not know of in front of it was logged in good time: it counts, and the lease learns of it. The id
   of the trade that a feed goes on after is in the records' headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import numpy as np
import stamina
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.engine.records import Records
from algotrade.market_data.feed import FeedState, Resume
from algotrade.market_data.store import Advance, LeaseStore
from algotrade.market_data.tick_log import records_after
from algotrade.platform.bus import Bus, Message, Record
from algotrade.platform.database import is_away
from algotrade.platform.log import logger
from algotrade.platform.ticks import FeedReader
from algotrade.platform.topics import MARKET_DATA_UPDATES
from algotrade.v1.events_pb2 import MarketDataUpdate

log = logger(__name__)

TRADE_ID: Final = "trade-id"  # header: of the last trade in this record and those before it
ATTEMPTS: Final = 20
SECONDS: Final = 60.0


@stamina.retry(on=is_away, attempts=ATTEMPTS, timeout=SECONDS, wait_max=2.0)
async def agree(
    bus: Bus, database: AsyncEngine, leases: LeaseStore, resumes: Mapping[str, Resume]
) -> dict[str, Resume]:
    """Return where each symbol goes on. Raises Fenced where another writer has taken one of them meanwhile."""
    fences = await bus.publish(
        MARKET_DATA_UPDATES,
        [
            Message(name, MarketDataUpdate(symbol=name, epoch=resume.epoch).SerializeToString())
            for name, resume in resumes.items()
        ],
    )
    agreed = dict(resumes)
    for (name, resume), fence in zip(resumes.items(), fences, strict=True):
        agreed[name] = await _end_of_log(bus, name, resume, fence)
        if agreed[name] != resume:
            log.warning("feed.log_is_ahead", symbol=name, lease=resume.sequence, log=agreed[name].sequence)
    advances = {
        name: Advance(resume.sequence, agreed[name]) for name, resume in resumes.items() if agreed[name] != resume
    }
    if advances:
        async with database.begin() as connection:
            await leases.advance(connection, advances)
    return agreed


async def _end_of_log(bus: Bus, name: str, resume: Resume, fence: Record) -> Resume:
    """Read what was logged between the end that a lease knows of and the writer's own first record."""
    reader, after = FeedReader(resume.sequence, state=resume.state), resume
    async with aclosing(records_after(bus, name, reader)) as logged:
        async for record, ticks in logged:
            if record.offset >= fence.offset:
                break
            if len(ticks):
                after = replace(
                    after,
                    sequence=reader.sequence,
                    event_ns=int(ticks["ts"][-1]),
                    price=_last_price(ticks) or after.price,
                    trade_id=record.headers.get(TRADE_ID, after.trade_id),
                )
    return replace(after, state=FeedState(reader.state))


def _last_price(ticks: Records) -> int:
    priced = ticks["price"][np.flatnonzero(ticks["price"])]
    return int(priced[-1]) if len(priced) else 0
