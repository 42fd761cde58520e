"""MarketDataService on the wire: messages in, messages out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from algotrade.engine import fixed
from algotrade.engine.records import CLOSES_BAR, INTERPOLATED, MARKER
from algotrade.market_data.feed import FeedSymbol
from algotrade.market_data.follow import Follower, Heartbeat
from algotrade.market_data.window import Head, WindowStore
from algotrade.platform import limits, paging
from algotrade.platform.clock import SECOND_NS
from algotrade.platform.errors import NotFound
from algotrade.platform.ticks import to_batch
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import market_data_service_pb2_grpc as pb_grpc
from algotrade.v1 import types_pb2

Context = ServicerContext[Any, Any]

DEFAULT_WINDOW: Final = 100
LIST_SYMBOLS: Final = "ListSymbols"


class MarketDataServicer(pb_grpc.MarketDataServiceServicer):
    """Translates between messages and windows, and followers."""

    def __init__(
        self,
        symbols: Mapping[str, FeedSymbol],
        windows: WindowStore,
        follower: Follower,
        running: Callable[[str], bool],
    ) -> None:
        """Take the symbols by name, where their ticks are, and whether a symbol's feed still delivers."""
        self._symbols = symbols
        self._windows = windows
        self._follower = follower
        self._running = running

    async def ListSymbols(self, request: pb.ListSymbolsRequest, context: Context) -> pb.ListSymbolsResponse:
        """Return the symbols by name."""
        keys = paging.read_token(LIST_SYMBOLS, request.page_token, 1)
        names = sorted(name for name in self._symbols if keys is None or name > str(keys[0]))
        page = names[: paging.page_size(request.page_size)]
        token = paging.write_token(LIST_SYMBOLS, page[-1]) if len(page) < len(names) else ""
        symbols = [self._symbol(name, await self._windows.head(name)) for name in page]
        return pb.ListSymbolsResponse(symbols=symbols, next_page_token=token)

    async def GetWindow(self, request: pb.GetWindowRequest, context: Context) -> pb.GetWindowResponse:
        """Return the newest ticks of a symbol."""
        self._known(request.symbol)
        count = min(request.limit or DEFAULT_WINDOW, limits.MAX_WINDOW_REPLY_TICKS)
        ticks = await self._windows.newest(request.symbol, count)
        head = await self._windows.head(request.symbol)
        return pb.GetWindowResponse(
            ticks=[_tick(*row) for row in ticks.tolist()],
            last_sequence=int(ticks["seq"][-1]) if len(ticks) else head.sequence,
            feed_state=self._state(request.symbol, head),
            epoch=head.epoch,
        )

    async def StreamTicks(
        self, request: pb.StreamTicksRequest, context: Context
    ) -> AsyncGenerator[pb.StreamTicksResponse, None]:
        """Send a symbol's ticks after a cursor, and a heartbeat when there are none."""
        self._known(request.symbol)
        after = request.after_sequence if request.HasField("after_sequence") else None
        async with aclosing(self._follower.follow(request.symbol, after)) as followed:
            async for item in followed:
                if isinstance(item, Heartbeat):
                    beat = types_pb2.Heartbeat(time=_timestamp(item.time_ns))
                    yield pb.StreamTicksResponse(sequence=item.sequence, epoch=item.epoch, heartbeat=beat)
                else:
                    yield pb.StreamTicksResponse(
                        sequence=int(item.ticks["seq"][-1]), epoch=item.epoch, ticks=to_batch(item.ticks)
                    )

    def _known(self, symbol: str) -> None:
        if symbol not in self._symbols:
            raise NotFound("SYMBOL_NOT_FOUND", f"no symbol {symbol} is traded here", symbol=symbol)

    def _state(self, symbol: str, head: Head) -> types_pb2.FeedState.ValueType:
        live = head.sequence > 0 and self._running(symbol)
        return types_pb2.FEED_STATE_LIVE if live else types_pb2.FEED_STATE_STALE

    def _symbol(self, name: str, head: Head) -> pb.Symbol:
        symbol = self._symbols[name]
        return pb.Symbol(
            symbol=name,
            provider=symbol.provider,
            feed_state=self._state(name, head),
            last_sequence=head.sequence,
            last_price=fixed.text(head.price) if head.price else "",
            last_event_time=_timestamp(head.event_ns) if head.sequence else None,
            bars=symbol.bars,
        )


def _tick(ts: int, price: int, size: float, sequence: int, flags: int, _pad: int) -> types_pb2.Tick:
    return types_pb2.Tick(
        sequence=sequence,
        event_time=_timestamp(ts),
        price="" if flags & MARKER else fixed.text(price),
        size=size,
        interpolated=bool(flags & INTERPOLATED),
        closes_bar=bool(flags & CLOSES_BAR),
        marker=bool(flags & MARKER),
    )


def _timestamp(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // SECOND_NS, nanos=ns % SECOND_NS)
