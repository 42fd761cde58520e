"""Times that are none are found wherever they are in a request, and said before anything reckons with them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from echo_service import echo
from google.protobuf.timestamp_pb2 import Timestamp

from algotrade.platform.errors import info, violations
from algotrade.platform.timestamps import LEAST_SECONDS, MOST_SECONDS, bad_timestamps
from algotrade.v1 import backtest_service_pb2 as backtest_pb
from algotrade.v1 import identity_service_pb2 as identity_pb
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

BAD = (
    Timestamp(nanos=-1),
    Timestamp(nanos=1_000_000_000),
    Timestamp(seconds=LEAST_SECONDS - 1),
    Timestamp(seconds=MOST_SECONDS + 1),
    Timestamp(seconds=2**63 - 1),
)
GOOD = (Timestamp(), Timestamp(seconds=LEAST_SECONDS), Timestamp(seconds=MOST_SECONDS, nanos=999_999_999))


@pytest.mark.parametrize("time", [*BAD, *GOOD], ids=lambda time: f"{time.seconds} {time.nanos}")
def test_a_time_is_what_protobuf_says(time: Timestamp) -> None:
    expected = ["expire_time"] if time in BAD else []
    assert list(bad_timestamps(identity_pb.CreateApiKeyRequest(expire_time=time))) == expected


def test_they_are_found_inside_of_others() -> None:
    asked = types_pb2.HistoryRange(start_time=BAD[0], end_time=BAD[1])
    found = bad_timestamps(backtest_pb.StartBacktestRequest(history=asked))
    assert list(found) == ["history.start_time", "history.end_time"]
    key = identity_pb.ApiKey(create_time=BAD[0])
    listed = identity_pb.ListApiKeysResponse(api_keys=[identity_pb.ApiKey(), key])
    assert list(bad_timestamps(listed)) == ["api_keys[1].create_time"]
    assert list(bad_timestamps(pb.ListBarsRequest())) == [], "what is not set is not wrong"


async def test_the_field_is_named(serve: Any, connect: Any, user: str) -> None:
    server = await serve(echo())
    stub = MarketDataServiceStub(connect(server, user))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListBars(pb.ListBarsRequest(symbol="AAA", interval="1m", before_time=BAD[0]))
    assert (caught.value.code(), info(caught.value).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert violations(caught.value) == {"before_time": "is no time"}
