"""The figures of real backtests, as empyrical computes them from the same returns."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import series
from agreement import compiled
from graphs import sma_cross

from algotrade.engine import metrics
from algotrade.engine.backtest import backtest
from algotrade.engine.metrics.curve import returns
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).with_name("peer_empyrical.py")


def check(bars: Records) -> None:
    assert PEER.exists(), "needs .venv-peers; `make test` makes it"
    artefact = compiled(sma_cross(20, 50)).artefact
    assert artefact is not None
    result = backtest(artefact, bars, RunSettings())
    initial = result.settings.initial_cash
    ours = metrics.values(
        metrics.performance(metrics.Run(result.data, result.equity, initial, result.final_equity, result.trades))
    )
    given = {
        "returns": returns(result.equity).tolist(),
        "benchmark": returns(metrics.benchmark(bars, initial)).tolist(),
        "year": ours["periods_per_year"],
    }
    done = subprocess.run([PEER, SCRIPT], input=json.dumps(given), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert len(theirs) == 13
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-9), name


def test_aapl() -> None:
    check(series.aapl())


@pytest.mark.data
def test_spy() -> None:
    check(series.spy())
