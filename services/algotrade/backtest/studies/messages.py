"""Optimisations and trials as messages."""

from __future__ import annotations

from typing import Final

from algotrade.backtest.messages import moment
from algotrade.backtest.optimise.judge import Figures, Trial
from algotrade.backtest.optimise.outcome import Choice, Outcome
from algotrade.backtest.optimise.selection import Resampled
from algotrade.backtest.optimise.space import Number, Point
from algotrade.backtest.run import decimal_text
from algotrade.backtest.source import source_message
from algotrade.backtest.store import State
from algotrade.backtest.studies.store import Optimization
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

STATES: Final = {
    State.QUEUED: pb.OPTIMIZATION_STATE_QUEUED,
    State.RUNNING: pb.OPTIMIZATION_STATE_RUNNING,
    State.SUCCEEDED: pb.OPTIMIZATION_STATE_SUCCEEDED,
    State.FAILED: pb.OPTIMIZATION_STATE_FAILED,
    State.CANCELLED: pb.OPTIMIZATION_STATE_CANCELLED,
}
METHODS: Final = {
    "grid": pb.OPTIMIZATION_METHOD_GRID,
    "random": pb.OPTIMIZATION_METHOD_RANDOM,
    "tpe": pb.OPTIMIZATION_METHOD_TPE,
}


def optimization_message(one: Optimization) -> pb.Optimization:
    """Write an optimisation."""
    plan = one.plan
    return pb.Optimization(
        optimization_id=one.optimization_id,
        name=one.name,
        strategy_id=one.strategy_id,
        strategy_version=one.strategy_version,
        artefact_hash=one.artefact_hash,
        data_hash=one.data_hash,
        settings=types_pb2.RunSettings(**one.settings.as_text()),  # type: ignore[arg-type]
        parameters=one.parameters,
        axes=one.axes,
        method=METHODS[plan.method],
        seed=plan.seed,
        objective=plan.objective.metric,
        minimize=plan.objective.sign < 0,
        folds=plan.folds,
        test_share=decimal_text(plan.test_share),
        points=one.points,
        state=STATES[one.state],
        failure=one.failure,
        progress=progress_message(one),
        outcome=None if one.outcome is None else outcome_message(one.outcome),
        create_time=moment(one.create_time),
        start_time=moment(one.start_time),
        end_time=moment(one.end_time),
        source=source_message(one.source),
    )


def progress_message(one: Optimization) -> pb.OptimizationProgress:
    """Write how far an optimisation is."""
    best = None if one.best is None else trial_message(one.best)
    return pb.OptimizationProgress(done_trials=one.done_trials, total_trials=one.total_trials, best=best)


def trial_message(trial: Trial) -> pb.OptimizationTrial:
    """Write a trial."""
    return pb.OptimizationTrial(
        number=trial.number,
        point=_point(trial.point),
        in_sample=[_figures(one) for one in trial.in_sample],
        out_of_sample=[_figures(one) for one in trial.out_of_sample],
    )


def outcome_message(found: Outcome) -> pb.OptimizationOutcome:
    """Write what an optimisation found."""
    return pb.OptimizationOutcome(
        trials=found.trials,
        unscored=found.unscored,
        ranking=[trial_message(trial) for trial in found.ranking],
        walk_forward=[_choice(choice) for choice in found.choices],
        walk_forward_efficiency=_number(found.efficiency),
        deflated_sharpe=_number(found.deflated_sharpe),
        resampled=None if found.resampled is None else _resampled(found.resampled),
    )


def _choice(choice: Choice) -> pb.FoldChoice:
    return pb.FoldChoice(
        fold=choice.fold,
        trial_number=choice.trial.number,
        point=_point(choice.trial.point),
        in_sample=_figures(choice.in_sample),
        out_of_sample=_figures(choice.out_of_sample),
    )


def _resampled(found: Resampled) -> pb.ResampledTrades:
    low, middle, high = found.returns
    typical, deep = found.drawdowns
    return pb.ResampledTrades(
        return_low=_number(low),
        return_middle=_number(middle),
        return_high=_number(high),
        drawdown_typical=_number(typical),
        drawdown_deep=_number(deep),
        loss_probability=_number(found.loss_probability),
    )


def _figures(figures: Figures) -> pb.TrialFigures:
    return pb.TrialFigures(values={name: _number(value) for name, value in figures.items()})


def _point(point: Point) -> dict[str, str]:
    return {name: decimal_text(value) for name, value in point.items()}


def _number(value: Number | None) -> str:
    return "" if value is None else decimal_text(value)
