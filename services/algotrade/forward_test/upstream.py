"""What a session is made from, asked of the services that have it, with the caller's own token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

import grpc

from algotrade.engine.compile import Artefact
from algotrade.platform import errors
from algotrade.v1 import market_data_service_pb2 as market_pb
from algotrade.v1 import strategy_service_pb2 as strategy_pb
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

REPLAY: Final = "replay"
DEADLINE_SECONDS: Final = 20.0
TICKS_LOOKED_AT: Final = 200
_ERRORS: Final = {kind_code: kind for kind, kind_code in errors.CODES.items()}


@dataclass(frozen=True, slots=True)
class Feed:
    """What there is to know of a symbol's feed."""

    symbol: str
    bars: bool  # whole bars rather than trades
    replay: bool  # history: all of it is input, whenever it is read


class Upstream:
    """StrategyService and MarketDataService behind a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take the channel; its calls carry the token of the call that is running."""
        self._strategies = StrategyServiceStub(channel)
        self._markets = MarketDataServiceStub(channel)

    async def strategy(self, strategy_id: str, version: int) -> strategy_pb.Strategy:
        """Return a version of one of the caller's strategies, 0 being the newest. Raises NotFound."""
        request = strategy_pb.GetStrategyRequest(strategy_id=strategy_id, version=version)
        try:
            response = await self._strategies.GetStrategy(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            _pass_on(error, "strategy")
        return response.strategy

    async def artefact(self, artefact_hash: str) -> Artefact:
        """Return an artefact, after its bytes have been checked against its hash. Raises NotFound."""
        request = strategy_pb.GetArtefactRequest(artefact_hash=artefact_hash)
        try:
            response = await self._strategies.GetArtefact(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            _pass_on(error, "strategy")
        artefact = Artefact.from_wasm(response.module)
        if artefact.hash != artefact_hash:
            raise ValueError(f"asked for the artefact {artefact_hash}, got {artefact.hash}")
        return artefact

    async def feed(self, symbol: str) -> Feed:
        """Return what there is to know of a symbol. Raises NotFound."""
        token = ""
        while True:
            request = market_pb.ListSymbolsRequest(page_size=1000, page_token=token)
            try:
                response = await self._markets.ListSymbols(request, timeout=DEADLINE_SECONDS)
            except grpc.aio.AioRpcError as error:
                _pass_on(error, "market_data")
            for found in response.symbols:
                if found.symbol == symbol:
                    return Feed(symbol, found.bars, found.provider == REPLAY)
            token = response.next_page_token
            if not token:
                raise errors.NotFound("SYMBOL_NOT_FOUND", f"no symbol {symbol} is traded here", symbol=symbol)

    async def bar_times(self, symbol: str) -> list[int]:
        """Return the starts of the newest bars of a feed of bars, in nanoseconds; none before the first has come."""
        request = market_pb.GetWindowRequest(symbol=symbol, limit=TICKS_LOOKED_AT)
        try:
            response = await self._markets.GetWindow(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            _pass_on(error, "market_data")
        return [tick.event_time.ToNanoseconds() for tick in response.ticks if tick.closes_bar]


def _pass_on(error: grpc.aio.AioRpcError, dependency: str) -> NoReturn:
    """Give the caller an error of another service as it is, or say which service is away."""
    info = errors.info(error)
    kind = _ERRORS.get(error.code())
    if kind is not None and info.reason and kind not in (errors.Unavailable, errors.Internal):
        violations = list(errors.violations(error).items())
        raise kind(info.reason, error.details() or "", violations=violations, **info.metadata) from error
    raise errors.Unavailable(
        "DEPENDENCY_UNAVAILABLE", f"{dependency} does not answer", dependency=dependency
    ) from error
