"""Why a backtest did what it did at a bar: a probed build of its graph, run again up to there, off the event loop."""

from __future__ import annotations

import asyncio
from typing import Final

from algotrade.backtest.store import Backtest, BacktestStore, no_backtest
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.explain import Explanation, explain
from algotrade.engine.records import Records
from algotrade.engine.settings import SettingsError
from algotrade.engine.strategy import Strategy
from algotrade.platform.errors import FailedPrecondition, InvalidArgument

CONCURRENT_EXPLANATIONS: Final = 2


class Explainer:
    """Explains bars of stored backtests, and lends what it explains them by."""

    def __init__(self, store: BacktestStore) -> None:
        """Take where they are kept."""
        self._store = store
        self._running = asyncio.Semaphore(CONCURRENT_EXPLANATIONS)

    async def explain(self, user_id: str, backtest_id: str, at_ns: int) -> Explanation:
        """Explain the bar that holds a time. Raises NotFound, InvalidArgument or FailedPrecondition."""
        backtest, graph = await self._found(user_id, backtest_id)
        data = await self._store.data(user_id, backtest.data_hash)
        if data is None:
            raise no_backtest(backtest_id)
        async with self._running:
            return await asyncio.to_thread(_explain, backtest, graph, data[0], at_ns)

    async def probe(self, user_id: str, backtest_id: str) -> Artefact:
        """Return the build that keeps what each port held. Raises NotFound or FailedPrecondition."""
        backtest, graph = await self._found(user_id, backtest_id)
        async with self._running:
            _, probed = await asyncio.to_thread(_probed, backtest, graph)
        return probed

    async def _found(self, user_id: str, backtest_id: str) -> tuple[Backtest, str]:
        backtest = await self._store.get(user_id, backtest_id)
        graph = await self._store.graph(user_id, backtest_id)
        if backtest is None or graph is None:
            raise no_backtest(backtest_id)
        return backtest, graph


def _probed(backtest: Backtest, graph: str) -> tuple[Strategy, Artefact]:
    """What the graph becomes today must be what was run, or what it keeps would be of something else."""
    plain, probed = compile_strategy(graph), compile_strategy(graph, probe=True)
    if plain.artefact is None or plain.artefact.hash != backtest.artefact_hash:
        raise FailedPrecondition(
            "ARTEFACT_OUTDATED",
            "the compiler makes another module of the graph by now; start the backtest anew",
            artefact_hash=backtest.artefact_hash,
        )
    assert probed.artefact is not None  # noqa: S101  (the same graph compiles)
    assert probed.strategy is not None  # noqa: S101
    return probed.strategy, probed.artefact


def _explain(backtest: Backtest, graph: str, bars: Records, at_ns: int) -> Explanation:
    strategy, probed = _probed(backtest, graph)
    try:
        return explain(strategy, probed, bars, backtest.settings, backtest.parameters, at_ns)
    except SettingsError as error:
        raise InvalidArgument("FIELD_INVALID", f"time: {error.message}", violations=[("time", error.message)]) from None
