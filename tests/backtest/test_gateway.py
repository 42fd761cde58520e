"""A backtest through Envoy: REST from the start to the curve, and the stream over gRPC."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import grpc
import httpx
import pytest
from backtest.test_backtest import GRAPH
from backtest.test_optimise import AXES, DOCUMENT

from algotrade.platform.gateway import Gateway, Upstreams
from algotrade.platform.http import http_server
from algotrade.platform.tokens import public_keys
from algotrade.v1 import backtest_service_pb2 as pb
from algotrade.v1.backtest_service_pb2_grpc import BacktestServiceStub


@pytest.fixture
async def gateway(server, platform, settings, tmp_path):
    moved = settings.model_copy(
        update={"gateway_address": "127.0.0.1:0", "envoy_admin_address": "127.0.0.1:0", "data_dir": tmp_path}
    )
    async with AsyncExitStack() as stack:
        jwks = http_server(settings.http_address, platform.metrics.registry, public_keys(platform.key))
        upstreams = Upstreams.of(moved, grpc_port=server.port, http_port=await stack.enter_async_context(jwks))
        yield await stack.enter_async_context(Gateway(moved, upstreams))


async def test_rest_and_stream(gateway, ada, token):
    headers = {"authorization": f"Bearer {token(ada.user_id)}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}/v1/backtests", headers=headers) as http:
        asked = {"graph": json.dumps(GRAPH), "sample": "AAPL", "settings": {"fee_bps": "5"}}
        started = (await http.post("", json=asked)).json()["backtest"]
        one = f"/{started['backtest_id']}"
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            stream = BacktestServiceStub(channel).WatchBacktest(
                pb.WatchBacktestRequest(backtest_id=started["backtest_id"]),
                metadata=[("authorization", headers["authorization"])],
            )
            messages = [message async for message in stream]
        ended = messages[-1].snapshot
        assert ended.state == pb.BACKTEST_STATE_SUCCEEDED
        direct = await ada.get(ended)
        found = (await http.get(one)).json()["backtest"]
        assert found["state"] == "BACKTEST_STATE_SUCCEEDED"
        assert found["summary"]["result_hash"] == direct.summary.result_hash
        assert found["settings"]["fee_bps"] == "5"
        assert len(found["summary"]["metrics"]) == len(direct.summary.metrics)
        listed = (await http.get("", params={"page_size": 1})).json()
        assert [entry["backtest_id"] for entry in listed["backtests"]] == [started["backtest_id"]]
        trades = (await http.get(f"{one}/trades", params={"page_size": 3})).json()
        assert [entry["number"] for entry in trades["trades"]] == [1, 2, 3]
        curve = (await http.get(f"{one}/equity", params={"max_points": 10})).json()
        assert 4 <= len(curve["points"]) <= 10
        progress = (await http.get(f"{one}/progress")).text
        assert direct.summary.result_hash in progress
        again = (await http.post(f"{one}:rerun", json={})).json()["backtest"]
        assert again["rerun_of"] == started["backtest_id"]
        cancelled = await http.post(f"/{again['backtest_id']}:cancel", json={})
        assert cancelled.status_code == 200
        assert (await http.delete(one)).json() == {}
        missing = await http.get(one)
        assert missing.status_code == 404
        assert missing.json()["details"][0]["reason"] == "BACKTEST_NOT_FOUND"
        wrong = await http.post("", json=asked | {"settings": {"fee_bps": "-5"}})
        assert (wrong.status_code, wrong.json()["details"][0]["reason"]) == (400, "SETTINGS_INVALID")


async def test_an_optimization_over_rest_and_its_stream(gateway, ada, token):
    headers = {"authorization": f"Bearer {token(ada.user_id)}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}/v1/optimizations", headers=headers) as http:
        asked = {
            "graph": json.dumps(DOCUMENT),
            "sample": "AAPL",
            "axes": AXES,
            "method": "OPTIMIZATION_METHOD_RANDOM",
            "trials": 6,
            "folds": 2,
        }
        started = (await http.post("", json=asked)).json()["optimization"]
        one = f"/{started['optimization_id']}"
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            stream = BacktestServiceStub(channel).WatchOptimization(
                pb.WatchOptimizationRequest(optimization_id=started["optimization_id"]),
                metadata=[("authorization", headers["authorization"])],
            )
            messages = [message async for message in stream]
        ended = messages[-1].snapshot
        assert ended.state == pb.OPTIMIZATION_STATE_SUCCEEDED
        found = (await http.get(one)).json()["optimization"]
        assert found["outcome"]["deflated_sharpe"] == ended.outcome.deflated_sharpe
        assert [trial["number"] for trial in found["outcome"]["ranking"]] == [
            trial.number for trial in ended.outcome.ranking
        ]
        trials = (await http.get(f"{one}/trials", params={"page_size": 4})).json()
        assert [trial["number"] for trial in trials["trials"]] == [0, 1, 2, 3]
        assert [len(trial["out_of_sample"]) for trial in trials["trials"]] == [2, 2, 2, 2]
        progress = [json.loads(line) for line in (await http.get(f"{one}/progress")).text.splitlines()]
        assert progress[-1]["snapshot"] == found
        listed = (await http.get("")).json()
        assert [entry["optimization_id"] for entry in listed["optimizations"]] == [started["optimization_id"]]
        assert (await http.post(f"{one}:cancel", json={})).json()["optimization"] == found
        assert (await http.delete(one)).json() == {}
        missing = await http.get(one)
        assert (missing.status_code, missing.json()["details"][0]["reason"]) == (404, "OPTIMIZATION_NOT_FOUND")
        wrong = await http.post("", json=asked | {"axes": {"fast": "9"}})
        assert (wrong.status_code, wrong.json()["details"][0]["reason"]) == (400, "SETTINGS_INVALID")


async def test_findings_over_rest(gateway, ada, token):
    headers = {"authorization": f"Bearer {token(ada.user_id)}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.address}", headers=headers) as http:
        answer = await http.post("/v1/backtests", json={"graph": "{", "sample": "AAPL"})
        assert answer.status_code == 200
        assert answer.json()["diagnostics"][0]["code"] == "invalid_json"
        nobody = await http.post("/v1/backtests", json={}, headers={"authorization": ""})
        assert nobody.status_code == 401
