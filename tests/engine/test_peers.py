"""The same strategy in backtesting.py, an engine by other people: the same trades, at the same times and prices."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import series
from agreement import compiled
from graphs import sma_cross

from algotrade.engine.backtest import backtest
from algotrade.engine.fixed import SCALE, text
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).with_name("peer_backtesting.py")
CASH, COMMISSION = 10_000, "0.001"  # of the notional, as our ten basis points


def peer_trades(bars: Records, fast: int, slow: int, folder: Path) -> list[list[Any]]:
    assert PEER.exists(), "needs .venv-peers; `make test` makes it"
    path = folder / "bars.csv"
    with path.open("w") as out:
        out.write("ts,open,high,low,close,volume\n")
        for bar in bars.tolist():
            out.write(",".join([str(bar[0]), *map(text, bar[1:5]), str(bar[5])]) + "\n")
    command = [str(PEER), str(SCRIPT), str(path), str(fast), str(slow), str(CASH), COMMISSION]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(bars: Records, fast: int, slow: int, folder: Path) -> int:
    """Number of closed trades, all equal."""
    artefact = compiled(sma_cross(fast, slow)).artefact
    assert artefact is not None
    result = backtest(artefact, bars, RunSettings(initial_cash=CASH * SCALE))
    ours = [trade for trade in result.trades if trade.exit_ts is not None]
    theirs = peer_trades(bars, fast, slow, folder)
    assert len(ours) == len(theirs)
    for mine, (size, entry_ts, entry_price, exit_ts, exit_price) in zip(ours, theirs, strict=True):
        assert (mine.entry_ts, mine.exit_ts) == (entry_ts, exit_ts)
        assert mine.entry_price == round(entry_price * SCALE)
        assert mine.exit_price == round(exit_price * SCALE)
        # Theirs is a float, and of a whole number of units; the fee makes it the same all-in quantity.
        assert mine.quantity / SCALE == pytest.approx(size, rel=1e-6)
    return len(ours)


@pytest.mark.parametrize(("fast", "slow"), [(5, 20), (20, 50)])
def test_sma_cross_on_aapl(fast: int, slow: int, tmp_path: Path) -> None:
    assert check(series.aapl(), fast, slow, tmp_path) >= 10


@pytest.mark.data
@pytest.mark.parametrize(("fast", "slow"), [(20, 50), (50, 200)])
def test_sma_cross_on_spy(fast: int, slow: int, tmp_path: Path) -> None:
    assert check(series.spy(), fast, slow, tmp_path) >= 10
