"""The template strategies: each compiles without a finding, is drawn without overlaps, and trades on real bars."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import hvsampledata
import pytest

from algotrade.engine.backtest import backtest
from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings
from algotrade.platform.bars_file import read_bars

TEMPLATES = sorted(
    entry for entry in (files("algotrade.strategy") / "templates").iterdir() if entry.name.endswith(".json")
)


@pytest.fixture(scope="module")
def apple(tmp_path_factory: pytest.TempPathFactory) -> Records:
    path = tmp_path_factory.mktemp("bars") / "aapl.parquet"
    hvsampledata.apple_stocks("polars").rename({"date": "timestamp"}).write_parquet(path)
    return read_bars(path).bars


def test_there_are_templates() -> None:
    assert len(TEMPLATES) >= 6
    names = [json.loads(template.read_text())["name"] for template in TEMPLATES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_template_is_sound_and_trades(template: Any, apple: Records) -> None:
    text = template.read_text()
    compilation = compile_strategy(text)
    assert compilation.diagnostics == ()
    assert compilation.artefact is not None
    result = backtest(compilation.artefact, apple, RunSettings())
    assert len(result.trades) > 3
    assert any(trade.exit_ts is not None for trade in result.trades)
    document = json.loads(text)
    assert document["description"]
    places = [(node["position"]["x"], node["position"]["y"]) for node in document["nodes"]]
    assert len(set(places)) == len(places)
    bounds = [(p["min"], p["default"], p["max"], p["step"]) for p in document["parameters"]]
    assert all(low <= default <= high and step > 0 for low, default, high, step in bounds)
