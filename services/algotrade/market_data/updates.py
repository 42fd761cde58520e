"""The records of the log in which a turn of the writer puts a symbol's ticks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from algotrade.engine.records import TICK, Records, joined
from algotrade.market_data.feed import Resume
from algotrade.market_data.spells import Part
from algotrade.market_data.takeover import TRADE_ID
from algotrade.platform import limits
from algotrade.platform.bus import Message
from algotrade.platform.ticks import to_batch
from algotrade.v1.events_pb2 import FeedStateChange, MarketDataUpdate


def messages_of(symbol: str, parts: Sequence[Part], after: Resume) -> list[Message]:
    """Write a symbol's records; the last says after which trade the feed goes on, for a writer that finds it there."""
    updates = _updates(symbol, after.epoch, parts)
    messages = [Message(update.symbol, update.SerializeToString()) for update in updates]
    if after.trade_id:
        last = messages[-1]
        messages[-1] = replace(last, headers={**last.headers, TRADE_ID: after.trade_id})
    return messages


def _updates(symbol: str, epoch: int, parts: Sequence[Part]) -> Iterator[MarketDataUpdate]:
    """Make the records of a symbol: as many ticks in one as may be, cut where the feed's state changes."""
    run: list[Records] = []
    for part in parts:
        if isinstance(part, FeedStateChange):
            yield from _tick_updates(symbol, epoch, run)
            run = []
            yield MarketDataUpdate(symbol=symbol, epoch=epoch, feed_state=part)
        else:
            run.append(part)
    yield from _tick_updates(symbol, epoch, run)


def _tick_updates(symbol: str, epoch: int, run: Sequence[Records]) -> Iterator[MarketDataUpdate]:
    for ticks in _records(run):
        yield MarketDataUpdate(symbol=symbol, epoch=epoch, ticks=to_batch(ticks))


def _records(parts: Sequence[Records]) -> list[Records]:
    """Cut ticks into records of bounded length. Four ticks of a bar stay together: the bound is a multiple of four."""
    if not parts:
        return []
    size = limits.MAX_TICKS_A_RECORD
    ticks = joined(TICK, parts)
    return [ticks[start : start + size] for start in range(0, len(ticks), size)]
