"""Starting backtests and reading what came of them, held to the command line's answers."""

from __future__ import annotations

import asyncio
import json
import uuid

import grpc
import numpy as np
import pytest
from backtest.conftest import columns, request
from google.protobuf.timestamp_pb2 import Timestamp
from graphs import drawing, sma_cross
from sqlalchemy import text
from typer.testing import CliRunner

from algotrade.cli.app import app
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.metrics import Metric
from algotrade.engine.records import EventKind
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings
from algotrade.platform import limits
from algotrade.platform.bars_file import read_bars
from algotrade.platform.errors import info, violations
from algotrade.platform.samples import aapl_daily
from algotrade.platform.thinning import thinned
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1 import types_pb2

GRAPH = sma_cross(5, 20)
TUNED = drawing(
    {
        "p": "price",
        "f": ("sma", {"timeperiod": {"param": "fast"}}),
        "s": ("sma", {"timeperiod": 20}),
        "up": "crossover",
        "dn": "crossunder",
        "b": "buy",
        "x": "sell",
    },
    "p>f p>s f>up.a s>up.b f>dn.a s>dn.b up>b dn>x",
    parameters=[{"name": "fast", "type": "int", "default": 5, "min": 2, "max": 50}],
)
BOTH_WAYS = drawing(
    {
        "p": "price",
        "s": ("sma", {"timeperiod": 20}),
        "up": "crossover",
        "dn": "crossunder",
        "b": ("buy", {"order_type": "limit", "limit_offset_percent": 0.5, "expire_bars": 3}),
        "sh": "short",
        "part": ("cover", {"portion": 40}),
        "held": "position",
        "old": ("compare", {"op": "==", "value": 4}),
        "trail": ("trailing_stop", {"percent": 4}),
    },
    "p>up.a s>up.b p>dn.a s>dn.b p>s up>b dn>sh held.bars_held>old.a old>part",
)
DRAFT = drawing({"p": "price", "s": "sma", "b": "buy"}, "p>s s>b")


