"""A service for the tests of the server: the market data API, doing what the test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from algotrade.platform.process import Builder, Platform
from algotrade.platform.server import Mount
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import market_data_service_pb2_grpc as pb_grpc

Unary = Callable[[Any, Any], Awaitable[pb.GetWindowResponse]]
Stream = Callable[[Any, Any], AsyncIterator[pb.StreamTicksResponse]]


async def nothing(request: Any, context: Any) -> pb.GetWindowResponse:
    return pb.GetWindowResponse(last_sequence=7)


async def three(request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
    for number in range(3):
        yield pb.StreamTicksResponse(sequence=number)


class Echo(pb_grpc.MarketDataServiceServicer):
    """Runs the test's own handlers."""

    def __init__(self, unary: Unary, stream: Stream) -> None:
        self._unary = unary
        self._stream = stream

    async def GetWindow(self, request: Any, context: Any) -> pb.GetWindowResponse:
        return await self._unary(request, context)

    async def StreamTicks(self, request: Any, context: Any) -> AsyncIterator[pb.StreamTicksResponse]:
        async for message in self._stream(request, context):
            yield message


def echo(unary: Unary = nothing, stream: Stream = three) -> Builder:
    """Return a builder of the service with these handlers."""

    @asynccontextmanager
    async def build(platform: Platform) -> AsyncIterator[Mount]:
        servicer = Echo(unary, stream)
        yield Mount(
            pb.DESCRIPTOR.services_by_name["MarketDataService"],
            lambda server: pb_grpc.add_MarketDataServiceServicer_to_server(servicer, server),
        )

    return build
