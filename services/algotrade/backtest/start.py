"""Beginning a backtest: what runs, over what, under which rules; everything that can be wrong is found here."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from algotrade.backtest.bars import hash_of
from algotrade.backtest.given import Given, fixed_parameters, settings_of
from algotrade.backtest.messages import backtest_message, diagnostic_message
from algotrade.backtest.store import Backtest, BacktestStore, Draft, Inputs, State, no_backtest
from algotrade.platform.clock import Clock
from algotrade.platform.once import Once
from algotrade.v1 import backtest_service_pb2 as pb


class Starter:
    """Makes backtests on behalf of their owners."""

    def __init__(self, store: BacktestStore, given: Given, clock: Clock, submitted: Callable[[], None]) -> None:
        """Take where things are, what finds what requests name, and who runs what was stored."""
        self._store = store
        self._given = given
        self._clock = clock
        self._submitted = submitted

    async def start(self, user_id: str, request: pb.StartBacktestRequest) -> pb.StartBacktestResponse:
        """Start a backtest, or say what the compiler finds. Raises InvalidArgument naming what is wrong."""
        data = await self._given.data(user_id, request)
        bars = data.bars
        strategy = await self._given.strategy(request)
        found = [diagnostic_message(one) for one in strategy.diagnostics]
        artefact = strategy.artefact
        if artefact is None:
            return pb.StartBacktestResponse(diagnostics=found)
        backtest = Backtest(
            backtest_id=str(uuid.uuid4()),
            user_id=user_id,
            name=request.name.strip() or f"{strategy.name} · {data.label}",
            strategy_id=strategy.strategy_id,
            strategy_version=strategy.version,
            artefact_hash=artefact.hash,
            data_hash=hash_of(bars),
            settings=settings_of(request.settings, bars, artefact),
            parameters=fixed_parameters(request.parameters, artefact),
            total_bars=len(bars),
            create_time=self._now(),
            source=data.source,
        )
        answer = pb.StartBacktestResponse(backtest=backtest_message(backtest), diagnostics=found)
        once = Once.of(user_id, "StartBacktest", request, answer)
        draft = Draft(backtest, strategy.graph, Inputs(artefact.wasm, bars))
        earlier = await self._store.create(draft, once)
        self._submitted()
        return answer if earlier is None else pb.StartBacktestResponse.FromString(earlier)

    async def rerun(self, user_id: str, request: pb.RerunBacktestRequest) -> pb.RerunBacktestResponse:
        """Start a stored backtest once more. Raises NotFound."""
        first = await self._store.get(user_id, request.backtest_id)
        graph = await self._store.graph(user_id, request.backtest_id)
        if first is None or graph is None:
            raise no_backtest(request.backtest_id)
        again = replace(
            first,
            backtest_id=str(uuid.uuid4()),
            rerun_of=first.backtest_id,
            create_time=self._now(),
            state=State.QUEUED,
            failure="",
            attempt=0,
            done_bars=0,
            start_time=None,
            end_time=None,
            summary=None,
        )
        answer = pb.RerunBacktestResponse(backtest=backtest_message(again))
        once = Once.of(user_id, "RerunBacktest", request, answer)
        earlier = await self._store.create(Draft(again, graph, None), once)
        self._submitted()
        return answer if earlier is None else pb.RerunBacktestResponse.FromString(earlier)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ns() // 1000 / 1e6, UTC)
