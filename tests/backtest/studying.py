"""How a trader optimises over the wire, and trials that a test can hold up."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from backtest.conftest import PATIENCE, Trader
from backtest.test_optimise import AXES, DOCUMENT

from algotrade.backtest.optimise.judge import Judge, Task, Trial
from algotrade.backtest.optimise.space import Point
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

POINTS = 45  # of the axes


def asked(**fields: Any) -> pb.StartOptimizationRequest:
    """Ask for a grid over the sample, unless something else is named."""
    given = {"axes": AXES, "method": pb.OPTIMIZATION_METHOD_GRID, "folds": 2, "test_share": "0.4"} | fields
    if not given.keys() & {"bars", "data_hash"}:
        given["sample"] = "AAPL"
    if not given.keys() & {"graph", "saved"}:
        given["graph"] = json.dumps(DOCUMENT)
    if "settings" in given:
        given["settings"] = types_pb2.RunSettings(**given["settings"])
    return pb.StartOptimizationRequest(**given)


async def start(trader: Trader, **fields: Any) -> pb.Optimization:
    found = await trader.backtests.StartOptimization(asked(**fields))
    assert found.HasField("optimization"), found.diagnostics
    return found.optimization


async def get(trader: Trader, one: pb.Optimization) -> pb.Optimization:
    request = pb.GetOptimizationRequest(optimization_id=one.optimization_id)
    return (await trader.backtests.GetOptimization(request)).optimization


def watch(trader: Trader, one: pb.Optimization, after: int | None = None) -> Any:
    request = pb.WatchOptimizationRequest(optimization_id=one.optimization_id, after_sequence=after)
    return trader.backtests.WatchOptimization(request)


async def messages(trader: Trader, one: pb.Optimization, after: int | None = None) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [message async for message in watch(trader, one, after)]


async def ended(trader: Trader, one: pb.Optimization) -> pb.Optimization:
    return (await messages(trader, one))[-1].snapshot


async def done(trader: Trader, **fields: Any) -> pb.Optimization:
    found = await ended(trader, await start(trader, **fields))
    assert found.state == pb.OPTIMIZATION_STATE_SUCCEEDED, found
    return found


async def cancel(trader: Trader, one: pb.Optimization) -> pb.Optimization:
    request = pb.CancelOptimizationRequest(optimization_id=one.optimization_id)
    return (await trader.backtests.CancelOptimization(request)).optimization


async def delete(trader: Trader, one: pb.Optimization) -> None:
    await trader.backtests.DeleteOptimization(pb.DeleteOptimizationRequest(optimization_id=one.optimization_id))


async def trials(trader: Trader, one: pb.Optimization, size: int = 0) -> list[pb.OptimizationTrial]:
    found: list[pb.OptimizationTrial] = []
    token = ""
    while True:
        request = pb.ListOptimizationTrialsRequest(
            optimization_id=one.optimization_id, page_size=size, page_token=token
        )
        page = await trader.backtests.ListOptimizationTrials(request)
        assert not size or len(page.trials) <= size
        found += page.trials
        token = page.next_page_token
        if not token:
            return found


class Gate:
    """Lets so many trials pass, and the others once it is open."""

    def __init__(self, passing: int = 0) -> None:
        self.begun: list[int] = []
        self.reached = threading.Event()  # as many have passed as may
        self._left = passing
        self._open = threading.Event()
        self._lock = threading.Lock()

    def open(self) -> None:
        self._open.set()

    def judges(self, task: Task) -> Judge:
        return _Gated(task, self)

    def enter(self, number: int) -> None:
        with self._lock:
            self.begun.append(number)
            self._left -= 1
            passes = self._left >= 0
        if not passes:
            self.reached.set()
            assert self._open.wait(PATIENCE)

    async def at_its_end(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, PATIENCE)


class _Gated(Judge):
    def __init__(self, task: Task, gate: Gate) -> None:
        super().__init__(task)
        self._gate = gate

    def trial(self, number: int, point: Point) -> Trial:
        self._gate.enter(number)
        return super().trial(number, point)
