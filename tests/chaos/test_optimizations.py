"""kill -9 in the middle of an optimisation: the next process makes the trials that are not stored, and no other."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from backtest.test_optimise import AXES, DOCUMENT, space, task
from chaos.process import PlatformProcess
from clients.callers import Grpc
from clients.samples import World

from algotrade.backtest.optimise.outcome import Tally
from algotrade.backtest.optimise.search import Tpe
from algotrade.backtest.optimise.study import trials
from algotrade.backtest.optimise.workers import Threads
from algotrade.backtest.studies.messages import outcome_message, trial_message
from algotrade.v1 import backtest_service_pb2 as pb

TRIALS: Final = 120
SEED: Final = 3
REQUEST: Final = {
    "graph": json.dumps(DOCUMENT),
    "sample": "AAPL",
    "axes": AXES,
    "method": pb.OPTIMIZATION_METHOD_TPE,
    "trials": TRIALS,
    "seed": SEED,
    "folds": 2,
    "test_share": "0.4",
}
UNFINISHED: Final = (pb.OPTIMIZATION_STATE_QUEUED, pb.OPTIMIZATION_STATE_RUNNING)


@pytest.fixture
def platform() -> Iterator[PlatformProcess]:
    folder = Path(tempfile.mkdtemp(prefix="at-o-"))
    settings = {"backtest_lease_seconds": 1, "bus_poll_seconds": 0.1, "rate_limits": False, "market_providers": []}
    process = PlatformProcess(folder, settings)
    yield process
    process.clean_up()
    shutil.rmtree(folder, ignore_errors=True)


async def test_killed_in_the_middle_it_goes_on_where_it_ended(platform: PlatformProcess) -> None:
    platform.start(failpoint="backtest.stored:1:kill")
    await platform.ready()
    caller = Grpc(platform.grpc)
    try:
        world = await World.registered(caller)
        one = (await world.do("BacktestService.StartOptimization", **REQUEST)).optimization
        named = {"optimization_id": one.optimization_id}
        assert await platform.ended() == -signal.SIGKILL
        platform.start()
        await platform.ready()
        while one.state in UNFINISHED:
            one = (await world.do("BacktestService.GetOptimization", **named)).optimization
        assert one.state == pb.OPTIMIZATION_STATE_SUCCEEDED
        listed = await world.do("BacktestService.ListOptimizationTrials", **named, page_size=200)
    finally:
        await caller.close()
    async with httpx.AsyncClient() as http:
        metrics = (await http.get(f"http://{platform.addresses['HTTP']}/metrics")).text
    found = re.search(r"^algotrade_optimization_trials_total (\S+)$", metrics, re.MULTILINE)
    assert found is not None
    assert 0 < float(found[1]) < TRIALS  # made by the second process

    tally, expected = Tally(task()), []
    with Threads(task(), 2) as workers:
        for trial in trials(task(), Tpe(space(), TRIALS, SEED), workers):
            tally.add(trial)
            expected.append(trial_message(trial))
    assert list(listed.trials) == expected
    assert one.outcome == outcome_message(tally.outcome(SEED))
