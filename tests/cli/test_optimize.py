"""`algotrade optimize`: what it tells programs and people, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import hvsampledata
import pytest
from cli.answers import Call

TEMPLATE = Path(__file__).parents[2] / "services/algotrade/strategy/templates/sma_cross.json"
AXES = ("--set", "fast=5:15:5", "--set", "slow=20,40")


@pytest.fixture(scope="module")
def aapl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "aapl.csv"
    hvsampledata.apple_stocks("polars").rename({"date": "timestamp"}).write_csv(path)
    return path


def test_the_answer_to_a_program(call: Call, aapl: Path, tmp_path: Path) -> None:
    journal = tmp_path / "study.jsonl"
    options = ("--folds", "2", "--objective", "total_return", "--threads", "2", "--journal", journal, "--json")
    answer = call("optimize", TEMPLATE, aapl, *AXES, *options)
    assert answer.code == 0
    found = answer.json
    assert (found["method"], found["points"], found["trials"], found["unscored"]) == ("grid", 6, 6, 0)
    assert found["objective"] == {"metric": "total_return", "sign": 1}
    assert len(found["ranking"]) == 6
    best = found["ranking"][0]
    assert set(best["point"]) == {"fast", "slow"}
    assert len(best["in_sample"]) == len(best["out_of_sample"]) == len(found["walk_forward"]) == 2
    assert len(journal.read_text().splitlines()) == 7
    assert call("optimize", TEMPLATE, aapl, *AXES, *options).json == found  # from the journal


def test_the_answer_to_a_person(call: Call, aapl: Path) -> None:
    answer = call("optimize", TEMPLATE, aapl, *AXES, "--method", "tpe", "--trials", "5", "--minimize")
    assert answer.code == 0
    for part in (
        "tpe over 6 points: 5 trials, least sharpe",
        "sharpe out",
        "walk-forward",
        "deflated Sharpe",
        "drawn anew",
    ):
        assert part in answer.out


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--set", "fast=5:1:1"), "invalid_parameter", "fast"),
        (("--set", "fast"), "invalid_parameter", "name=values"),
        (("--set", "fast=1:2", "--set", "fast=1:2"), "invalid_parameter", "twice"),
        (("--set", "wide=1:2"), "invalid_parameter", "wide"),
        ((*AXES, "--method", "luck"), "invalid_setting", "luck"),
        ((*AXES, "--objective", "fame"), "invalid_setting", "fame"),
        ((*AXES, "--test", "1.5"), "invalid_setting", "--test"),
        ((*AXES, "--folds", "51"), "invalid_setting", "--folds"),
        ((*AXES, "--interval", "tick"), "invalid_setting", "--interval"),
        ((*AXES, "--method", "tpe", "--trials", "200000"), "invalid_setting", "100,000"),
    ],
)
def test_what_is_refused(call: Call, aapl: Path, options: tuple[str, ...], code: str, word: str) -> None:
    answer = call("optimize", TEMPLATE, aapl, *options, "--json")
    assert answer.code == 1
    assert answer.json["error"]["code"] == code
    assert word in answer.json["error"]["message"]


def test_a_journal_of_another_study(call: Call, aapl: Path, tmp_path: Path) -> None:
    journal = tmp_path / "study.jsonl"
    journal.write_text(json.dumps({"of": "another"}) + "\n")
    answer = call("optimize", TEMPLATE, aapl, *AXES, "--journal", journal, "--json")
    assert (answer.code, answer.json["error"]["code"]) == (1, "journal")
