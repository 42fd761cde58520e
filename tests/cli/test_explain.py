from __future__ import annotations

from pathlib import Path

import pytest
from cli.answers import Call

from algotrade.engine.compile import compile_strategy


def test_every_port_and_action_of_a_bar(call: Call, strategy: Path, bars: Path) -> None:
    found = call("explain", strategy, bars, "--at", "2024-01-02", "--json").json
    assert list(found) == ["artefact", "data_hash", "time", "bar", "warmup_bars", "ports", "actions"]
    assert found["artefact"] == compile_strategy(strategy.read_bytes()).artefact.hash  # type: ignore[union-attr]
    assert (found["time"], found["bar"]) == ("2024-01-02T00:00:00Z", 1)
    assert found["ports"] == {
        "p": {"value": 10.0},
        "in": {"value": True},
        "level": {"value": 12.5},
        "out": {"value": False},
    }
    bought, sold = found["actions"]
    assert (bought["node_id"], bought["acted"], bought["rejection"]) == ("b", True, None)
    assert "filled at 11" in bought["sentence"]
    assert (sold["node_id"], sold["acted"]) == ("x", False)
    told = call("explain", strategy, bars, "--at", "1704153600")
    assert "bar 1, 2024-01-02T00:00:00Z" in told.out
    assert bought["sentence"] in told.out


def test_settings_and_parameters_reach_the_replay(call: Call, strategy: Path, bars: Path) -> None:
    arguments = ("explain", strategy, bars, "--at", "2024-01-02", "--json", "--cash", "10", "--set", "exit=11")
    found = call(*arguments).json
    assert found["actions"][0]["rejection"] == "insufficient_cash"
    assert found["ports"]["level"] == {"value": 11.0}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--at", "2023-12-31"], "invalid_setting", "--at: no bar"),
        (["--at", "noon"], "invalid_time", "--at: 'noon'"),
        (["--at", "20240102"], "invalid_time", "may be a date or seconds"),
        (["--at", "2024-01-02", "--set", "a=1"], "unknown_parameter", "--set a"),
        (["--at", "2024-01-02", "--fill", "soon"], "invalid_setting", "--fill"),
    ],
)
def test_what_cannot_be_explained(
    call: Call, strategy: Path, bars: Path, arguments: list[str], code: str, words: str
) -> None:
    answer = call("explain", strategy, bars, *arguments, "--json")
    assert answer.code == 1
    assert answer.json["error"]["code"] == code
    assert words in answer.json["error"]["message"]


def test_a_drawing_that_cannot_be_compiled_explains_nothing(call: Call, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "drawing.json").write_text("{}")
    answer = call("explain", tmp_path / "drawing.json", bars, "--at", "2024-01-02", "--json")
    assert answer.code == 1
    assert answer.json["diagnostics"]
