"""BacktestService on the wire: messages in, messages out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from grpc.aio import ServicerContext

from algotrade.backtest.bars import hash_of
from algotrade.backtest.explain import Explainer
from algotrade.backtest.given import Given
from algotrade.backtest.messages import (
    backtest_message,
    explanation_message,
    point_message,
    progress_message,
    timestamp,
    trade_message,
)
from algotrade.backtest.news import News
from algotrade.backtest.source import source_message
from algotrade.backtest.start import Starter
from algotrade.backtest.store import Backtest, BacktestStore, Claim, Outcome, no_backtest
from algotrade.backtest.studies.servicer import OptimizationServicer, Studies
from algotrade.backtest.tokens import moment_and_id, number_after
from algotrade.backtest.watch import Item, Watcher
from algotrade.backtest.work import Worker
from algotrade.engine.metrics import benchmark, drawdowns
from algotrade.platform import paging
from algotrade.platform.bar_columns import columns_of
from algotrade.platform.caller import principal
from algotrade.platform.clock import Clock
from algotrade.platform.thinning import thinned
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

Context = ServicerContext[Any, Any]

LIST_BACKTESTS: Final = "ListBacktests"
LIST_TRADES: Final = "ListBacktestTrades"
BACKTESTS_PAGE: Final = (50, 500)  # by default, at most
TRADES_PAGE: Final = (100, 1000)
POINTS: Final = (500, 4000)


class BacktestServicer(OptimizationServicer):
    """Translates between messages and who begins, who works, who follows, who explains, who keeps."""

    def __init__(
        self,
        given: Given,
        starter: Starter,
        worker: Worker[Claim, Outcome],
        watcher: Watcher[Backtest],
        explainer: Explainer,
        store: BacktestStore,
        find: Callable[[str, str], Awaitable[Backtest]],
        news: News,
        studies: Studies,
        clock: Clock,
    ) -> None:
        """Take them, and the same for optimisations."""
        super().__init__(studies, clock)
        self._given = given
        self._explainer = explainer
        self._starter = starter
        self._worker = worker
        self._watcher = watcher
        self._store = store
        self._find = find
        self._news = news

    async def StartBacktest(self, request: pb.StartBacktestRequest, context: Context) -> pb.StartBacktestResponse:
        """Start a backtest."""
        return await self._starter.start(principal().user_id, request)

    async def RerunBacktest(self, request: pb.RerunBacktestRequest, context: Context) -> pb.RerunBacktestResponse:
        """Start a stored backtest once more."""
        return await self._starter.rerun(principal().user_id, request)

    async def WatchBacktest(
        self, request: pb.WatchBacktestRequest, context: Context
    ) -> AsyncGenerator[pb.WatchBacktestResponse, None]:
        """Send what a backtest is, its progress, heartbeats in silence, and the summary."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        async with aclosing(self._watcher.follow(principal().user_id, request.backtest_id, after)) as items:
            async for item in items:
                yield self._response(item)

    def _response(self, item: Item[Backtest]) -> pb.WatchBacktestResponse:
        if item.found is None:
            heartbeat = types_pb2.Heartbeat(time=timestamp(self._clock.now_ns()))
            return pb.WatchBacktestResponse(sequence=item.sequence, heartbeat=heartbeat)
        if item.whole:
            return pb.WatchBacktestResponse(sequence=item.sequence, snapshot=backtest_message(item.found))
        return pb.WatchBacktestResponse(sequence=item.sequence, progress=progress_message(item.found))

    async def CancelBacktest(self, request: pb.CancelBacktestRequest, context: Context) -> pb.CancelBacktestResponse:
        """End a backtest."""
        user_id = principal().user_id
        await self._get(request.backtest_id)
        await self._store.cancel(user_id, request.backtest_id)
        await self._worker.cancel(request.backtest_id)
        return pb.CancelBacktestResponse(backtest=backtest_message(await self._get(request.backtest_id)))

    async def GetBacktest(self, request: pb.GetBacktestRequest, context: Context) -> pb.GetBacktestResponse:
        """Return one of the caller's backtests."""
        return pb.GetBacktestResponse(backtest=backtest_message(await self._get(request.backtest_id)))

    async def ListBacktests(self, request: pb.ListBacktestsRequest, context: Context) -> pb.ListBacktestsResponse:
        """Return a page of the caller's backtests, the newest first."""
        size = paging.page_size(request.page_size, *BACKTESTS_PAGE)
        found = await self._store.newest(
            principal().user_id, moment_and_id(LIST_BACKTESTS, request.page_token), size + 1
        )
        page, token = [self._news.current(one) for one in found[:size]], ""
        if len(found) > size:
            token = paging.write_token(LIST_BACKTESTS, page[-1].create_time.isoformat(), page[-1].backtest_id)
        return pb.ListBacktestsResponse(backtests=[backtest_message(one) for one in page], next_page_token=token)

    async def ListBacktestTrades(
        self, request: pb.ListBacktestTradesRequest, context: Context
    ) -> pb.ListBacktestTradesResponse:
        """Return a page of a backtest's trades."""
        await self._get(request.backtest_id)
        size = paging.page_size(request.page_size, *TRADES_PAGE)
        call = f"{LIST_TRADES} {request.backtest_id}"
        after = number_after(call, request.page_token)
        found = await self._store.trades(request.backtest_id, after, size + 1)
        token = paging.write_token(call, after + size) if len(found) > size else ""
        trades = [trade_message(number, trade) for number, trade in enumerate(found[:size], after + 1)]
        return pb.ListBacktestTradesResponse(trades=trades, next_page_token=token)

    async def GetBacktestEquity(
        self, request: pb.GetBacktestEquityRequest, context: Context
    ) -> pb.GetBacktestEquityResponse:
        """Return the equity curve, thinned out."""
        backtest = await self._get(request.backtest_id)
        found = await self._store.equity(request.backtest_id)
        if found is None:
            return pb.GetBacktestEquityResponse()
        bars, equity = found
        kept = thinned(equity, paging.page_size(request.max_points, *POINTS))
        initial_cash = backtest.settings.initial_cash
        columns = (bars["ts"], equity, drawdowns(equity, initial_cash), benchmark(bars, initial_cash))
        rows = zip(*(column[kept].tolist() for column in columns), strict=True)
        return pb.GetBacktestEquityResponse(points=[point_message(*row) for row in rows], total_points=len(equity))

    async def GetBars(self, request: pb.GetBarsRequest, context: Context) -> pb.GetBarsResponse:
        """Return bars that a run may name."""
        data = await self._given.data(principal().user_id, request)
        columns, data_hash = await asyncio.to_thread(lambda: (columns_of(data.bars), hash_of(data.bars)))
        return pb.GetBarsResponse(bars=columns, data_hash=data_hash, source=source_message(data.source))

    async def ExplainBar(self, request: pb.ExplainBarRequest, context: Context) -> pb.ExplainBarResponse:
        """Tell what every port held at a bar, and why each action did what it did."""
        at_ns = request.time.ToNanoseconds()
        return explanation_message(await self._explainer.explain(principal().user_id, request.backtest_id, at_ns))

    async def GetProbe(self, request: pb.GetProbeRequest, context: Context) -> pb.GetProbeResponse:
        """Return the build of a backtest's graph that keeps what each port held."""
        backtest = await self._get(request.backtest_id)
        probed = await self._explainer.probe(principal().user_id, request.backtest_id)
        return pb.GetProbeResponse(module=probed.wasm, artefact_hash=backtest.artefact_hash)

    async def DeleteBacktest(self, request: pb.DeleteBacktestRequest, context: Context) -> pb.DeleteBacktestResponse:
        """Forget a backtest."""
        if not await self._store.delete(principal().user_id, request.backtest_id):
            raise no_backtest(request.backtest_id)
        await self._worker.cancel(request.backtest_id)
        return pb.DeleteBacktestResponse()

    async def DeleteUserBacktests(
        self, request: pb.DeleteUserBacktestsRequest, context: Context
    ) -> pb.DeleteUserBacktestsResponse:
        """Forget all that a user has here."""
        user_id, deleted = request.user_id, 0
        while found := await self._store.newest(user_id, None, BACKTESTS_PAGE[1]):
            for one in found:
                deleted += await self._store.delete(user_id, one.backtest_id)
                await self._worker.cancel(one.backtest_id)
        deleted += await self.delete_optimizations(user_id)
        return pb.DeleteUserBacktestsResponse(deleted=deleted)

    async def _get(self, backtest_id: str) -> Backtest:
        return await self._find(principal().user_id, backtest_id)
