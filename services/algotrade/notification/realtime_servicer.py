"""RealtimeService on the wire: messages in, messages out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc.aio import ServicerContext

from algotrade.notification.show import Shower
from algotrade.platform.caller import principal
from algotrade.v1 import realtime_service_pb2 as pb
from algotrade.v1 import realtime_service_pb2_grpc as pb_grpc


class RealtimeServicer(pb_grpc.RealtimeServiceServicer):
    """Hands calls to who shows."""

    def __init__(self, shower: Shower) -> None:
        """Take who shows."""
        self._shower = shower

    async def StreamUpdates(
        self, request: pb.StreamUpdatesRequest, context: ServicerContext[Any, Any]
    ) -> AsyncGenerator[pb.StreamUpdatesResponse, None]:
        """Send all that one screen shows."""
        async with aclosing(self._shower.show(principal().user_id, request)) as responses:
            async for response in responses:
                yield response
