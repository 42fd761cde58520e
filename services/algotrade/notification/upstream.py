"""What a screen shows at first, asked of the services that have it, with the caller's own token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import grpc

from algotrade.platform.errors import NotFound
from algotrade.platform.upstream import DEADLINE_SECONDS, pass_on
from algotrade.v1 import forward_test_service_pb2 as session_pb
from algotrade.v1 import market_data_service_pb2 as market_pb
from algotrade.v1 import realtime_service_pb2 as pb
from algotrade.v1.forward_test_service_pb2_grpc import ForwardTestServiceStub
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

CALLS_AT_ONCE: Final = 8


class Upstream:
    """ForwardTestService and MarketDataService behind their channels."""

    def __init__(self, sessions: grpc.aio.Channel, markets: grpc.aio.Channel) -> None:
        """Take the channels; their calls carry the token of the call that is running."""
        self._sessions = ForwardTestServiceStub(sessions)
        self._markets = MarketDataServiceStub(markets)

    async def sessions(self, session_ids: Sequence[str] | None) -> list[session_pb.Session]:
        """Return these of the caller's sessions, or all. Raises NotFound."""
        try:
            if session_ids is None:
                return await self._all()
            turns = asyncio.Semaphore(CALLS_AT_ONCE)

            async def one(session_id: str) -> session_pb.Session:
                async with turns:
                    request = session_pb.GetSessionRequest(session_id=session_id)
                    return (await self._sessions.GetSession(request, timeout=DEADLINE_SECONDS)).session

            return list(await asyncio.gather(*map(one, session_ids)))
        except grpc.aio.AioRpcError as error:
            pass_on(error, "forward_test")

    async def _all(self) -> list[session_pb.Session]:
        found: list[session_pb.Session] = []
        token = ""
        while True:
            request = session_pb.ListSessionsRequest(page_size=500, page_token=token)
            response = await self._sessions.ListSessions(request, timeout=DEADLINE_SECONDS)
            found += response.sessions
            token = response.next_page_token
            if not token:
                return found

    async def symbols(self, names: Sequence[str]) -> list[pb.SymbolUpdate]:
        """Return how these symbols stand. Raises NotFound for one that is not traded here."""
        found: dict[str, pb.SymbolUpdate] = {}
        token = ""
        while True:
            request = market_pb.ListSymbolsRequest(page_size=1000, page_token=token)
            try:
                response = await self._markets.ListSymbols(request, timeout=DEADLINE_SECONDS)
            except grpc.aio.AioRpcError as error:
                pass_on(error, "market_data")
            for one in response.symbols:
                found[one.symbol] = pb.SymbolUpdate(
                    symbol=one.symbol,
                    last_price=one.last_price,
                    event_time=one.last_event_time if one.HasField("last_event_time") else None,
                    last_sequence=one.last_sequence,
                    feed_state=one.feed_state,
                )
            token = response.next_page_token
            if not token:
                break
        for name in names:
            if name not in found:
                raise NotFound("SYMBOL_NOT_FOUND", f"no symbol {name} is traded here", symbol=name)
        return [found[name] for name in names]
