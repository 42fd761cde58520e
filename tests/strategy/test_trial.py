"""Test runs over made-up bars, and the templates."""

from __future__ import annotations

import asyncio
import json

import grpc
import numpy as np
import pytest
from graphs import drawing, sma_cross

from algotrade.engine import fixed
from algotrade.engine.backtest import backtest
from algotrade.engine.compile import compile_strategy
from algotrade.engine.settings import RunSettings
from algotrade.platform import limits
from algotrade.platform.errors import info, violations
from algotrade.strategy.__main__ import build
from algotrade.strategy.trial import START_NS, random_walk
from algotrade.v1 import strategy_service_pb2 as pb
from algotrade.v1 import types_pb2
from algotrade.v1.strategy_service_pb2_grpc import StrategyServiceStub

HOUR = 3600 * 10**9
GRAPH = json.dumps(sma_cross(3, 7))
DRAFT = json.dumps(drawing({"p": "price", "s": "sma", "b": "buy"}, "p>s s>b"))


@pytest.fixture
async def stub(serve, connect, user):
    return StrategyServiceStub(connect(await serve(build), user))


async def failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def run(stub, graph=GRAPH, **fields) -> pb.TestRunStrategyResponse:
    return await stub.TestRunStrategy(pb.TestRunStrategyRequest(graph=graph, **fields))


def test_a_walk_is_its_seeds_and_its_bars_can_be():
    bars = random_walk(5, 10_000, HOUR)
    assert random_walk(5, 10_000, HOUR).tobytes() == bars.tobytes()
    assert random_walk(6, 10_000, HOUR).tobytes() != bars.tobytes()
    assert (bars["ts"] == START_NS + np.arange(10_000) * HOUR).all()
    assert (bars["low"] > 0).all()
    assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
    assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
    assert (bars["volume"] >= 0).all()


async def test_a_test_run_is_the_backtest_over_its_walk(stub):
    for seed, count in ((0, 0), (7, 300)):
        answer = await run(stub, seed=seed, bars=count)
        bars = random_walk(seed, count or 1000, HOUR)
        artefact = compile_strategy(GRAPH).artefact
        expected = backtest(artefact, bars, RunSettings())
        closed = [trade for trade in expected.trades if trade.exit_ts is not None]
        assert not answer.diagnostics
        assert (answer.run.artefact_hash, answer.run.bars) == (artefact.hash, len(bars))
        assert (answer.run.trades, answer.run.warmup_bars) == (len(closed), expected.warmup_bars)
        assert answer.run.trades > 3
        assert answer.run.winning_trades == sum(trade.pnl > 0 for trade in closed)
        assert answer.run.open_trade == (len(closed) < len(expected.trades))
        assert answer.run.final_equity == fixed.text(expected.final_equity)
        assert dict(answer.run.rejections) == dict(expected.rejections)
        assert answer.run.last_bar_time.ToNanoseconds() == int(bars["ts"][-1])
        values = {(one.node_id, one.port): one for one in answer.run.ports}
        closes = bars["close"] / fixed.SCALE
        averages = [one.number for one in values.values() if one.WhichOneof("value") == "number"]
        for period in (3, 7):
            assert any(average == pytest.approx(closes[-period:].mean()) for average in averages)
        assert any(one.WhichOneof("value") == "truth" for one in values.values())


async def test_settings_and_parameters_have_their_say(stub):
    template = next(
        one for one in (await stub.ListTemplates(pb.ListTemplatesRequest())).templates if one.template_id == "sma_cross"
    )
    plain = (await run(stub, template.graph)).run
    quick = (await run(stub, template.graph, parameters={"fast": "2", "slow": "5"})).run
    assert (plain.warmup_bars, quick.warmup_bars) == (50, 5)
    assert quick.trades > plain.trades
    dear = (await run(stub, settings=types_pb2.RunSettings(fee_bps="100", interval="1d"), bars=100)).run
    cheap = (await run(stub, settings=types_pb2.RunSettings(fee_bps="0", interval="1d"), bars=100)).run
    assert fixed.parse(dear.final_equity) < fixed.parse(cheap.final_equity)
    assert dear.last_bar_time.ToNanoseconds() == START_NS + 99 * 24 * HOUR
    assert dear.bars == 100


async def test_what_is_undefined_has_no_value(stub):
    answer = await run(stub, bars=2)
    assert answer.run.warmup_bars == 7
    assert any(one.WhichOneof("value") is None for one in answer.run.ports)
    assert answer.run.trades == 0


async def test_a_graph_with_errors_gives_findings_and_no_run(stub):
    answer = await run(stub, DRAFT)
    assert not answer.HasField("run")
    assert any(found.edge_id == "e2" for found in answer.diagnostics)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"bars": 10_001}, "FIELD_INVALID", "bars"),
        ({"bars": -1}, "FIELD_INVALID", "bars"),
        ({"seed": -1}, "FIELD_INVALID", "seed"),
        ({"graph": "{"}, "GRAPH_MALFORMED", "graph"),
        ({"settings": types_pb2.RunSettings(fee_bps="x")}, "SETTINGS_INVALID", "settings.fee_bps"),
        ({"settings": types_pb2.RunSettings(interval="tick")}, "SETTINGS_INVALID", "settings.interval"),
        ({"parameters": {"slow": "7"}}, "SETTINGS_INVALID", "parameters.slow"),
    ],
)
async def test_a_bad_field_is_named(stub, fields, reason, field):
    error = await failure(run(stub, **fields))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert set(violations(error)) == {field}


async def test_a_run_is_bounded(stub, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TEST_RUN_SECONDS", 0.0)
    error = await failure(run(stub, bars=10_000))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert dict(info(error).metadata) == {"limit": "test_run_seconds", "value": "0.0"}


async def test_a_run_is_off_the_loop(stub, monkeypatch):
    def watched(*arguments):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return random_walk(*arguments)

    monkeypatch.setattr("algotrade.strategy.trial.random_walk", watched)
    assert (await run(stub, bars=50)).run.bars == 50


async def test_every_template_can_be_created_and_runs(serve, connect, open_account):
    stub = StrategyServiceStub(connect(await serve(build), await open_account()))
    listed = (await stub.ListTemplates(pb.ListTemplatesRequest())).templates
    assert len(listed) >= 8
    assert [one.name for one in listed] == sorted(one.name for one in listed)
    assert len({one.template_id for one in listed}) == len(listed)
    for template in listed:
        created = await stub.CreateStrategy(pb.CreateStrategyRequest(graph=template.graph))
        assert (created.strategy.name, bool(created.strategy.artefact_hash)) == (template.name, True)
        assert template.description
        assert not created.diagnostics
        answer = await run(stub, template.graph, seed=1)
        assert answer.run.trades > 0, template.name
        assert answer.run.artefact_hash == created.strategy.artefact_hash
