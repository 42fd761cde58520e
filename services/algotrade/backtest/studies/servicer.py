"""The part of BacktestService that is about optimisations: messages in, messages out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from grpc.aio import ServicerContext

from algotrade.backtest.messages import timestamp
from algotrade.backtest.studies.messages import optimization_message, progress_message, trial_message
from algotrade.backtest.studies.start import StudyStarter
from algotrade.backtest.studies.store import Claim, Concluded, Optimization, OptimizationStore, no_optimization
from algotrade.backtest.tokens import moment_and_id, number_after
from algotrade.backtest.watch import Item, Watcher
from algotrade.backtest.work import Worker
from algotrade.platform import paging
from algotrade.platform.caller import principal
from algotrade.platform.clock import Clock
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import backtest_service_pb2_grpc as pb_grpc
from algotrade.v1 import types_pb2

Context = ServicerContext[Any, Any]

LIST_OPTIMIZATIONS: Final = "ListOptimizations"
LIST_TRIALS: Final = "ListOptimizationTrials"
OPTIMIZATIONS_PAGE: Final = (50, 100)  # by default, at most
TRIALS_PAGE: Final = (100, 200)


@dataclass(frozen=True, slots=True)
class Studies:
    """Who begins optimisations, who works at them, who follows them, and who keeps them."""

    starter: StudyStarter
    worker: Worker[Claim, Concluded]
    watcher: Watcher[Optimization]
    store: OptimizationStore


class OptimizationServicer(pb_grpc.BacktestServiceServicer):
    """Translates between messages and studies."""

    def __init__(self, studies: Studies, clock: Clock) -> None:
        """Take them."""
        self._studies = studies
        self._clock = clock

    async def StartOptimization(
        self, request: pb.StartOptimizationRequest, context: Context
    ) -> pb.StartOptimizationResponse:
        """Start an optimisation."""
        return await self._studies.starter.start(principal().user_id, request)

    async def WatchOptimization(
        self, request: pb.WatchOptimizationRequest, context: Context
    ) -> AsyncGenerator[pb.WatchOptimizationResponse, None]:
        """Send what an optimisation is, its progress, heartbeats in silence, and the outcome."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        followed = self._studies.watcher.follow(principal().user_id, request.optimization_id, after)
        async with aclosing(followed) as items:
            async for item in items:
                yield self._watched(item)

    def _watched(self, item: Item[Optimization]) -> pb.WatchOptimizationResponse:
        if item.found is None:
            heartbeat = types_pb2.Heartbeat(time=timestamp(self._clock.now_ns()))
            return pb.WatchOptimizationResponse(sequence=item.sequence, heartbeat=heartbeat)
        if item.whole:
            return pb.WatchOptimizationResponse(sequence=item.sequence, snapshot=optimization_message(item.found))
        return pb.WatchOptimizationResponse(sequence=item.sequence, progress=progress_message(item.found))

    async def CancelOptimization(
        self, request: pb.CancelOptimizationRequest, context: Context
    ) -> pb.CancelOptimizationResponse:
        """End an optimisation, and have it judged by the trials that there are."""
        await self._optimization(request.optimization_id)
        await self._studies.store.cancel(principal().user_id, request.optimization_id)
        await self._studies.worker.cancel(request.optimization_id)
        self._studies.worker.wake()
        return pb.CancelOptimizationResponse(
            optimization=optimization_message(await self._optimization(request.optimization_id))
        )

    async def GetOptimization(self, request: pb.GetOptimizationRequest, context: Context) -> pb.GetOptimizationResponse:
        """Return one of the caller's optimisations."""
        return pb.GetOptimizationResponse(
            optimization=optimization_message(await self._optimization(request.optimization_id))
        )

    async def ListOptimizations(
        self, request: pb.ListOptimizationsRequest, context: Context
    ) -> pb.ListOptimizationsResponse:
        """Return a page of the caller's optimisations, the newest first."""
        size = paging.page_size(request.page_size, *OPTIMIZATIONS_PAGE)
        before = moment_and_id(LIST_OPTIMIZATIONS, request.page_token)
        found = await self._studies.store.newest(principal().user_id, before, size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            token = paging.write_token(LIST_OPTIMIZATIONS, page[-1].create_time.isoformat(), page[-1].optimization_id)
        written = await asyncio.to_thread(lambda: [optimization_message(one) for one in page])
        return pb.ListOptimizationsResponse(optimizations=written, next_page_token=token)

    async def ListOptimizationTrials(
        self, request: pb.ListOptimizationTrialsRequest, context: Context
    ) -> pb.ListOptimizationTrialsResponse:
        """Return a page of an optimisation's trials."""
        await self._optimization(request.optimization_id)
        size = paging.page_size(request.page_size, *TRIALS_PAGE)
        call = f"{LIST_TRIALS} {request.optimization_id}"
        first = number_after(call, request.page_token)
        found = await self._studies.store.trials(request.optimization_id, first, size + 1)
        token = paging.write_token(call, first + size) if len(found) > size else ""
        written = await asyncio.to_thread(lambda: [trial_message(trial) for trial in found[:size]])  # many figures
        return pb.ListOptimizationTrialsResponse(trials=written, next_page_token=token)

    async def DeleteOptimization(
        self, request: pb.DeleteOptimizationRequest, context: Context
    ) -> pb.DeleteOptimizationResponse:
        """Forget an optimisation."""
        if not await self._studies.store.delete(principal().user_id, request.optimization_id):
            raise no_optimization(request.optimization_id)
        await self._studies.worker.cancel(request.optimization_id)
        return pb.DeleteOptimizationResponse()

    async def delete_optimizations(self, user_id: str) -> int:
        """Forget all of a user's optimisations; return how many there were."""
        deleted = 0
        while found := await self._studies.store.newest(user_id, None, OPTIMIZATIONS_PAGE[1]):
            for one in found:
                deleted += await self._studies.store.delete(user_id, one.optimization_id)
                await self._studies.worker.cancel(one.optimization_id)
        return deleted

    async def _optimization(self, optimization_id: str) -> Optimization:
        return await self._studies.store.find(principal().user_id, optimization_id)
