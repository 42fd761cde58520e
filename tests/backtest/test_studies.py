"""Optimisations as a service: held to the command line's answers, followed, bounded, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import uuid

import grpc
import pytest
from backtest.conftest import columns
from backtest.studying import (
    POINTS,
    asked,
    cancel,
    delete,
    done,
    ended,
    get,
    messages,
    start,
    trials,
    watch,
)
from backtest.test_backtest import DRAFT, GRAPH, command_line, count, failure
from backtest.test_optimise import AXES, DOCUMENT
from backtest.test_work import until

from algotrade.platform import limits
from algotrade.platform.bars_file import read_bars
from algotrade.platform.errors import info, violations
from algotrade.platform.samples import aapl_daily
from algotrade.v1 import backtest_service_pb2 as pb

GRID, RANDOM, TPE = pb.OPTIMIZATION_METHOD_GRID, pb.OPTIMIZATION_METHOD_RANDOM, pb.OPTIMIZATION_METHOD_TPE


@pytest.fixture(scope="session")
def sample_file(tmp_path_factory):
    return aapl_daily(tmp_path_factory.mktemp("samples"))


def number(text: str) -> float | None:
    return float(text) if text else None


def figures_json(figures: pb.TrialFigures) -> dict:
    return {name: number(text) for name, text in figures.values.items()}


def trial_json(trial: pb.OptimizationTrial) -> dict:
    return {
        "number": trial.number,
        "point": {name: float(text) for name, text in trial.point.items()},
        "in_sample": [figures_json(one) for one in trial.in_sample],
        "out_of_sample": [figures_json(one) for one in trial.out_of_sample],
    }


def outcome_json(one: pb.Optimization) -> dict:
    found, drawn = one.outcome, one.outcome.resampled
    return {
        "artefact": one.artefact_hash,
        "objective": {"metric": one.objective, "sign": -1 if one.minimize else 1},
        "method": {GRID: "grid", RANDOM: "random", TPE: "tpe"}[one.method],
        "points": one.points,
        "trials": found.trials,
        "unscored": found.unscored,
        "ranking": [trial_json(trial) for trial in found.ranking],
        "walk_forward": [(c.fold, c.trial_number, figures_json(c.in_sample)) for c in found.walk_forward],
        "out_of_sample": [figures_json(choice.out_of_sample) for choice in found.walk_forward],
        "walk_forward_efficiency": number(found.walk_forward_efficiency),
        "deflated_sharpe": number(found.deflated_sharpe),
        "resampled": {
            "returns": [float(drawn.return_low), float(drawn.return_middle), float(drawn.return_high)],
            "drawdowns": [float(drawn.drawdown_typical), float(drawn.drawdown_deep)],
            "loss_probability": float(drawn.loss_probability),
        },
    }


# What comes of it


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        (
            {"method": GRID, "objective": "total_return", "settings": {"fee_bps": "5"}},
            ["--folds=2", "--test=0.4", "--objective=total_return", "--fee-bps=5"],
        ),
        (
            {"method": RANDOM, "trials": 17, "seed": 5, "folds": 0, "objective": "max_drawdown", "minimize": True},
            ["--method=random", "--trials=17", "--seed=5", "--folds=0", "--objective=max_drawdown", "--minimize"],
        ),
        ({"method": TPE, "trials": 40, "test_share": "", "folds": None}, ["--method=tpe", "--trials=40"]),
    ],
)
async def test_it_finds_what_the_command_line_finds(ada, tmp_path, sample_file, fields, options):
    journal = tmp_path / "study.jsonl"
    axes = [f"--set={name}={values}" for name, values in AXES.items()]
    expected = command_line(
        tmp_path, DOCUMENT, sample_file, *axes, *options, f"--journal={journal}", command="optimize"
    )
    found = await done(ada, **fields)
    choices = expected["walk_forward"]
    expected["walk_forward"] = [(c["fold"], c["trial"]["number"], c["in_sample"]) for c in choices]
    expected["out_of_sample"] = [choice["out_of_sample"] for choice in choices]
    assert outcome_json(found) == expected
    lines = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    assert [trial_json(trial) for trial in await trials(ada, found)] == lines
    assert found == await get(ada, found)
    assert found.progress.done_trials == found.progress.total_trials == found.outcome.trials == len(lines)
    assert found.progress.best == found.outcome.ranking[0]


async def test_defaults_and_what_is_given(ada, sample_file):
    strategy = await ada.save(DOCUMENT)
    bars = read_bars(sample_file).bars[:300]
    request = asked(saved=strategy, bars=columns(bars), axes={"slow": "20,40"}, parameters={"stop": "4.5"}, name="mine")
    for field in ("folds", "test_share"):
        request.ClearField(field)
    one = (await ada.backtests.StartOptimization(request)).optimization
    assert (one.name, one.strategy_id, one.strategy_version) == ("mine", strategy.strategy_id, 1)
    assert dict(one.parameters) == {"fast": "5", "stop": "4.5"}
    assert dict(one.axes) == {"slow": "20,40"}
    assert (one.seed, one.objective, one.minimize, one.folds, one.test_share) == (1, "sharpe", False, 1, "0.25")
    assert (one.points, one.progress.total_trials) == (2, 2)
    found = await ended(ada, one)
    by_hash = await done(ada, data_hash=one.data_hash, axes={"slow": "20,40"}, parameters={"stop": "4.5"}, folds=1)
    fixed = await done(ada, data_hash=one.data_hash, axes={"fast": "5", "slow": "20,40", "stop": "4.5"}, folds=1)
    assert [one.in_sample for one in await trials(ada, fixed)] == [one.in_sample for one in await trials(ada, by_hash)]
    assert found.data_hash == by_hash.data_hash
    # The data of an optimisation serves a backtest, and stays while something needs it.
    await delete(ada, found)
    backtest = await ada.done(GRAPH, data_hash=by_hash.data_hash)
    assert backtest.progress.total_bars == 300


# Following


async def test_progress_and_then_the_outcome(trader_on, backtests_on, gates, few_at_once):
    gate = gates(12)
    ada = await trader_on(await backtests_on(judges=gate.judges))
    one = await start(ada)
    stream = watch(ada, one)
    at = await until(stream, lambda m: m.progress.done_trials == 10 or m.snapshot.progress.done_trials == 10)
    beat = await until(stream, lambda m: m.HasField("heartbeat"))
    assert beat.sequence == at.sequence
    late = watch(ada, one)
    first = await anext(aiter(late))
    assert (first.sequence, first.snapshot.state) == (at.sequence, pb.OPTIMIZATION_STATE_RUNNING)
    assert (first.snapshot.progress.done_trials, first.snapshot.progress.total_trials) == (10, POINTS)
    made = await trials(ada, one, 3)
    assert [trial.number for trial in made] == list(range(10))
    assert first.snapshot.progress.best in made
    assert not first.snapshot.HasField("outcome")
    gate.open()
    for reader in (stream, late):
        async with asyncio.timeout(30):
            rest = [message async for message in reader]
        sequences = [at.sequence, *(m.sequence for m in rest if not m.HasField("heartbeat"))]
        assert sequences == sorted(set(sequences))
        assert rest[-1].snapshot == await get(ada, one)
        assert rest[-1].snapshot.state == pb.OPTIMIZATION_STATE_SUCCEEDED
    last = rest[-1].sequence
    assert await messages(ada, one, last) == []
    error = await failure(anext(aiter(watch(ada, one, last + 1))))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD")


# What cannot be


async def test_findings_start_nothing(ada, database):
    found = await ada.backtests.StartOptimization(asked(graph=json.dumps(DRAFT)))
    assert not found.HasField("optimization")
    assert found.diagnostics
    assert await count(database, "optimizations") == 0


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"axes": {"wide": "1:2"}}, "SETTINGS_INVALID", "axes.wide"),
        ({"axes": {"fast": "5:1:1"}}, "SETTINGS_INVALID", "axes.fast"),
        ({"axes": {"fast": "5"}}, "SETTINGS_INVALID", "axes.fast"),
        ({"axes": {"fast": "1:" + "9" * 500}}, "SETTINGS_INVALID", "axes.fast"),
        ({"parameters": {"fast": "7"}}, "SETTINGS_INVALID", "parameters.fast"),
        ({"axes": {"fast": "5,6"}, "parameters": {"slow": "x"}}, "SETTINGS_INVALID", "parameters.slow"),
        ({"settings": {"fee_bps": "-1"}}, "SETTINGS_INVALID", "settings.fee_bps"),
        ({"objective": "fame"}, "SETTINGS_INVALID", "objective"),
        ({"test_share": "0.0"}, "SETTINGS_INVALID", "test_share"),
        ({"test_share": "0.001", "folds": 5}, "SETTINGS_INVALID", "folds"),
        ({"axes": {"fast": "2:60", "slow": "2:200", "stop": "1:50:1"}}, "OPTIMIZATION_TOO_LARGE", "axes"),
        ({"method": TPE, "trials": 2001}, "OPTIMIZATION_TOO_LARGE", "trials"),
        ({"axes": {}}, "FIELD_INVALID", "axes"),
        ({"folds": 51}, "FIELD_INVALID", "folds"),
        ({"method": 0}, "FIELD_INVALID", "method"),
    ],
)
async def test_what_is_wrong_is_named(ada, database, fields, reason, field):
    error = await failure(start(ada, **fields))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert field in violations(error)
    assert await count(database, "optimizations") == 0


async def test_the_work_of_one_is_bounded(ada, monkeypatch):
    monkeypatch.setattr(limits, "MAX_OPTIMIZATION_BARS", 10_000)
    error = await failure(start(ada))
    assert info(error).reason == "OPTIMIZATION_TOO_LARGE"
    assert dict(info(error).metadata) == {"limit": "bars", "value": "10000"}


@pytest.mark.parametrize(
    ("limit", "value", "named"),
    [
        ("MAX_OPTIMIZATIONS", 1, "optimizations"),
        ("MAX_JUDGED_FOLDS", 3 * POINTS, "judged_folds"),
        ("MAX_BACKTEST_BARS", 1600, "backtest_bars"),
    ],
)
async def test_an_account_has_bounds(ada, bob, monkeypatch, sample_file, limit, value, named):
    monkeypatch.setattr(limits, limit, value)
    first = await done(ada)
    other = {"bars": columns(read_bars(sample_file).bars[:500])}
    error = await failure(start(ada, **other))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert dict(info(error).metadata) == {"limit": named, "value": str(value)}
    await start(bob, **other)
    await delete(ada, first)
    await start(ada, **other)


async def test_only_so_many_wait(trader_on, backtests_on, gates, monkeypatch):
    monkeypatch.setattr(limits, "MAX_UNFINISHED_OPTIMIZATIONS", 2)
    gate = gates()
    ada = await trader_on(await backtests_on(judges=gate.judges))
    for _ in range(2):
        await start(ada)
    assert info(await failure(start(ada))).metadata["limit"] == "unfinished_optimizations"


# Whose they are


async def test_somebody_elses_is_not_there(ada, bob):
    one = await done(ada)
    for call in (get(bob, one), trials(bob, one), cancel(bob, one), delete(bob, one), messages(bob, one)):
        error = await failure(call)
        assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "OPTIMIZATION_NOT_FOUND")
    assert await get(ada, one) == one
    theirs = await failure(start(bob, data_hash=one.data_hash))
    assert info(theirs).reason == "DATA_NOT_FOUND"


async def test_lists_are_pages_the_newest_first(ada, bob):
    made = [await done(ada, axes={"fast": "5,6"}) for _ in range(3)]
    await start(bob, axes={"fast": "5,6"})
    first = await ada.backtests.ListOptimizations(pb.ListOptimizationsRequest(page_size=2))
    rest = await ada.backtests.ListOptimizations(
        pb.ListOptimizationsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert not rest.next_page_token
    listed = [*first.optimizations, *rest.optimizations]
    for one in made:
        one.ClearField("outcome")
    assert listed == made[::-1]


async def test_the_same_request_starts_once(ada, database):
    once = str(uuid.uuid4())
    first = await start(ada, request_id=once)
    assert await start(ada, request_id=once) == first
    error = await failure(start(ada, request_id=once, seed=2))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert await count(database, "optimizations") == 1
