"""MarketDataService on the wire: messages in, messages out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext

from algotrade.engine import fixed
from algotrade.engine.records import CLOSES_BAR, INTERPOLATED, MARKER
from algotrade.engine.settings import INTERVALS
from algotrade.market_data.bar_pages import BarPages, nanoseconds
from algotrade.market_data.bars import BarSource
from algotrade.market_data.feed import FeedState, FeedSymbol
from algotrade.market_data.follow import Follower, Heartbeat
from algotrade.market_data.past_pages import PastPages
from algotrade.market_data.resize import WindowSizes
from algotrade.market_data.store import Subscription, SubscriptionStore
from algotrade.market_data.window import Head, WindowStore
from algotrade.platform import limits, paging
from algotrade.platform.caller import principal
from algotrade.platform.clock import SECOND_NS, Clock
from algotrade.platform.errors import InvalidArgument, NotFound
from algotrade.platform.ticks import to_batch
from algotrade.v1 import market_data_service_pb2 as pb
from algotrade.v1 import market_data_service_pb2_grpc as pb_grpc
from algotrade.v1 import types_pb2

Context = ServicerContext[Any, Any]

DEFAULT_WINDOW: Final = 100
LIST_SYMBOLS: Final = "ListSymbols"
LIST_SUBSCRIPTIONS: Final = "ListSubscriptions"


class MarketDataServicer(pb_grpc.MarketDataServiceServicer):
    """Translates between messages and windows, and followers."""

    def __init__(
        self,
        symbols: Mapping[str, FeedSymbol],
        windows: WindowStore,
        follower: Follower,
        bars: BarSource,
        bar_pages: BarPages,
        sizes: WindowSizes,
        subscriptions: SubscriptionStore,
        past: PastPages,
        state: Callable[[str], FeedState],
        clock: Clock,
    ) -> None:
        """Take the symbols by name, where their ticks, bars and past are, and what a symbol's feed is worth now."""
        self._symbols = symbols
        self._windows = windows
        self._follower = follower
        self._bars = bars
        self._bar_pages = bar_pages
        self._sizes = sizes
        self._subscriptions = subscriptions
        self._past = past
        self._state_of = state
        self._clock = clock

    async def ListSymbols(self, request: pb.ListSymbolsRequest, context: Context) -> pb.ListSymbolsResponse:
        """Return the symbols by name."""
        keys = paging.read_token(LIST_SYMBOLS, request.page_token, 1)
        names = sorted(name for name in self._symbols if keys is None or name > str(keys[0]))
        page = names[: paging.page_size(request.page_size)]
        token = paging.write_token(LIST_SYMBOLS, page[-1]) if len(page) < len(names) else ""
        symbols = [await self._symbol(name) for name in page]
        return pb.ListSymbolsResponse(symbols=symbols, next_page_token=token)

    async def GetWindow(self, request: pb.GetWindowRequest, context: Context) -> pb.GetWindowResponse:
        """Return the newest ticks of a symbol."""
        self._known(request.symbol)
        count = min(request.limit or DEFAULT_WINDOW, limits.MAX_WINDOW_REPLY_TICKS)
        ticks = await self._windows.newest(request.symbol, count)
        head = await self._windows.head(request.symbol)
        response = pb.GetWindowResponse(
            last_sequence=int(ticks["seq"][-1]) if len(ticks) else head.sequence,
            feed_state=self._state(request.symbol, head),
            epoch=head.epoch,
        )
        for row in ticks.tolist():
            _set_tick(response.ticks.add(), *row)
        return response

    async def StreamTicks(
        self, request: pb.StreamTicksRequest, context: Context
    ) -> AsyncGenerator[pb.StreamTicksResponse, None]:
        """Send a symbol's ticks after a cursor, a heartbeat when there are none, changes of the feed's state."""
        self._known(request.symbol)
        told = FeedState.LIVE
        after = request.after_sequence if request.HasField("after_sequence") else None
        async with aclosing(self._follower.follow(request.symbol, after)) as followed:
            async for item in followed:
                if isinstance(item, Heartbeat):
                    sequence = item.sequence
                    beat = types_pb2.Heartbeat(time=_timestamp(item.time_ns))
                    yield pb.StreamTicksResponse(sequence=sequence, epoch=item.epoch, heartbeat=beat)
                else:
                    sequence = int(item.ticks["seq"][-1])
                    yield pb.StreamTicksResponse(sequence=sequence, epoch=item.epoch, ticks=to_batch(item.ticks))
                if (state := self._state_of(request.symbol)) != told:
                    told = state
                    changed = types_pb2.FeedState.ValueType(state)
                    yield pb.StreamTicksResponse(sequence=sequence, epoch=item.epoch, feed_state=changed)

    async def ListBars(self, request: pb.ListBarsRequest, context: Context) -> pb.ListBarsResponse:
        """Return bars of a symbol, page by page."""
        return await self._bar_pages.page(request, self._interval(request))

    async def StreamBars(
        self, request: pb.StreamBarsRequest, context: Context
    ) -> AsyncGenerator[pb.StreamBarsResponse, None]:
        """Send a symbol's closed bars after a cursor, and a heartbeat when there are none."""
        interval = self._interval(request)
        after = nanoseconds(request.after_time) if request.HasField("after_time") else None
        cursor = request.after_time if after is not None else None
        async with aclosing(self._bars.follow(request.symbol, interval, after)) as followed:
            async for item in followed:
                if isinstance(item, Heartbeat):
                    beat = types_pb2.Heartbeat(time=_timestamp(item.time_ns))
                    yield pb.StreamBarsResponse(cursor=cursor, heartbeat=beat)
                else:
                    cursor = _timestamp(int(item["ts"][-1]))
                    bars = self._bar_pages.messages(request.symbol, interval, item)
                    yield pb.StreamBarsResponse(cursor=cursor, bars=pb.BarBatch(bars=bars))

    async def ListHistoryProviders(
        self, request: pb.ListHistoryProvidersRequest, context: Context
    ) -> pb.ListHistoryProvidersResponse:
        """Return the providers of bars of the past by name."""
        return self._past.providers(request)

    async def ListHistory(self, request: pb.ListHistoryRequest, context: Context) -> pb.ListHistoryResponse:
        """Return bars of the past, page by page."""
        return await self._past.page(request)

    async def ConfigureWindow(self, request: pb.ConfigureWindowRequest, context: Context) -> pb.ConfigureWindowResponse:
        """Make a symbol's window longer."""
        self._known(request.symbol)
        return pb.ConfigureWindowResponse(ticks=await self._sizes.at_least(request.symbol, request.ticks))

    async def Subscribe(self, request: pb.SubscribeRequest, context: Context) -> pb.SubscribeResponse:
        """Keep that the caller wants a symbol."""
        self._known(request.symbol)
        made = await self._subscriptions.add(principal().user_id, request.symbol, self._now())
        return pb.SubscribeResponse(subscription=_subscription(made))

    async def Unsubscribe(self, request: pb.UnsubscribeRequest, context: Context) -> pb.UnsubscribeResponse:
        """Keep that the caller no longer wants a symbol, even one that has no feed any more."""
        await self._subscriptions.remove(principal().user_id, request.symbol, self._now())
        return pb.UnsubscribeResponse()

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Context
    ) -> pb.ListSubscriptionsResponse:
        """Return the caller's subscriptions by symbol."""
        keys = paging.read_token(LIST_SUBSCRIPTIONS, request.page_token, 1)
        size = paging.page_size(request.page_size)
        found = await self._subscriptions.of_user(principal().user_id, str(keys[0]) if keys else "", size + 1)
        page = found[:size]
        token = paging.write_token(LIST_SUBSCRIPTIONS, page[-1].symbol) if len(found) > size else ""
        return pb.ListSubscriptionsResponse(subscriptions=[_subscription(one) for one in page], next_page_token=token)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ns() // 1000 / 1e6, UTC)

    def _interval(self, request: pb.ListBarsRequest | pb.StreamBarsRequest) -> int:
        """Return the length of the bars asked for, 0 for those of the feed."""
        self._known(request.symbol)
        whole = self._symbols[request.symbol].bars
        name = request.interval or ("native" if whole else "1m")
        if name == "native" and not whole:
            sentence = f"the feed of {request.symbol} has trades, no bars of its own"
            raise InvalidArgument("FIELD_INVALID", f"interval: {sentence}", violations=[("interval", sentence)])
        return INTERVALS[name]

    def _known(self, symbol: str) -> None:
        if symbol not in self._symbols:
            raise NotFound("SYMBOL_NOT_FOUND", f"no symbol {symbol} is traded here", symbol=symbol)

    def _state(self, symbol: str, head: Head) -> types_pb2.FeedState.ValueType:
        state = self._state_of(symbol) if head.sequence else FeedState.STALE
        return types_pb2.FeedState.ValueType(state)

    async def _symbol(self, name: str) -> pb.Symbol:
        symbol, head = self._symbols[name], await self._windows.head(name)
        return pb.Symbol(
            symbol=name,
            provider=symbol.provider,
            feed_state=self._state(name, head),
            last_sequence=head.sequence,
            last_price=fixed.text(head.price) if head.price else "",
            last_event_time=_timestamp(head.event_ns) if head.sequence else None,
            bars=symbol.bars,
            on_demand=symbol.on_demand,
            window_ticks=await self._windows.capacity(name),
            exchange=symbol.exchange,
            history_provider=self._past.provider_of(name),
        )


def _set_tick(tick: types_pb2.Tick, ts: int, price: int, size: float, sequence: int, flags: int, _pad: int) -> None:
    """Fill a tick in place: half the time of one that is made apart and then copied in."""
    tick.sequence, tick.size = sequence, size
    tick.event_time.seconds, tick.event_time.nanos = divmod(ts, SECOND_NS)
    if not flags & MARKER:
        tick.price = fixed.text(price)
    if flags:
        tick.interpolated = bool(flags & INTERPOLATED)
        tick.closes_bar = bool(flags & CLOSES_BAR)
        tick.marker = bool(flags & MARKER)
        tick.aggressor = types_pb2.Aggressor.ValueType(flags >> 3 & 3)  # BUYER and SELLER are neighbours


def _subscription(subscription: Subscription) -> pb.Subscription:
    create_time = Timestamp()
    create_time.FromDatetime(subscription.create_time)
    return pb.Subscription(symbol=subscription.symbol, create_time=create_time, subscribers=subscription.subscribers)


def _timestamp(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // SECOND_NS, nanos=ns % SECOND_NS)
