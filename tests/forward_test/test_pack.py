"""What is packed comes out as it went in: every tick, every field, and whatever is no plain batch of ticks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algotrade.engine.records import TICK
from algotrade.forward_test.pack import pack, unpack
from algotrade.platform.bus import Record
from algotrade.platform.ticks import to_batch
from algotrade.v1 import types_pb2
from algotrade.v1.events_pb2 import FeedStateChange, MarketDataUpdate

I64 = st.integers(-(2**63), 2**63 - 1)
TICKS = st.lists(st.tuples(I64, I64, st.floats(), st.integers(0, 2**31 - 1)), max_size=6)


def batch(first: int, epoch: int, rows: list[tuple[int, int, float, int]]) -> bytes:
    ticks = np.zeros(len(rows), TICK)
    for index, row in enumerate(rows):
        ticks[index]["ts"], ticks[index]["price"], ticks[index]["size"], ticks[index]["flags"] = row
    ticks["seq"] = np.arange(first, first + len(rows))
    return MarketDataUpdate(symbol="AAA", epoch=epoch, ticks=to_batch(ticks)).SerializeToString()


def turned(state: types_pb2.FeedState.ValueType) -> bytes:
    change = FeedStateChange(state=state, after_sequence=7, detail="so it is")
    return MarketDataUpdate(symbol="AAA", epoch=2, feed_state=change).SerializeToString()


PAYLOADS = st.one_of(
    st.builds(batch, st.integers(1, 2**40), st.integers(0, 2**40), TICKS),
    st.builds(turned, st.sampled_from([1, 2, 3])),
    st.binary(max_size=40),
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(1, 1000), PAYLOADS), max_size=8))
def test_it_comes_out_as_it_went_in(given_: list[tuple[int, bytes]]) -> None:
    offset, records = 0, []
    for step, payload in given_:
        offset += step
        records.append(Record("market-data-updates", 3, offset, "AAA", payload, {}, 0))
    packed, _ = pack(records)
    assert [(one.offset, one.partition, one.key) for one in unpack(packed, 3, "AAA")] == [
        (one.offset, 3, "AAA") for one in records
    ]
    assert [one.payload for one in unpack(packed, 3, "AAA")] == [one.payload for one in records]


def test_a_tick_takes_a_few_bytes() -> None:
    """A live feed's records of two ticks each, in cents, at times of microseconds: 25 bytes a tick in the log."""
    rng = np.random.default_rng(1)
    count = 2000
    ticks = np.zeros(count, TICK)
    ticks["ts"] = 1_700_000_000_000_000_000 + np.cumsum(rng.integers(1_000, 80_000, count)) * 1_000
    ticks["price"] = np.rint(6_000_000 + np.cumsum(rng.normal(0, 30, count))).astype(np.int64) * 1_000_000
    ticks["size"] = np.round(rng.exponential(0.05, count), 4)
    ticks["seq"] = np.arange(1, count + 1)
    records = [
        Record(
            "market-data-updates",
            0,
            index,
            "AAA",
            MarketDataUpdate(
                symbol="AAA", epoch=1, ticks=to_batch(ticks[2 * index : 2 * index + 2])
            ).SerializeToString(),
            {},
            0,
        )
        for index in range(count // 2)
    ]
    packed, held = pack(records)
    assert held == count
    assert len(packed) / count < 10


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-3], lambda raw: b"no", lambda raw: raw[:10] + b"x" + raw[11:]])
def test_spoilt_bytes_are_refused(spoil: object) -> None:
    packed, _ = pack([Record("market-data-updates", 0, 5, "AAA", batch(1, 1, [(1, 2, 3.0, 0)]), {}, 0)])
    with pytest.raises(ValueError, match="a segment of AAA"):
        unpack(spoil(packed), 0, "AAA")  # type: ignore[operator]
