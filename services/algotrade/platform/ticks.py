"""Ticks on the wire: between arrays of `algotrade.engine.records.TICK` and the columns of a TickBatch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from algotrade.engine.records import TICK, Records
from algotrade.v1 import events_pb2, types_pb2


def to_batch(ticks: Records) -> types_pb2.TickBatch:
    """Write consecutive ticks (dtype TICK) as columns."""
    return types_pb2.TickBatch(
        first_sequence=int(ticks["seq"][0]) if len(ticks) else 0,
        times_nanos=ticks["ts"].tolist(),
        prices_e8=ticks["price"].tolist(),
        sizes=ticks["size"].tolist(),
        flags=ticks["flags"].tolist(),
    )


def from_batch(batch: types_pb2.TickBatch) -> Records:
    """Read columns into ticks (dtype TICK); ValueError where the columns differ in length."""
    count = len(batch.times_nanos)
    if not count == len(batch.prices_e8) == len(batch.sizes) == len(batch.flags):
        raise ValueError("the columns of a tick batch differ in length")
    ticks = np.zeros(count, TICK)
    ticks["ts"] = np.fromiter(batch.times_nanos, np.int64, count)
    ticks["price"] = np.fromiter(batch.prices_e8, np.int64, count)
    ticks["size"] = np.fromiter(batch.sizes, np.float64, count)
    ticks["flags"] = np.fromiter(batch.flags, np.int32, count)
    ticks["seq"] = np.arange(batch.first_sequence, batch.first_sequence + count)
    return ticks


@dataclass(slots=True)
class FeedReader:
    """Reads one symbol's updates off the log: drops what a fenced writer or a repeated delivery brings.

    ``sequence`` is that of the last tick taken, ``epoch`` the highest seen, ``state`` what the feed was last said to be
    (a FeedState).
    """

    sequence: int = 0
    epoch: int = 0
    state: int = types_pb2.FEED_STATE_LIVE

    def copy(self) -> FeedReader:
        """Return another that stands where this one does."""
        return FeedReader(self.sequence, self.epoch, self.state)

    def take(self, update: events_pb2.MarketDataUpdate) -> Records:
        """Return the ticks of an update that were not taken before, maybe none. ValueError for columns that differ."""
        if update.epoch < self.epoch:
            return np.zeros(0, TICK)
        self.epoch = update.epoch
        if update.HasField("feed_state"):
            change = update.feed_state
            if change.state and change.after_sequence >= self.sequence:  # an older one comes again
                self.state = change.state
        if not update.HasField("ticks"):
            return np.zeros(0, TICK)
        ticks = from_batch(update.ticks)
        fresh = ticks[max(0, self.sequence + 1 - update.ticks.first_sequence) :]
        if len(fresh):
            self.sequence = int(fresh["seq"][-1])
        return fresh
