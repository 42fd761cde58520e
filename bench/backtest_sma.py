"""How fast is a backtest? SMA(20)/SMA(50) crossover, 0.1 % fee, 1,000,000 bars; ours, vectorbt's Rust engine and C.

All answer the same, from data in memory: every fill, the number of trades, the final equity and the deepest drawdown.
Ours goes through the public calls, exact integer ledger, fuel metering on, the artefact compiled before. `Backtests`
has its bars in the artefact's memory, as vectorbt has its own in pandas and C in arrays; `backtest` copies them
first. C is one loop by hand, in floats and with the same integer ledger as ours; it also writes the equity curve, and
its answers must be ours. What only some give is timed apart: our curve as an array, our trade rows as Python objects,
vectorbt without the drawdown.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from market import bars as market_bars
from table import Row, document, measure, say

from algotrade.engine.backtest import BacktestResult, Backtests, backtest
from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import EventKind, Records
from algotrade.engine.settings import RunSettings

BARS, FAST, SLOW, RUNS, ROUNDS = 1_000_000, 20, 50, 7, 3
HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-vectorbt" / "bin" / "python"
LEAST_LEAD, MOST_LAG = 8, 8  # times faster than vectorbt, times slower than C


class CResult(ctypes.Structure):
    _fields_ = (
        ("equity", ctypes.c_double),
        ("drawdown", ctypes.c_double),
        ("trades", ctypes.c_int64),
        ("open", ctypes.c_int64),
    )


def c_loops(folder: Path) -> ctypes.CDLL:
    library = folder / "crossover.so"
    source = HERE / "crossover.c"
    subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", library, source, "-lm"], check=True)
    return ctypes.CDLL(str(library))


def answer(out: CResult) -> str:
    return f"{out.trades} trades, equity {out.equity:,.2f}, drawdown {out.drawdown:.4f}"


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def run_c(library: ctypes.CDLL, data: Records) -> tuple[Row, Row, CResult]:
    opens, closes = (np.ascontiguousarray(data[name] / 1e8) for name in ("open", "close"))
    curve, out = np.empty(len(data)), CResult()

    def floats() -> None:
        library.float_loop(
            pointer(opens), pointer(closes), ctypes.c_int64(len(data)), ctypes.c_int64(FAST), ctypes.c_int64(SLOW),
            ctypes.c_double(0.001), ctypes.c_double(10_000), pointer(curve), ctypes.byref(out),
        )  # fmt: skip

    def ledger() -> None:
        library.ledger_loop(
            pointer(data), ctypes.c_int64(len(data)), ctypes.c_int64(FAST), ctypes.c_int64(SLOW),
            ctypes.c_int64(10 * 10**8), ctypes.c_int64(10_000 * 10**8), pointer(curve), ctypes.byref(out),
        )  # fmt: skip

    by_floats = Row("C -O3, floats", measure(floats, RUNS * 3), answer(out))
    seconds = measure(ledger, RUNS * 3)
    return by_floats, Row("C -O3, integer ledger", seconds, answer(out)), out


def run_vectorbt(folder: Path, data: Records) -> tuple[Row, Row]:
    closes = folder / "closes.npy"
    np.save(closes, data["close"] / 1e8)
    command = [str(PEER), str(HERE / "peer_vectorbt.py"), str(closes), str(RUNS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    note = f"{found['trades']} trades, equity {found['equity']:,.2f}, drawdown {found['drawdown']:.4f} (close fills)"
    name = f"vectorbt {found['version']}"
    return Row(name, found["to_drawdown"], note), Row("  without its drawdown", found["to_fills"])


def run_ours(data: Records) -> tuple[list[Row], BacktestResult]:
    artefact = compile_strategy(document(FAST, SLOW)).artefact
    assert artefact is not None

    loaded = Backtests(artefact, data)

    def answer(*, copying: bool = False) -> BacktestResult:
        result = backtest(artefact, data, RunSettings()) if copying else loaded.run(RunSettings())
        assert closed(result)
        assert result.final_equity
        assert result.state.max_drawdown
        return result

    result = answer()
    state = result.state
    note = f"{closed(result)} trades, equity {state.equity / 1e8:,.2f}, drawdown {state.max_drawdown:.4f}"
    apart = [
        Row("  copying the bars first", measure(lambda: answer(copying=True), RUNS)),
        Row("  and the curve as an array", measure(lambda: answer().equity, RUNS)),
        Row("  trade rows, apart", measure(lambda: replace(result).trades, RUNS)),
    ]
    return [Row("AlgoTrade", measure(answer, RUNS), note), *apart], result


def closed(result: BacktestResult) -> int:
    return int((result.events["kind"] == EventKind.EXIT).sum())


def main() -> None:
    data = market_bars(BARS)
    rounds: list[list[Row]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = c_loops(folder)
        # In turn, several times: what else the host does then disturbs all alike.
        for _ in range(ROUNDS):
            ours, result = run_ours(data)
            by_floats, by_ledger, c = run_c(library, data)
            rounds.append([*ours, by_floats, by_ledger, *run_vectorbt(folder, data)])
    assert c.trades == closed(result), f"C closed {c.trades} trades, we {closed(result)}"
    assert abs(c.drawdown - result.state.max_drawdown) < 1e-12, "C and we have another drawdown"
    assert abs(c.equity * 1e8 - result.final_equity) <= 1e-6 * 1e8, "C and we end with another equity"
    rows = [Row(one[0].name, [t for row in one for t in row.samples], one[0].note) for one in zip(*rounds, strict=True)]
    say(f"Backtest of SMA({FAST})/SMA({SLOW}), {BARS:,} bars", rows, BARS, "bar")
    us = rows[0].best
    for row in rows[len(ours) :]:
        if row.name.startswith("vectorbt"):
            print(f"{row.best / us:.1f}x faster than {row.name} (at least {LEAST_LEAD} wanted)")
        elif row.name.startswith("C "):
            print(f"{us / row.best:.1f}x the time of {row.name} (at most {MOST_LAG} wanted)")


if __name__ == "__main__":
    main()
