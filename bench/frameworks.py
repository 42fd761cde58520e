"""How fast are the frameworks that people backtest with? The crossover of backtest_sma.py over 50,000 bars in each.

Every framework runs in an environment of its own, as its documentation has it: indicators and signals vectorised where
it can, else a Python method a bar. Where an order fills differs (the note says it), so equities differ in the third
digit; the number of trades is the check that all do the same. `make bench-frameworks` installs them first (2 GB).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from backtest_sma import FAST, HERE, SLOW, closed
from market import bars as market_bars
from table import Row, document, measure, say

from algotrade.engine.backtest import Backtests
from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings

BARS, CASH = 50_000, 100_000_000
COLUMNS = ("open", "high", "low", "close")
# Name, environment, script, arguments after the prices, and where its orders fill.
PEERS: Sequence[tuple[str, str, str, Sequence[str], str]] = (
    ("vectorbt", "vectorbt", "vectorbt", ("5", ""), "close"),
    ("vectorbt", "vectorbt", "vectorbt", ("5", "", "numba"), "close"),
    ("backtesting.py", "peers", "backtesting", ("3",), "next open"),
    ("backtrader", "backtrader", "backtrader", ("2",), "close"),
    ("nautilus_trader", "nautilus", "nautilus", ("2",), "close"),
    ("freqtrade", "freqtrade", "freqtrade", ("2",), "next open"),
)


def run_ours(data: Records) -> tuple[Row, int]:
    artefact = compile_strategy(document(FAST, SLOW)).artefact
    assert artefact is not None
    loaded, settings = Backtests(artefact, data), RunSettings(initial_cash=CASH * 10**8)
    result = loaded.run(settings)
    note = f"{closed(result)} trades, equity {result.final_equity / 1e8:,.0f}, next open"
    return Row("AlgoTrade", measure(lambda: loaded.run(settings).final_equity, 7), note), closed(result)


def run_peer(name: str, environment: str, script: str, arguments: Sequence[str], fill: str, folder: Path) -> Row:
    prices = folder / ("closes.npy" if script == "vectorbt" else "prices.npy")
    python = HERE.parent / f".venv-{environment}" / "bin" / "python"
    command = [str(python), str(HERE / f"peer_{script}.py"), str(prices), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    note = f"{found['trades']} trades, {fill}"
    return Row(f"{name} {found['version']}", found.get("to_drawdown") or found["seconds"], note)


def main() -> None:
    data = market_bars(BARS)
    rows, trades = run_ours(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prices = np.column_stack([data[column] / 1e8 for column in COLUMNS])
        np.save(folder / "prices.npy", prices)
        np.save(folder / "closes.npy", prices[:, 3])
        table = [rows, *(run_peer(*peer, folder) for peer in PEERS)]
    for row in table[1:]:
        found = int(row.note.split()[0])
        assert abs(found - trades) <= 1, f"{row.name} closed {found} trades, we {trades}"  # the last may be forced
    say(f"SMA({FAST})/SMA({SLOW}) in every framework, {BARS:,} bars", table, BARS, "bar")


if __name__ == "__main__":
    main()
