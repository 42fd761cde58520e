"""One id names a call everywhere: the client's where it is a sane one, else Envoy's."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest

from algotrade.platform import limits
from algotrade.platform.errors import request_id
from algotrade.v1 import market_data_service_pb2 as market
from algotrade.v1 import market_data_service_pb2_grpc as market_grpc

from .test_gateway import GET_ME, LIST_SYMBOLS, bearer, sign

LONGEST = "x" * limits.MAX_CORRELATION_ID_CHARS
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def seen(mesh: Any, answer: Any) -> str:
    """Return the id, after seeing that it is the same everywhere."""
    arrived = mesh.upstream.metadata
    [correlation_id] = arrived["x-correlation-id"]
    assert arrived["x-request-id"] == [correlation_id]
    assert answer.headers["x-correlation-id"] == answer.headers["x-request-id"] == correlation_id
    return correlation_id


@pytest.mark.parametrize("name", ["x-correlation-id", "x-request-id"])
@pytest.mark.parametrize("given", ["order-7:retry.2_b", str(uuid.UUID(int=7)), LONGEST])
async def test_a_sane_id_is_kept(call, mesh, name, given):
    answer = await call(LIST_SYMBOLS, [*bearer(sign(mesh)), (name, given)])
    assert seen(mesh, answer) == given


async def test_the_correlation_id_goes_before_the_request_id(call, mesh):
    answer = await call(LIST_SYMBOLS, [*bearer(sign(mesh)), ("x-request-id", "one"), ("x-correlation-id", "two")])
    assert seen(mesh, answer) == "two"


@pytest.mark.parametrize("given", [None, "", "-", "-x", "a b", 'a"b', "a,b", "%REQ(authorization)%", LONGEST + "x"])
async def test_where_there_is_none_or_an_odd_one_the_gateway_makes_one(call, mesh, given):
    headers = bearer(sign(mesh)) + ([("x-correlation-id", given)] if given is not None else [])
    answer = await call(LIST_SYMBOLS, headers)
    assert str(uuid.UUID(seen(mesh, answer))) == answer.headers["x-request-id"]


async def test_of_two_ids_the_first_counts(http, mesh):
    twice = [("x-correlation-id", "one"), ("x-correlation-id", "two")]
    answer = await http.get("/v1/symbols", headers=[*bearer(sign(mesh)), *twice])
    assert seen(mesh, answer) == "one"


async def test_what_envoy_answers_itself_has_it_too(call, http):
    answer = await call(GET_ME, [("x-correlation-id", "who-am-i")])
    assert (answer.code, answer.headers["x-correlation-id"]) == ("UNAUTHENTICATED", "who-am-i")
    told = (await http.get("/v1/identity/me", headers={"x-request-id": "who-am-i"})).json()["details"][1]
    assert told == {"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": "who-am-i"}


async def test_an_error_of_a_service_has_it_in_its_details(channel, http, mesh):
    stub: Any = market_grpc.MarketDataServiceStub(channel)
    headers = [*bearer(sign(mesh)), ("x-correlation-id", "wrong-symbol")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetWindow(market.GetWindowRequest(symbol="?"), metadata=headers)
    assert request_id(caught.value) == "wrong-symbol"
    answer = await http.get("/v1/symbols/%3F/window", headers=headers)
    assert [one["request_id"] for one in answer.json()["details"] if "request_id" in one] == ["wrong-symbol"]


async def test_a_stream_says_it_at_once_and_at_its_end(channel, mesh):
    stub: Any = market_grpc.MarketDataServiceStub(channel)
    headers = [*bearer(sign(mesh)), ("x-correlation-id", "a-stream")]
    stream = stub.StreamTicks(market.StreamTicksRequest(symbol="BTC-USD"), metadata=headers)
    await stream.read()
    assert dict(await stream.initial_metadata())["x-correlation-id"] == "a-stream"
    mesh.upstream.go_on.set()
    assert (await stream.read()).sequence == 2
    assert await stream.read() == grpc.aio.EOF
    assert dict(await stream.trailing_metadata())["x-correlation-id"] == "a-stream"


async def test_a_trace_is_passed_along(call, mesh):
    await call(LIST_SYMBOLS, [*bearer(sign(mesh)), ("traceparent", TRACE)])
    assert mesh.upstream.metadata["traceparent"] == [TRACE]
