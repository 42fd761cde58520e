"""Ticks survive the wire bit for bit, and a reader takes each once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from algotrade.engine.records import CLOSES_BAR, INTERPOLATED, TICK, Records
from algotrade.platform.ticks import FeedReader, from_batch, to_batch
from algotrade.v1.events_pb2 import FeedStateChange, MarketDataUpdate
from algotrade.v1.types_pb2 import TickBatch


def ticks(first: int, last: int) -> Records:
    made = np.zeros(last - first + 1, TICK)
    made["seq"] = np.arange(first, last + 1)
    return made


def update(epoch: int, first: int, last: int) -> MarketDataUpdate:
    return MarketDataUpdate(symbol="A", epoch=epoch, ticks=to_batch(ticks(first, last)))


def test_ticks_survive_the_wire() -> None:
    sent = ticks(5, 7)
    sent["ts"] = [-1, 0, 2**62]
    sent["price"] = [1, 2**63 - 1, 0]
    sent["size"] = [0.1, math.pi, 0.0]
    sent["flags"] = [0, INTERPOLATED, INTERPOLATED | CLOSES_BAR]
    read = from_batch(TickBatch.FromString(to_batch(sent).SerializeToString()))
    assert read.tobytes() == sent.tobytes()
    assert len(from_batch(to_batch(ticks(1, 0)))) == 0


def test_columns_of_different_length_are_refused() -> None:
    batch = to_batch(ticks(1, 3))
    batch.sizes.append(1.0)
    with pytest.raises(ValueError, match="length"):
        from_batch(batch)


def test_a_reader_takes_each_tick_once() -> None:
    reader = FeedReader()
    taken = [
        reader.take(message)["seq"].tolist()
        for message in (
            update(1, 1, 3),
            update(1, 1, 3),  # repeated
            update(1, 2, 5),  # overlapping
            update(2, 6, 7),  # another writer
            update(1, 8, 9),  # the old one, fenced
            MarketDataUpdate(symbol="A", epoch=2, feed_state=FeedStateChange()),
            update(2, 8, 8),
        )
    ]
    assert taken == [[1, 2, 3], [], [4, 5], [6, 7], [], [], [8]]
    assert (reader.sequence, reader.epoch) == (8, 2)
