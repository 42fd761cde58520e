"""What a session is made from, asked of the services that have it, with the caller's own token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc

from algotrade.platform import errors
from algotrade.platform.upstream import DEADLINE_SECONDS, SavedStrategies, pass_on
from algotrade.v1 import market_data_service_pb2 as market_pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

REPLAY: Final = "replay"
TICKS_LOOKED_AT: Final = 200


@dataclass(frozen=True, slots=True)
class Feed:
    """What there is to know of a symbol's feed."""

    symbol: str
    bars: bool  # whole bars rather than trades
    replay: bool  # history: all of it is input, whenever it is read
    provider: str = ""


class Upstream(SavedStrategies):
    """StrategyService and MarketDataService behind their channels."""

    def __init__(self, strategies: grpc.aio.Channel, markets: grpc.aio.Channel) -> None:
        """Take the channels; their calls carry the token of the call that is running."""
        super().__init__(strategies)
        self._markets = MarketDataServiceStub(markets)

    async def feed(self, symbol: str) -> Feed:
        """Return what there is to know of a symbol. Raises NotFound."""
        token = ""
        while True:
            request = market_pb.ListSymbolsRequest(page_size=1000, page_token=token)
            try:
                response = await self._markets.ListSymbols(request, timeout=DEADLINE_SECONDS)
            except grpc.aio.AioRpcError as error:
                pass_on(error, "market_data")
            for found in response.symbols:
                if found.symbol == symbol:
                    return Feed(symbol, found.bars, found.provider == REPLAY, found.provider)
            token = response.next_page_token
            if not token:
                raise errors.NotFound("SYMBOL_NOT_FOUND", f"no symbol {symbol} is traded here", symbol=symbol)

    async def bar_times(self, symbol: str) -> list[int]:
        """Return the starts of the newest bars of a feed of bars, in nanoseconds; none before the first has come."""
        request = market_pb.GetWindowRequest(symbol=symbol, limit=TICKS_LOOKED_AT)
        try:
            response = await self._markets.GetWindow(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            pass_on(error, "market_data")
        return [tick.event_time.ToNanoseconds() for tick in response.ticks if tick.closes_bar]
