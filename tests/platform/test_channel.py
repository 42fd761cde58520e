"""A call from service to service carries who asked, and under which correlation id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from echo_service import echo

from algotrade.platform.caller import CORRELATION_ID, principal
from algotrade.platform.channel import open_channel
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub


@pytest.mark.parametrize("inner_call", ["unary", "stream"])
async def test_the_caller_and_the_correlation_id_travel_on(
    serve: Any, connect: Any, user: str, inner_call: str
) -> None:
    seen: list[tuple[str, str]] = []

    def note() -> None:
        seen.append((principal().user_id, CORRELATION_ID.get()))

    async def inner_unary(request: Any, context: Any) -> pb.GetWindowResponse:
        note()
        return pb.GetWindowResponse(last_sequence=1)

    async def inner_stream(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        note()
        yield pb.StreamTicksResponse(sequence=2)

    inner = await serve(echo(inner_unary, inner_stream))
    async with open_channel(f"127.0.0.1:{inner.port}") as channel:
        to_inner: Any = MarketDataServiceStub(channel)

        async def outer(request: Any, context: Any) -> pb.GetWindowResponse:
            note()
            if inner_call == "unary":
                return await to_inner.GetWindow(request)  # type: ignore[no-any-return]
            [message] = [message async for message in to_inner.StreamTicks(pb.StreamTicksRequest(symbol="AAA"))]
            return pb.GetWindowResponse(last_sequence=message.sequence)

        stub = MarketDataServiceStub(connect(await serve(echo(outer)), user))
        reply = await stub.GetWindow(
            pb.GetWindowRequest(symbol="AAA"), metadata=(("x-correlation-id", "from-the-edge"),)
        )
    assert reply.last_sequence == (1 if inner_call == "unary" else 2)
    assert seen == [(user, "from-the-edge")] * 2
