"""How fast is a sweep? 100 pairs of SMA periods over the same 100,000 bars, on one thread and on two.

Each point gives every fill, the number of trades, the final equity and the deepest drawdown. Ours is one artefact whose
periods are parameters, exact integer ledger, fuel metering on; the bars are copied into its memory once a thread.
`Threads` is what an optimisation runs on: it also makes the equity curve, the trades and the figures of each point.
vectorbt, in both of its engines, gets all pairs at once, as it is meant to be used, each distinct mean computed once.
C is the loop of backtest_sma.py, once a pair, in floats and with the same integer ledger as ours; its answers must be
ours. Beside two threads the bound: twice the rate of one.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from backtest_sma import HERE, PEER, CResult, c_loops, pointer
from market import bars as market_bars
from table import Json, Row, document, measure, say

from algotrade.backtest.optimise.judge import Objective, Task, folds_of
from algotrade.backtest.optimise.space import space_of
from algotrade.backtest.optimise.workers import Threads
from algotrade.engine.backtest import Backtests
from algotrade.engine.compile import Artefact, compile_strategy
from algotrade.engine.records import EventKind, Records
from algotrade.engine.settings import RunSettings

BARS, RUNS, ROUNDS = 100_000, 2, 2
AXES = {"fast": "5:50:5", "slow": "60:240:20"}
ENGINES = "numba", "rust"

Point = Mapping[str, int | float]


def parametric() -> Artefact:
    """The crossover, its two periods parameters."""
    drawn: Json = document(20, 60)
    for node in drawn["nodes"]:
        if node["id"] in AXES:
            node["data"]["params"]["timeperiod"] = {"param": node["id"]}
    drawn["parameters"] = [
        {"name": name, "type": "int", "default": default, "min": 2, "max": 500}
        for name, default in (("fast", 20), ("slow", 60))
    ]
    artefact = compile_strategy(drawn).artefact
    assert artefact is not None
    return artefact


def answers(backtests: Backtests, points: list[Point]) -> list[tuple[int, int, float]]:
    found = []
    for point in points:
        result = backtests.run(RunSettings(), point)
        closed = int((result.events["kind"] == EventKind.EXIT).sum())
        found.append((closed, result.final_equity, result.state.max_drawdown))
    return found


def run_ours(artefact: Artefact, data: Records, points: list[Point]) -> tuple[list[Row], list[tuple[int, int, float]]]:
    loaded = [Backtests(artefact, data) for _ in range(2)]
    one = answers(loaded[0], points)
    with ThreadPoolExecutor(2) as pool:

        def both() -> list[tuple[int, int, float]]:
            return [one for part in pool.map(answers, loaded, (points[::2], points[1::2])) for one in part]

        assert sorted(both()) == sorted(one), "two threads give other answers than one"
        by_one = Row(
            "one thread", measure(lambda: answers(loaded[0], points), RUNS * 3), f"{sum(a[0] for a in one):,} trades"
        )
        by_two = Row("two threads", measure(both, RUNS * 3))
    rows = [by_one, by_two]
    task = Task(artefact, data, RunSettings(), folds_of(len(data), 0, 0.0), Objective("sharpe"))
    for count in (1, 2):
        with Threads(task, count) as workers:
            rows.append(
                Row(
                    f"  with all figures, Threads of {count}",
                    measure(lambda workers=workers: list(workers.judge(0, points)), RUNS),
                )
            )
    return rows, one


def run_c(library: ctypes.CDLL, data: Records, points: list[Point]) -> tuple[list[Row], list[CResult]]:
    opens, closes = (np.ascontiguousarray(data[name] / 1e8) for name in ("open", "close"))
    bars, curve, outs = ctypes.c_int64(len(data)), np.empty(len(data)), [CResult() for _ in points]

    def floats() -> None:
        for point, out in zip(points, outs, strict=True):
            library.float_loop(
                pointer(opens), pointer(closes), bars, ctypes.c_int64(point["fast"]), ctypes.c_int64(point["slow"]),
                ctypes.c_double(0.001), ctypes.c_double(10_000), pointer(curve), ctypes.byref(out),
            )  # fmt: skip

    def ledger() -> None:
        for point, out in zip(points, outs, strict=True):
            library.ledger_loop(
                pointer(data), bars, ctypes.c_int64(point["fast"]), ctypes.c_int64(point["slow"]),
                ctypes.c_int64(10 * 10**8), ctypes.c_int64(10_000 * 10**8), pointer(curve), ctypes.byref(out),
            )  # fmt: skip

    rows = [Row("C -O3, floats", measure(floats, RUNS * 3)), Row("C -O3, integer ledger", measure(ledger, RUNS * 3))]
    return rows, outs


def agree(c: list[CResult], ours: list[tuple[int, int, float]]) -> None:
    """C keeps its running sums in another order: where two means tie but for rounding, a trade may come a bar apart."""
    exact = 0
    for out, (closed, equity, drawdown) in zip(c, ours, strict=True):
        assert out.trades == closed, f"C closed {out.trades} trades, we {closed}"
        assert abs(out.equity * 1e8 / equity - 1) < 1e-3, "C and we end with another equity"
        assert abs(out.drawdown - drawdown) < 1e-3, "C and we have another drawdown"
        exact += abs(out.equity * 1e8 - equity) <= 1
    assert exact >= 0.98 * len(ours), f"C and we agree to the unit in {exact} points only"


def run_vectorbt(folder: Path, data: Records, points: list[Point], engine: str) -> Row:
    closes, pairs = folder / "closes.npy", folder / "pairs.npy"
    np.save(closes, data["close"] / 1e8)
    np.save(pairs, np.array([(point["fast"], point["slow"]) for point in points]))
    command = [str(PEER), str(HERE / "peer_vectorbt.py"), str(closes), str(RUNS), str(pairs), engine]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Row(f"vectorbt {found['version']}", found["seconds"], f"{found['trades']:,} trades (close fills)")


def main() -> None:
    data, artefact = market_bars(BARS), parametric()
    points = list(space_of(AXES, artefact.manifest.parameters).points())
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = c_loops(folder)
        for _ in range(ROUNDS):  # in turn: what else the host does then disturbs all alike
            ours, found = run_ours(artefact, data, points)
            by_c, outs = run_c(library, data, points)
            agree(outs, found)
            rounds.append([*ours, *by_c, *(run_vectorbt(folder, data, points, engine) for engine in ENGINES)])
    assert len(set(found)) > len(points) // 2, "the points hardly differ"
    rows = [Row(one[0].name, [t for row in one for t in row.samples], one[0].note) for one in zip(*rounds, strict=True)]
    say(f"Sweep of {len(points)} points over {BARS:,} bars", rows, len(points) * BARS, "point and bar")
    print(f"two threads: {rows[0].best / rows[1].best:.2f}x the rate of one (2 at most, {os.cpu_count()} cores)")
    for row in rows[len(ours) :]:
        by_one, by_two = (row.best / us.best for us in rows[:2])
        print(f"{by_one:.2f}x the time of ours on one thread, {by_two:.2f}x on two: {row.name}")


if __name__ == "__main__":
    main()
