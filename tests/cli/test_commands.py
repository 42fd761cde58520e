"""The command line as a process, and the smaller commands."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.answers import Call

from algotrade.cli.inputs import time_text
from algotrade.engine.compile import Artefact
from algotrade.engine.nodes import CATALOGUE


def process(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "algotrade.cli", *map(str, arguments)]
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200"} | more
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def test_a_process_answers_and_fails_alike(strategy: Path, bars: Path) -> None:
    good = process("backtest", strategy, bars, "--json")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["final_equity"] == "10001.954"
    bad = process("backtest", strategy, bars, "--json", "--cash", "0")
    assert (bad.returncode, bad.stderr) == (1, "")
    assert json.loads(bad.stdout)["error"]["code"] == "invalid_setting"
    told = process("backtest", strategy, bars, "--cash", "0")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("error: --cash: 0 is outside")


def test_a_wrong_call_is_told(strategy: Path) -> None:
    for arguments in (["backtest", strategy], ["backtest", strategy, strategy, "--no-such"], ["conjure"]):
        told = process(*arguments)
        assert (told.returncode, told.stdout) == (2, "")
        assert "Error" in told.stderr
        answer = process(*arguments, "--json")
        assert (answer.returncode, answer.stderr) == (2, "")
        assert json.loads(answer.stdout)["error"]["code"] == "usage"


def test_a_reader_that_leaves_is_no_fault(strategy: Path, bars: Path) -> None:
    command = [sys.executable, "-m", "algotrade.cli", "backtest", str(strategy), str(bars)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert b"Traceback" not in started.stderr.read()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, algotrade.cli.app\n"
        "heavy = ('numpy', 'polars', 'wasmtime', 'grpc', 'plotly', 'rich.table')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"


def test_help_lists_the_commands(call: Call) -> None:
    answer = call("--help")
    assert answer.code == 0
    for command in ("backtest", "compile", "explain", "nodes"):
        assert command in answer.out


def test_compile_writes_the_artefact(call: Call, strategy: Path, tmp_path: Path) -> None:
    target = tmp_path / "strategy.wasm"
    found = call("compile", strategy, "-o", target, "--json").json
    raw = target.read_bytes()
    assert found["artefact"] == hashlib.sha256(raw).hexdigest() == Artefact.from_wasm(raw).hash
    assert found["wasm_bytes"] == len(raw)
    assert found["warmup_bars"] == 0
    assert sorted(found["node_order"]) == sorted(["p", "in", "level", "out", "b", "x"])
    assert found["parameters"][0]["name"] == "exit"
    assert found["diagnostics"] == []
    told = call("compile", strategy)
    assert found["artefact"] in told.out
    assert "exit = 12.5 (float, 1 to 100)" in told.out


def test_compile_refuses_with_every_finding(call: Call, strategy: Path, tmp_path: Path) -> None:
    document = json.loads(strategy.read_text())
    document["nodes"][1]["data"]["params"]["op"] = "~"
    document["edges"][0]["source"] = "nobody"
    strategy.write_text(json.dumps(document))
    answer = call("compile", strategy, "-o", tmp_path / "no.wasm", "--json")
    assert answer.code == 1
    places = {(item["node_id"], item["edge_id"], item["param"]) for item in answer.json["diagnostics"]}
    assert ("in", None, "op") in places
    assert (None, "e0", None) in places
    assert not (tmp_path / "no.wasm").exists()
    assert "edge 'e0': " in call("compile", strategy).err


def test_compile_names_a_place_it_cannot_write(call: Call, strategy: Path, tmp_path: Path) -> None:
    answer = call("compile", strategy, "-o", tmp_path / "absent" / "a.wasm", "--json")
    assert answer.code == 1
    assert answer.json["error"]["code"] == "unwritable"


def test_nodes_are_the_catalogue(call: Call) -> None:
    found = {node["name"]: node for node in call("nodes", "--json").json}
    assert list(found) == list(CATALOGUE)
    assert found["bbands"]["outputs"][0] == {"name": "upper", "kind": "number", "summary": ""}
    assert [param["name"] for param in found["macd"]["params"]] == ["fastperiod", "slowperiod", "signalperiod"]
    assert found["and"]["inputs"][0]["many"] is True
    told = call("nodes")
    assert all(name in told.out for name in CATALOGUE)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_709_210_096_789_000_000, "2024-02-29T12:34:56.789Z"),
    ],
)
def test_times_are_written_in_utc(ns: int, text: str) -> None:
    assert time_text(ns) == text


def test_names_that_no_terminal_should_see(strategy: Path, bars: Path, tmp_path: Path) -> None:
    document = json.loads(strategy.read_text())
    document["name"] = "\ud800 and \x1b[2J"
    document["nodes"].append({"id": "\udfff\x1b[1A", "type": "volume"})
    strategy.write_text(json.dumps(document))
    for arguments in (
        ["backtest", strategy, bars, "--plot", tmp_path / "chart.html"],
        ["compile", strategy],
        ["explain", strategy, bars, "--at", "2024-01-02"],
    ):
        told = process(*arguments)
        assert (told.returncode, told.stderr) == (0, "")
        assert "\x1b" not in told.stdout
        assert process(*arguments, "--json").returncode == 0
    document["edges"] = []
    strategy.write_text(json.dumps(document))
    refused = process("compile", strategy)
    assert refused.returncode == 1
    assert "\x1b" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_one_bar_is_a_backtest(call: Call, strategy: Path, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("timestamp,open,high,low,close,volume\n2024-01-01,1,1,1,1,1\n")
    found = call("backtest", strategy, tmp_path / "one.csv", "--json").json
    assert (found["bars"], found["trades"], found["metrics"]["sharpe"]) == (1, [], None)
    assert call("backtest", strategy, tmp_path / "one.csv", "--plot", tmp_path / "one.html").code == 0