@pytest.fixture(scope="session")
def sample_file(tmp_path_factory):
    return aapl_daily(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def sample_bars(sample_file):
    return read_bars(sample_file).bars


def command_line(tmp_path, graph, bars, *options, command="backtest") -> dict:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph))
    result = CliRunner().invoke(app, [command, str(path), str(bars), "--json", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def trade_json(trade: pb.BacktestTrade) -> dict:
    closed = trade.HasField("exit_time")
    return {
        "side": {1: "long", 2: "short"}[trade.side],
        "quantity": trade.quantity,
        "entry_time": trade.entry_time.ToJsonString(),
        "entry_price": trade.entry_price,
        "exit_time": trade.exit_time.ToJsonString() if closed else None,
        "exit_price": trade.exit_price or None,
        "fees": trade.fees,
        "pnl": trade.pnl or None,
        "exit_reason": trade.exit_reason or None,
        "ambiguous": trade.ambiguous,
    }


def metric_json(metric: pb.PerformanceMetric) -> object:
    if not metric.value or metric.unit == "money":
        return metric.value or None
    return float(metric.value)


async def failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def count(database, table: str) -> int:
    async with database.connect() as connection:
        return (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


# What comes of it


@pytest.mark.parametrize("source", ["sample", "bars"])
@pytest.mark.parametrize(
    ("rules", "parameters", "options"),
    [
        ({}, {}, []),
        (
            {"initial_cash": "2500", "fee_bps": "2.5", "slippage_bps": "3", "fill": "close", "path": "worst"},
            {"fast": "8"},
            ["--cash=2500", "--fee-bps=2.5", "--slippage-bps=3", "--fill=close", "--path=worst", "--set", "fast=8"],
        ),
    ],
)
async def test_it_says_what_the_command_line_says(
    ada, tmp_path, sample_file, sample_bars, source, rules, parameters, options
):
    expected = command_line(tmp_path, TUNED, sample_file, *options)
    data = {} if source == "sample" else {"bars": columns(sample_bars)}
    found = await ada.done(TUNED, settings=rules, parameters=parameters, **data)
    assert found == await ada.get(found)
    assert (found.artefact_hash, found.data_hash) == (expected["artefact"], expected["data_hash"])
    summary = found.summary
    assert (summary.bars, summary.warmup_bars) == (expected["bars"], expected["warmup_bars"])
    assert summary.final_equity == expected["final_equity"]
    assert dict(summary.rejections) == expected["rejections"]
    assert summary.optimistic == expected.get("optimistic", False)
    assert {one.name: metric_json(one) for one in summary.metrics} == expected["metrics"]
    assert all(one.unit and one.definition for one in summary.metrics)
    assert {month: float(gain) for month, gain in summary.monthly_returns.items()} == expected["monthly_returns"]
    trades = await ada.trades(found, size=7)
    assert [trade_json(one) for one in trades] == expected["trades"]
    assert [one.number for one in trades] == list(range(1, summary.trades + 1))
    assert summary.trades > 20
    assert found.parameters == {"fast": parameters.get("fast", "5")}
    assert found.settings.initial_cash == rules.get("initial_cash", "10000")
    assert found.progress == pb.BacktestProgress(done_bars=len(sample_bars), total_bars=len(sample_bars))
    assert found.start_time.ToNanoseconds() <= found.end_time.ToNanoseconds()


async def test_shorts_and_portions_are_told_as_the_command_line_tells_them(ada, database, tmp_path, sample_file):
    refused = await failure(ada.start(BOTH_WAYS))
    assert violations(refused) == {"settings.allow_short": "the strategy sells short"}
    assert await count(database, "backtest_results") == 0
    expected = command_line(tmp_path, BOTH_WAYS, sample_file, "--allow-short")
    found = await ada.done(BOTH_WAYS, settings={"allow_short": True})
    assert found.summary.final_equity == expected["final_equity"]
    assert dict(found.summary.rejections) == expected["rejections"]
    told = [trade_json(one) for one in await ada.trades(found)]
    assert told == expected["trades"]
    assert {trade["side"] for trade in told} == {"long", "short"}
    assert {"cover", "trailing_stop"} <= {trade["exit_reason"] for trade in told}


async def test_saved_and_inline_do_the_same(ada):
    inline = await ada.done(GRAPH)
    saved = await ada.done(None, saved=await ada.save(GRAPH), name=" Mine ")
    assert saved.summary.result_hash == inline.summary.result_hash
    assert (saved.name, saved.strategy_version) == ("Mine", 1)
    assert (inline.name, inline.strategy_id, inline.strategy_version) == ("test · AAPL daily", "", 0)


async def test_the_hash_tells_runs_apart(ada):
    hashes = {
        (await ada.done(TUNED, **fields)).summary.result_hash
        for fields in ({}, {"parameters": {"fast": "6"}}, {"settings": {"fee_bps": "11"}}, {"settings": {}})
    }
    assert len(hashes) == 3


async def test_a_rerun_has_the_same_hash_whatever_became_of_the_first(ada, database):
    first = await ada.done(GRAPH, settings={"fee_bps": "7"})
    again = await ada.rerun(first)
    assert (again.rerun_of, again.state) == (first.backtest_id, pb.BACKTEST_STATE_QUEUED)
    again = await ada.ended(again)
    assert again.summary.result_hash == first.summary.result_hash
    assert await ada.trades(again) == await ada.trades(first)
    await ada.delete(first)
    third = await ada.ended(await ada.rerun(again))
    assert third.summary.result_hash == first.summary.result_hash
    assert await count(database, "backtest_data") == 1


async def test_what_nothing_needs_is_forgotten(ada, bob, database):
    mine, theirs = await ada.done(GRAPH), await bob.done(GRAPH)
    await ada.delete(mine)
    assert info(await failure(ada.delete(mine))).reason == "BACKTEST_NOT_FOUND"
    assert await count(database, "backtest_artefacts") == 1
    assert (await bob.ended(await bob.rerun(theirs))).summary.result_hash == mine.summary.result_hash
    for one in (await bob.backtests.ListBacktests(pb.ListBacktestsRequest())).backtests:
        await bob.delete(one)
    for table in ("backtest_results", "backtest_trades", "backtest_data", "backtest_artefacts"):
        assert await count(database, table) == 0


async def test_data_is_kept_by_its_hash(ada, bob, sample_bars):
    first = await ada.done(GRAPH, bars=columns(sample_bars[:300]))
    again = await ada.done(GRAPH, data_hash=first.data_hash)
    assert again.summary.result_hash == first.summary.result_hash
    for who, data_hash in ((bob, first.data_hash), (ada, "0" * 64)):
        error = await failure(who.start(GRAPH, data_hash=data_hash))
        assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "DATA_NOT_FOUND")


async def test_bars_are_read_back_as_they_were_given(ada, bob, sample_bars):
    given = columns(sample_bars[:300])
    held = await ada.done(GRAPH, bars=given)
    read = await ada.backtests.GetBars(pb.GetBarsRequest(data_hash=held.data_hash))
    assert (read.bars, read.data_hash) == (given, held.data_hash)
    error = await failure(bob.backtests.GetBars(pb.GetBarsRequest(data_hash=held.data_hash)))
    assert info(error).reason == "DATA_NOT_FOUND"
    sample = await bob.backtests.GetBars(pb.GetBarsRequest(sample="AAPL"))
    assert sample.bars == columns(sample_bars)
    assert sample.data_hash == (await ada.done(GRAPH)).data_hash


async def test_the_curve_is_thinned_out(ada, sample_bars):
    found = await ada.done(GRAPH)

    async def curve(most: int) -> pb.GetBacktestEquityResponse:
        request = pb.GetBacktestEquityRequest(backtest_id=found.backtest_id, max_points=most)
        return await ada.backtests.GetBacktestEquity(request)

    full, thin = await curve(4000), await curve(20)
    assert [point.time.ToNanoseconds() for point in full.points] == sample_bars["ts"].tolist()
    assert float(full.points[-1].equity) == pytest.approx(float(found.summary.final_equity), abs=2e-8)
    assert full.points[0].equity == "10000"
    metrics = {one.name: one.value for one in found.summary.metrics}
    assert min(float(point.drawdown) for point in full.points) == pytest.approx(float(metrics["max_drawdown"]))
    held = 10_000 * (1 + float(metrics["buy_and_hold_return"]) / 100)
    assert float(full.points[-1].benchmark) == pytest.approx(held)
    assert full.total_points == thin.total_points == len(sample_bars)
    assert 4 <= len(thin.points) <= 20
    assert {point.equity for point in thin.points} <= {point.equity for point in full.points}
    for extreme in (min, max):
        values = [extreme(float(point.equity) for point in one.points) for one in (full, thin)]
        assert values[0] == values[1]
    assert len((await curve(0)).points) <= 500


async def test_a_bar_explains_itself(ada, tmp_path, sample_file, sample_bars):
    """As `algotrade explain` does it for the same file; a time within the bar will do."""
    found = await ada.done(TUNED, parameters={"fast": "8"})
    trades = await ada.trades(found)
    at = trades[1].entry_time.ToNanoseconds() - 12 * 3600 * 10**9  # within the bar before, which decided
    told = await ada.backtests.ExplainBar(
        pb.ExplainBarRequest(backtest_id=found.backtest_id, time=Timestamp(seconds=at // 10**9))
    )
    options = ("--at", told.bar_time.ToJsonString(), "--set", "fast=8")
    expected = command_line(tmp_path, TUNED, sample_file, *options, command="explain")
    assert told.bar_time.ToNanoseconds() <= at
    assert (told.bar, told.warmup_bars) == (expected["bar"], expected["warmup_bars"])
    assert [(one.node_id, one.acted, one.rejection, one.sentence) for one in told.actions] == [
        (one["node_id"], one["acted"], one["rejection"] or "", one["sentence"]) for one in expected["actions"]
    ]
    assert any(one.acted and "it filled at" in one.sentence for one in told.actions)
    numbers = {(one.node_id, one.port): one.number for one in told.ports if one.HasField("number")}
    assert len(numbers) >= 3


def _held(port: types_pb2.PortValue):
    kind = port.WhichOneof("value")
    return None if kind is None else getattr(port, kind)


async def test_the_probe_is_what_explains(ada, sample_bars):
    """Run here over the same bars, it holds what ExplainBar tells, and trades as the backtest did."""
    found = await ada.done(TUNED, parameters={"fast": "8"})
    lent = await ada.backtests.GetProbe(pb.GetProbeRequest(backtest_id=found.backtest_id))
    assert lent.artefact_hash == found.artefact_hash
    sessions = Sessions(Artefact.from_wasm(lent.module))
    slot = sessions.add(RunSettings.parse({"interval": "native", "native_seconds": "86400"}), {"fast": "8"})
    count = 700
    taken, events = sessions.run(slot, sample_bars[:count])
    told = await ada.backtests.ExplainBar(
        pb.ExplainBarRequest(
            backtest_id=found.backtest_id, time=Timestamp(seconds=int(sample_bars["ts"][count - 1]) // 10**9)
        )
    )
    assert (taken, told.bar) == (count, count - 1)
    values = {(one.node_id, one.port): _held(one) for one in told.ports}
    assert sessions.probes(slot) == values
    entries = events[events["kind"] == EventKind.ENTRY]["ts"].tolist()
    trades = [trade.entry_time.ToNanoseconds() for trade in await ada.trades(found)]
    assert entries == trades[: len(entries)]
    assert len(entries) > 3


async def test_bars_that_cannot_be_explained(ada, database):
    found = await ada.done(GRAPH)
    before = pb.ExplainBarRequest(backtest_id=found.backtest_id, time=Timestamp(seconds=1))
    error = await failure(ada.backtests.ExplainBar(before))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert list(violations(error)) == ["time"]
    async with database.begin() as connection:  # made by another compiler
        await connection.execute(text("UPDATE backtest_results SET graph = :graph"), {"graph": json.dumps(TUNED)})
    lend = pb.GetProbeRequest(backtest_id=found.backtest_id)
    for call in (ada.backtests.ExplainBar(before), ada.backtests.GetProbe(lend)):
        error = await failure(call)
        assert (error.code(), info(error).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ARTEFACT_OUTDATED")
        assert info(error).metadata["artefact_hash"] == found.artefact_hash


def test_few_points_are_all_kept():
    assert thinned(np.array([1.0, 2, 3]), 4).tolist() == [0, 1, 2]
    zigzag = np.tile([0.0, 1.0], 500)
    for most in (4, 5, 100, 999):
        kept = thinned(zigzag, most)
        assert len(kept) <= most
        assert (kept[0], kept[-1]) == (0, 999)
        assert (np.diff(kept) > 0).all()


async def test_pages(ada):
    made = [await ada.done(GRAPH, name=f"n{i}") for i in range(5)]
    listed: list[pb.Backtest] = []
    token = ""
    while True:
        page = await ada.backtests.ListBacktests(pb.ListBacktestsRequest(page_size=2, page_token=token))
        assert len(page.backtests) <= 2
        listed += page.backtests
        token = page.next_page_token
        if not token:
            break
    assert [one.name for one in listed] == ["n4", "n3", "n2", "n1", "n0"]
    assert all(one.summary.result_hash == made[0].summary.result_hash for one in listed)
    assert not any(one.summary.metrics for one in listed)
    other = await ada.backtests.ListBacktests(pb.ListBacktestsRequest(page_size=1))
    wrong = (
        ada.backtests.ListBacktests(pb.ListBacktestsRequest(page_token="x")),
        ada.backtests.ListBacktestTrades(
            pb.ListBacktestTradesRequest(backtest_id=made[0].backtest_id, page_token=other.next_page_token)
        ),
    )
    for call in wrong:
        assert info(await failure(call)).reason == "PAGE_TOKEN_INVALID"


# What cannot be


async def test_findings_are_data_and_start_nothing(ada, database):
    for graph in (json.dumps(DRAFT), "{", '{"nodes": NaN}'):
        found = await ada.backtests.StartBacktest(pb.StartBacktestRequest(graph=graph, sample="AAPL"))
        assert not found.HasField("backtest")
        expected = compile_strategy(graph).diagnostics
        assert [(one.code, one.message) for one in found.diagnostics] == [(one.code, one.message) for one in expected]
        assert any(one.severity == types_pb2.DIAGNOSTIC_SEVERITY_ERROR for one in found.diagnostics)
    assert await count(database, "backtest_results") == 0


async def test_a_warning_starts(ada):
    lonely = drawing(
        {"p": "price", "c": ("compare", {"op": ">", "value": 100}), "b": "buy", "s": "sma"}, "p>c.a c>b p>s"
    )
    found = await ada.backtests.StartBacktest(request(lonely))
    assert found.HasField("backtest")
    assert [one.severity for one in found.diagnostics] == [types_pb2.DIAGNOSTIC_SEVERITY_WARNING]


async def test_a_saved_draft_cannot_run(ada):
    error = await failure(ada.start(None, saved=await ada.save(DRAFT)))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STRATEGY_NOT_COMPILABLE")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"settings": {"fee_bps": "-1"}}, "settings.fee_bps"),
        ({"settings": {"interval": "1h"}}, "settings.interval"),
        ({"settings": {"interval": "tick"}}, "settings.interval"),
        ({"settings": {"day_timezone": "Mars/Base"}}, "settings.day_timezone"),
        ({"parameters": {"fast": "1"}}, "parameters.fast"),
        ({"parameters": {"slow": "1"}}, "parameters.slow"),
        ({"parameters": {"fast": "nan"}}, "parameters.fast"),
    ],
)
async def test_wrong_rules_are_named(ada, database, fields, field):
    error = await failure(ada.start(TUNED, **fields))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SETTINGS_INVALID")
    assert field in violations(error)
    assert await count(database, "backtest_results") == 0


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [
        ("times_nanos", 3, 0),
        ("opens_e8", 0, 0),
        ("closes_e8", 2, -5),
        ("highs_e8", 1, 1),
        ("lows_e8", 4, 2**62 + 1),
        ("volumes", 9, float("nan")),
        ("volumes", 9, float("inf")),
        ("volumes", 9, -1.0),
    ],
)
async def test_bars_that_cannot_be_are_named(ada, sample_bars, column, row, value):
    bars = columns(sample_bars[:10])
    getattr(bars, column)[row] = value
    error = await failure(ada.start(GRAPH, bars=bars))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BARS_INVALID")
    assert f"bars.{column}[{row}]" in violations(error)


async def test_columns_are_equally_long_and_bounded(ada, sample_bars):
    bars = columns(sample_bars[:10])
    del bars.volumes[5:]
    assert "bars.volumes" in violations(await failure(ada.start(GRAPH, bars=bars)))
    none = await failure(ada.start(GRAPH, bars=types_pb2.BarColumns()))
    assert info(none).reason == "FIELD_INVALID"
    many = types_pb2.BarColumns(times_nanos=range(limits.MAX_UPLOADED_BARS + 1))
    assert "bars.times_nanos" in violations(await failure(ada.start(GRAPH, bars=many)))


def deltas(bars):
    """Write bars in differences, as a client would: prices in cents, times in days."""
    cents, day = 10**6, 86_400 * 10**9
    prices = {field: bars[field] for field in ("open", "high", "low", "close")}
    unit = cents if all((column % cents == 0).all() for column in prices.values()) else 1
    opened, before = prices["open"], np.concatenate([[0], prices["close"][:-1]])
    moves = {"opens": opened - before}
    moves |= {f"{field}s": prices[field] - opened for field in ("high", "low", "close")}
    return types_pb2.BarDeltas(
        first_time_nanos=int(bars["ts"][0]),
        time_unit_nanos=day,
        price_unit_e8=unit,
        time_steps=(np.diff(bars["ts"]) // day).tolist(),
        volumes=bars["volume"].tolist(),
        **{name: (column // unit).tolist() for name, column in moves.items()},
    )


async def test_bars_in_differences_are_the_same_bars(ada, sample_bars):
    whole = await ada.done(GRAPH, bars=columns(sample_bars))
    short = await ada.done(GRAPH, deltas=deltas(sample_bars))
    assert short.data_hash == whole.data_hash
    assert short.summary.result_hash == whole.summary.result_hash
    assert short.source.origin == pb.DATA_ORIGIN_UPLOADED
    one = await ada.done(GRAPH, deltas=deltas(sample_bars[:1]))
    assert one.summary.bars == 1


async def test_differences_are_held_to_what_bars_are(ada, sample_bars):
    bars = deltas(sample_bars[:10])
    del bars.time_steps[:]
    assert "deltas.time_steps" in violations(await failure(ada.start(GRAPH, deltas=bars)))
    for column, row, value, named in (
        ("time_steps", 2, 0, "bars.times_nanos[3]"),
        ("opens", 0, -(10**15), "bars.opens_e8[0]"),
        ("highs", 4, -1, "bars.opens_e8[4]"),
        ("volumes", 9, -1.0, "bars.volumes[9]"),
    ):
        bars = deltas(sample_bars[:10])
        getattr(bars, column)[row] = value
        error = await failure(ada.start(GRAPH, deltas=bars))
        assert info(error).reason == "BARS_INVALID"
        assert named in violations(error)
    bars = deltas(sample_bars[:10])
    bars.price_unit_e8 = 0
    assert "deltas.price_unit_e8" in violations(await failure(ada.start(GRAPH, deltas=bars)))


@pytest.mark.parametrize("wrong", [{"graph": ""}, {"request_id": "x"}, {"sample": "MSFT"}, {"data_hash": "abc"}])
async def test_fields_have_rules(ada, wrong):
    fields = {"graph": json.dumps(GRAPH), "sample": "AAPL"} | wrong
    if "data_hash" in wrong:
        del fields["sample"]
    error = await failure(ada.backtests.StartBacktest(pb.StartBacktestRequest(**fields)))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert set(wrong) == set(violations(error))


async def test_half_a_character_is_refused(ada):
    graph = json.dumps(GRAPH | {"name": "\ud800"})
    error = await failure(ada.backtests.StartBacktest(pb.StartBacktestRequest(graph=graph, sample="AAPL")))
    assert info(error).reason == "GRAPH_MALFORMED"


async def test_the_same_request_starts_once(ada, bob, database):
    once = str(uuid.uuid4())
    first = await ada.start(GRAPH, request_id=once)
    assert await ada.start(GRAPH, request_id=once) == first
    assert (await ada.ended(first)).state == pb.BACKTEST_STATE_SUCCEEDED
    error = await failure(ada.start(GRAPH, request_id=once, name="other"))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert (await bob.start(GRAPH, request_id=once)).backtest_id != first.backtest_id
    again = str(uuid.uuid4())
    assert await ada.rerun(first, request_id=again) == await ada.rerun(first, request_id=again)
    assert await count(database, "backtest_results") == 3


@pytest.mark.parametrize(
    ("limit", "value", "named"),
    [("MAX_BACKTESTS", 1, "backtests"), ("MAX_BACKTEST_BARS", 1600, "backtest_bars")],
)
async def test_an_account_has_bounds(ada, bob, monkeypatch, sample_bars, limit, value, named):
    monkeypatch.setattr(limits, limit, value)
    first = await ada.done(GRAPH)
    error = await failure(ada.start(GRAPH, bars=columns(sample_bars[:300])))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert info(error).metadata["limit"] == named
    await bob.done(GRAPH)
    await ada.delete(first)
    await ada.done(GRAPH, bars=columns(sample_bars[:300]))


async def test_nobody_sees_anothers(ada, bob):
    found = await ada.done(GRAPH)

    def calls(who, backtest_id):
        stub = who.backtests
        yield stub.GetBacktest(pb.GetBacktestRequest(backtest_id=backtest_id))
        yield stub.CancelBacktest(pb.CancelBacktestRequest(backtest_id=backtest_id))
        yield stub.RerunBacktest(pb.RerunBacktestRequest(backtest_id=backtest_id))
        yield stub.DeleteBacktest(pb.DeleteBacktestRequest(backtest_id=backtest_id))
        yield stub.ListBacktestTrades(pb.ListBacktestTradesRequest(backtest_id=backtest_id))
        yield stub.GetBacktestEquity(pb.GetBacktestEquityRequest(backtest_id=backtest_id))
        yield stub.ExplainBar(pb.ExplainBarRequest(backtest_id=backtest_id, time=Timestamp(seconds=1_600_000_000)))
        yield stub.GetProbe(pb.GetProbeRequest(backtest_id=backtest_id))
        yield anext(aiter(stub.WatchBacktest(pb.WatchBacktestRequest(backtest_id=backtest_id))))

    nothing = str(uuid.uuid4())
    for theirs, none in zip(calls(bob, found.backtest_id), calls(bob, nothing), strict=True):
        for call, backtest_id in ((theirs, found.backtest_id), (none, nothing)):
            error = await failure(call)
            assert (error.code(), info(error).reason) == (grpc.StatusCode.NOT_FOUND, "BACKTEST_NOT_FOUND")
            assert dict(info(error).metadata) == {"backtest_id": backtest_id}
    assert not (await bob.backtests.ListBacktests(pb.ListBacktestsRequest())).backtests
    error = await failure(bob.start(None, saved=await ada.save(GRAPH)))
    assert info(error).reason == "STRATEGY_NOT_FOUND"
    assert await ada.get(found) == found


def test_a_metric_without_a_value_is_empty():
    from algotrade.backtest.messages import _metric

    assert _metric(Metric("sharpe", None, "ratio", "")).value == ""
    assert _metric(Metric("x", 1e-7, "ratio", "")).value == "0.0000001"
    assert _metric(Metric("x", 3, "count", "")).value == "3"


async def test_an_account_keeps_so_many_bytes_of_what_backtests_give(ada, bob, database, monkeypatch):
    first = await ada.done(GRAPH)
    async with database.connect() as connection:
        size = text("SELECT octet_length(graph) + 8 * total_bars FROM backtest_results")
        curve = await connection.scalar(size)
    kept = curve + 128 * first.summary.trades
    assert first.summary.trades
    monkeypatch.setattr(limits, "MAX_BACKTEST_BYTES", kept + curve - 1)
    error = await failure(ada.start(GRAPH))
    assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert info(error).metadata["limit"] == "backtest_bytes"
    error = await failure(ada.rerun(first))
    assert info(error).metadata["limit"] == "backtest_bytes"
    await bob.done(GRAPH)
    monkeypatch.setattr(limits, "MAX_BACKTEST_BYTES", kept + curve)
    results = await asyncio.gather(*(ada.start(GRAPH) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(one, grpc.aio.AioRpcError) for one in results) == 2
