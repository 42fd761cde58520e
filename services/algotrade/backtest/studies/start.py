"""Beginning an optimisation: everything that can be wrong with it, and whether it would be too much, is found here."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from algotrade.backtest.bars import hash_of
from algotrade.backtest.given import Given, bad_setting, fixed_parameters, settings_of
from algotrade.backtest.messages import diagnostic_message
from algotrade.backtest.optimise import plan as plans
from algotrade.backtest.optimise.judge import Objective, Task
from algotrade.backtest.optimise.plan import Plan, PlanError
from algotrade.backtest.optimise.space import Space, SpaceError, space_of
from algotrade.backtest.store import Inputs
from algotrade.backtest.studies.messages import METHODS, optimization_message
from algotrade.backtest.studies.store import Draft, Optimization, OptimizationStore
from algotrade.engine.binding import bind
from algotrade.engine.compile import Artefact
from algotrade.engine.settings import SettingsError
from algotrade.platform import limits
from algotrade.platform.clock import Clock
from algotrade.platform.errors import InvalidArgument
from algotrade.platform.once import Once
from algotrade.v1 import backtest_service_pb2 as pb

_FIELDS: Final = {"test": "test_share"}  # what a request calls it


class StudyStarter:
    """Makes optimisations on behalf of their owners."""

    def __init__(self, store: OptimizationStore, given: Given, clock: Clock, submitted: Callable[[], None]) -> None:
        """Take where they are kept, what finds what requests name, and who works at what was stored."""
        self._store = store
        self._given = given
        self._clock = clock
        self._submitted = submitted

    async def start(self, user_id: str, request: pb.StartOptimizationRequest) -> pb.StartOptimizationResponse:
        """Start an optimisation, or say what the compiler finds. Raises InvalidArgument naming what is wrong."""
        data = await self._given.data(user_id, request)
        bars = data.bars
        strategy = await self._given.strategy(request)
        found = [diagnostic_message(one) for one in strategy.diagnostics]
        artefact = strategy.artefact
        if artefact is None:
            return pb.StartOptimizationResponse(diagnostics=found)
        settings = settings_of(request.settings, bars, artefact)
        fixed, axes = fixed_parameters(request.parameters, artefact), dict(sorted(request.axes.items()))
        space, plan = await asyncio.to_thread(_space, request, axes, artefact), _plan(request)
        try:
            task = plan.task(artefact, bars, settings)
            _check_work(plan, space, task)
            plan.check(space)
        except PlanError as error:
            field = _FIELDS.get(error.field, error.field)
            raise bad_setting(field, SettingsError(field, error.message)) from None
        one = Optimization(
            optimization_id=str(uuid.uuid4()),
            user_id=user_id,
            name=request.name.strip() or f"{strategy.name} · {plan.method} · {data.label}",
            strategy_id=strategy.strategy_id,
            strategy_version=strategy.version,
            artefact_hash=artefact.hash,
            data_hash=hash_of(bars),
            settings=settings,
            parameters={name: value for name, value in fixed.items() if name not in axes},
            axes=axes,
            plan=plan,
            points=space.size,
            total_trials=plan.count(space),
            create_time=datetime.fromtimestamp(self._clock.now_ns() // 1000 / 1e6, UTC),
            source=data.source,
        )
        answer = pb.StartOptimizationResponse(optimization=optimization_message(one), diagnostics=found)
        once = Once.of(user_id, "StartOptimization", request, answer)
        earlier = await self._store.create(Draft(one, strategy.graph, Inputs(artefact.wasm, bars)), once)
        self._submitted()
        return answer if earlier is None else pb.StartOptimizationResponse.FromString(earlier)


def _plan(request: pb.StartOptimizationRequest) -> Plan:
    return Plan(
        method=next(name for name, method in METHODS.items() if method == request.method),
        trials=request.trials or plans.TRIALS,
        seed=request.seed if request.HasField("seed") else plans.SEED,
        objective=Objective(request.objective or plans.OBJECTIVE, -1 if request.minimize else 1),
        folds=request.folds if request.HasField("folds") else plans.FOLDS,
        test_share=float(request.test_share or plans.TEST_SHARE),
    )


def _space(request: pb.StartOptimizationRequest, axes: Mapping[str, str], artefact: Artefact) -> Space:
    """Read the axes. Whatever lies within what each may be, each of its values may be."""
    parameters = artefact.manifest.parameters
    for name in axes:
        if name in request.parameters:
            raise bad_setting(f"parameters.{name}", SettingsError(name, "varies; leave it out here or in axes"))
    try:
        space = space_of(axes, parameters)
        for axis in space.axes:
            for value in (min(axis.values), max(axis.values)):
                bind(parameters, {axis.name: value})
    except (SpaceError, SettingsError) as error:
        raise bad_setting(f"axes.{error.field}", SettingsError(error.field, error.message)) from None
    return space


def _check_work(plan: Plan, space: Space, task: Task) -> None:
    trials = plan.count(space)
    field = "axes" if plan.method == "grid" else "trials"
    most = limits.MAX_TPE_TRIALS if plan.method == "tpe" else limits.MAX_KEPT_TRIALS
    if trials > most:
        raise _too_large(field, "trials", most, f"{trials:,} trials; at most {most:,} by {plan.method}")
    bars = trials * sum(end - start for fold in task.folds for start, end in (fold.train, fold.test))
    if bars > limits.MAX_OPTIMIZATION_BARS:
        sentence = f"the trials run over {bars:,} bars together; at most {limits.MAX_OPTIMIZATION_BARS:,}"
        raise _too_large(field, "bars", limits.MAX_OPTIMIZATION_BARS, sentence)


def _too_large(field: str, limit: str, most: int, sentence: str) -> InvalidArgument:
    return InvalidArgument(
        "OPTIMIZATION_TOO_LARGE", f"{field}: {sentence}", violations=[(field, sentence)], limit=limit, value=most
    )
