"""How fast is a backtest with a stop? RSI(14) + MACD(12, 26, 9) + 2 % stop, 0.1 % fee, 1,000,000 bars; a cold start.

Ours, vectorbt's Rust engine and C as in backtest_sma.py; the C loop's trades must be ours and its equity within a
millionth (its money is in floats). A cold start is a process of its own from its first line to the result of its first
backtest: imports, the drawing compiled to native code, 50,000 bars.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from backtest_sma import HERE, PEER, CResult, answer, closed, pointer
from market import bars as market_bars
from table import Json, Row, edge, measure, say

from algotrade.engine.backtest import BacktestResult, Backtests
from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings

BARS, RUNS, ROUNDS, COLD_BARS, STARTS = 1_000_000, 7, 3, 50_000, 5
CASH = 100_000_000  # of which little is left: with less, the step of a quantity would decide what
MOST_NS, MOST_COLD_SECONDS = 20, 0.5
WIRES = "close>rsi close>macd rsi>low.a macd.hist>up.a low>dip up>dip rsi>high.a dip>buy high>sell"
NODES: Json = {
    "close": ("price", {}),
    "rsi": ("rsi", {"timeperiod": 14}),
    "macd": ("macd", {}),
    "low": ("compare", {"op": "<", "value": 30}),
    "up": ("compare", {"op": ">", "value": 0}),
    "dip": ("and", {}),
    "high": ("compare", {"op": ">", "value": 70}),
    "buy": ("buy", {}),
    "sell": ("sell", {}),
    "stop": ("stop_loss", {"percent": 2}),
}


def drawing() -> Json:
    nodes = [{"id": name, "type": kind, "data": {"params": params}} for name, (kind, params) in NODES.items()]
    edges = [edge(f"e{number}", wire) for number, wire in enumerate(WIRES.split())]
    return {"version": 1, "name": "dip", "nodes": nodes, "edges": edges}


def run_ours(data: Records) -> tuple[Row, BacktestResult]:
    artefact = compile_strategy(drawing()).artefact
    assert artefact is not None
    loaded, settings = Backtests(artefact, data), RunSettings(initial_cash=CASH * 10**8)
    result = loaded.run(settings)
    state = result.state
    note = f"{closed(result)} trades, equity {state.equity / 1e8:,.2f}, drawdown {state.max_drawdown:.4f}"
    return Row("AlgoTrade", measure(lambda: loaded.run(settings).final_equity, RUNS), note), result


def run_c(folder: Path, data: Records) -> tuple[Row, CResult]:
    library = folder / "dip.so"
    subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", library, HERE / "dip.c"], check=True)
    loop = ctypes.CDLL(str(library)).dip_loop
    prices = [np.ascontiguousarray(data[name] / 1e8) for name in ("open", "low", "close")]
    curve, out = np.empty(len(data)), CResult()
    numbers = [ctypes.c_double(value) for value in (0.001, 0.02, CASH)]

    def run() -> None:
        loop(*map(pointer, prices), ctypes.c_int64(len(data)), *numbers, pointer(curve), ctypes.byref(out))

    return Row("C -O3, floats", measure(run, RUNS * 3), answer(out)), out


def run_vectorbt(folder: Path, data: Records) -> Row:
    prices = folder / "prices.npy"
    np.save(prices, np.column_stack([data[name] / 1e8 for name in ("open", "high", "low", "close")]))
    command = [str(PEER), str(HERE / "peer_vectorbt.py"), str(prices), str(RUNS)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    note = f"{found['trades']} trades, equity {found['equity']:,.2f} (close fills, no entry on the bar of a stop)"
    return Row(f"vectorbt {found['version']}", found["seconds"], note)


def started(*command: str | Path) -> float:
    """Seconds that a process takes from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=HERE, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def cold_start(folder: Path) -> list[Row]:
    """Ours; the peer in each of its engines; C compiled and called by Python."""
    bars, drawn, prices = folder / "bars.npy", folder / "drawing.json", folder / "cold.npy"
    data = market_bars(COLD_BARS)
    np.save(bars, data)
    np.save(prices, np.column_stack([data[name] / 1e8 for name in ("open", "high", "low", "close")]))
    drawn.write_text(json.dumps(drawing()))
    ours = (
        "import json, numpy",
        "from algotrade.engine.backtest import backtest",
        "from algotrade.engine.compile import compile_strategy",
        "from algotrade.engine.settings import RunSettings",
        f"artefact = compile_strategy(json.load(open({str(drawn)!r}))).artefact",
        f"assert backtest(artefact, numpy.load({str(bars)!r}), RunSettings()).final_equity",
    )
    so = folder / "cold.so"
    by_c = (
        "import ctypes, subprocess, numpy",
        f"subprocess.run(['cc', '-O3', '-march=native', '-shared', '-fPIC', '-o', {str(so)!r}, 'dip.c'], check=True)",
        f"start, _, low, close = (numpy.ascontiguousarray(column) for column in numpy.load({str(prices)!r}).T)",
        "curve, out = numpy.empty(len(start)), numpy.empty(4)",
        "arrays = [ctypes.c_void_p(one.ctypes.data) for one in (start, low, close, curve, out)]",
        f"numbers = [ctypes.c_double(one) for one in (0.001, 0.02, {CASH})]",
        f"loop = ctypes.CDLL({str(so)!r}).dip_loop",
        "loop(*arrays[:3], ctypes.c_int64(len(start)), *numbers, *arrays[3:])",
        "assert out[0] > 0",
    )
    peer = (PEER, HERE / "peer_vectorbt.py", prices, "0", "")
    commands: dict[str, tuple[str | Path, ...]] = {
        "AlgoTrade": (sys.executable, "-c", "\n".join(ours)),
        "  Python and numpy alone": (sys.executable, "-c", "import numpy"),
        "C, compiled and called": (sys.executable, "-c", "\n".join(by_c)),
        "vectorbt, rust engine": (*peer, "rust"),
        "vectorbt, numba engine": (*peer, "numba"),
    }
    return [Row(name, [started(*command) for _ in range(STARTS)]) for name, command in commands.items()]


def main() -> None:
    data = market_bars(BARS)
    rounds: list[list[Row]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(ROUNDS):  # in turn: what else the host does then disturbs all alike
            (us, result), (by_c, c) = run_ours(data), run_c(folder, data)
            rounds.append([us, by_c, run_vectorbt(folder, data)])
        cold = cold_start(folder)
    assert c.trades == closed(result), f"C closed {c.trades} trades, we {closed(result)}"
    assert abs(c.equity / (result.final_equity / 1e8) - 1) < 1e-6, "C and we end with another equity"
    rows = [Row(one[0].name, [t for row in one for t in row.samples], one[0].note) for one in zip(*rounds, strict=True)]
    say(f"Backtest of RSI + MACD + stop, {BARS:,} bars", rows, BARS, "bar")
    print(f"{rows[0].best / BARS * 1e9:.1f} ns a bar (at most {MOST_NS} wanted)")
    print(f"{rows[2].best / rows[0].best:.1f}x faster than {rows[2].name}")
    print(f"{rows[0].best / rows[1].best:.1f}x the time of {rows[1].name}")
    say(f"Cold start: imports, compilation, {COLD_BARS:,} bars", cold, COLD_BARS, "bar")
    print(f"{cold[0].best:.2f} s (at most {MOST_COLD_SECONDS} wanted)")
    for row in cold[2:]:
        print(f"{row.best / cold[0].best:.1f}x the time of ours: {row.name}")


if __name__ == "__main__":
    main()
