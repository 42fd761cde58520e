"""How optimisations lie in rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.backtest.optimise.judge import Objective, Trial
from algotrade.backtest.optimise.outcome import Choice, Outcome
from algotrade.backtest.optimise.plan import Plan
from algotrade.backtest.optimise.selection import Resampled
from algotrade.backtest.optimise.study import trial_of
from algotrade.backtest.source import source_json, source_of
from algotrade.backtest.store import State
from algotrade.backtest.studies.store import Optimization
from algotrade.engine.settings import RunSettings

# Without the module, the bars, the graph and the outcome, which only some ask for.
OPTIMIZATION: Final = """
    b.optimization_id, b.user_id, b.name, b.strategy_id, b.strategy_version, b.artefact_hash, b.data_hash, b.settings,
    b.parameters, b.axes, b.method, b.asked_trials, b.seed, b.objective, b.minimize, b.folds, b.test_share, b.points,
    CAST(b.state AS text) AS state, b.failure, b.attempt, b.cancel_requested, b.done_trials, b.total_trials, b.best,
    b.create_time, b.start_time, b.end_time, b.source
    """
_TRIALS: Final = text("""
    SELECT number, point, in_sample, out_of_sample FROM optimization_trials
    WHERE optimization_id = :id AND number >= :first ORDER BY number LIMIT :count
""")


def optimization(row: Row[Any]) -> Optimization:
    """Read the columns `OPTIMIZATION`, and `outcome` where it is there."""
    outcome = getattr(row, "outcome", None)
    objective = Objective(row.objective, -1 if row.minimize else 1)
    return Optimization(
        optimization_id=str(row.optimization_id),
        user_id=str(row.user_id),
        name=row.name,
        strategy_id=str(row.strategy_id) if row.strategy_id else "",
        strategy_version=row.strategy_version,
        artefact_hash=row.artefact_hash,
        data_hash=row.data_hash,
        settings=RunSettings.parse(row.settings),
        parameters=row.parameters,
        axes=row.axes,
        plan=Plan(row.method, row.asked_trials, row.seed, objective, row.folds, row.test_share),
        points=row.points,
        total_trials=row.total_trials,
        create_time=row.create_time,
        source=source_of(row.source),
        state=State(row.state),
        failure=row.failure,
        attempt=row.attempt,
        done_trials=row.done_trials,
        cancel_requested=row.cancel_requested,
        best=None if row.best is None else trial_of(row.best),
        start_time=row.start_time,
        end_time=row.end_time,
        outcome=None if outcome is None else _outcome(outcome),
    )


def values(one: Optimization) -> dict[str, Any]:
    """Return the columns that a new optimisation is made of."""
    return {
        "optimization_id": UUID(one.optimization_id),
        "user_id": UUID(one.user_id),
        "name": one.name,
        "strategy_id": UUID(one.strategy_id) if one.strategy_id else None,
        "strategy_version": one.strategy_version,
        "artefact_hash": one.artefact_hash,
        "data_hash": one.data_hash,
        "settings": json.dumps(one.settings.as_text()),
        "parameters": json.dumps(dict(one.parameters)),
        "axes": json.dumps(dict(one.axes)),
        "method": one.plan.method,
        "asked_trials": one.plan.trials,
        "seed": one.plan.seed,
        "objective": one.plan.objective.metric,
        "minimize": one.plan.objective.sign < 0,
        "folds": one.plan.folds,
        "test_share": one.plan.test_share,
        "points": one.points,
        "total_trials": one.total_trials,
        "create_time": one.create_time,
        "source": json.dumps(source_json(one.source)),
    }


def trial_values(trial: Trial) -> dict[str, Any]:
    """Return the columns of a trial."""
    return {name: value if name == "number" else json.dumps(value) for name, value in asdict(trial).items()}


def outcome_text(outcome: Outcome) -> str:
    """Write an outcome."""
    return json.dumps(asdict(outcome))


def _outcome(stored: Mapping[str, Any]) -> Outcome:
    resampled = stored["resampled"]
    return Outcome(
        trials=stored["trials"],
        unscored=stored["unscored"],
        ranking=tuple(trial_of(trial) for trial in stored["ranking"]),
        choices=tuple(Choice(**choice | {"trial": trial_of(choice["trial"])}) for choice in stored["choices"]),
        efficiency=stored["efficiency"],
        deflated_sharpe=stored["deflated_sharpe"],
        resampled=None if resampled is None else Resampled(**{n: _tuple(v) for n, v in resampled.items()}),
    )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


async def trials(engine: AsyncEngine, optimization_id: str, first: int, count: int) -> list[Trial]:
    """Select trials along the primary key."""
    where = {"id": UUID(optimization_id), "first": first, "count": count}
    async with engine.connect() as connection:
        return [trial_of(dict(row._mapping)) for row in await connection.execute(_TRIALS, where)]
