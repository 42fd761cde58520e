"""Bars of the past of a symbol, asked of MarketDataService page by page on behalf of the caller."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from algotrade.backtest.source import DataSource
from algotrade.engine.records import BAR, Records, joined
from algotrade.platform import errors, limits
from algotrade.platform.bar_columns import records_of
from algotrade.platform.errors import NotFound, Unavailable
from algotrade.platform.upstream import pass_on
from algotrade.v1 import market_data_service_pb2 as market_pb
from algotrade.v1 import types_pb2
from algotrade.v1.market_data_service_pb2_grpc import MarketDataServiceStub

SECONDS: Final = 20.0  # a call waits no longer for what is missing


class History:
    """MarketDataService behind a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Take the channel; its calls carry the token of the call that is running."""
        self._market_data = MarketDataServiceStub(channel)

    async def bars(self, asked: types_pb2.HistoryRange) -> tuple[Records, DataSource]:
        """Return the bars of a range (BAR records), and where they are from.

        Raises what ListHistory does, NotFound where there are none, and Unavailable where more is missing than can be
        fetched in the time of a call.
        """
        parts: list[Records] = []
        page = market_pb.ListHistoryResponse()
        try:
            async with asyncio.timeout(SECONDS):
                while not parts or page.next_page_token:
                    request = market_pb.ListHistoryRequest(
                        history=asked, page_size=limits.MAX_HISTORY_PAGE, page_token=page.next_page_token
                    )
                    page = await self._market_data.ListHistory(request)
                    parts.append(records_of(page.bars))
        except TimeoutError:
            covered = page.covered_time.ToJsonString() if parts else asked.start_time.ToJsonString()
            sentence = f"much of that range is missing; until {covered} it is here now: ask again"
            raise Unavailable(
                "HISTORY_INCOMPLETE",
                sentence,
                provider=page.provider or asked.provider,
                covered_time=covered,
                tried=True,
            ) from None
        except grpc.aio.AioRpcError as error:
            info = errors.info(error)
            if info.reason == "HISTORY_UNAVAILABLE":
                raise Unavailable("HISTORY_UNAVAILABLE", error.details() or "", tried=True, **info.metadata) from error
            pass_on(error, "market_data")
        bars = joined(BAR, parts)
        if not len(bars):
            sentence = f"{page.provider} has no bars of {asked.symbol} {asked.interval} in that range"
            raise NotFound("DATA_NOT_FOUND", sentence, provider=page.provider, symbol=asked.symbol)
        start_ns, end_ns = asked.start_time.ToNanoseconds(), page.covered_time.ToNanoseconds()
        return bars, DataSource("history", asked.symbol, page.provider, asked.interval, start_ns, end_ns)
