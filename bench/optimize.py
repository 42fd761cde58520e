"""How fast is a sweep? 100 pairs of SMA periods over the same 100,000 bars, on one thread and on two.

Each point gives every fill, the number of trades, the final equity and the deepest drawdown. Ours is one artefact whose
periods are parameters, exact integer ledger, fuel metering on; the bars are copied into its memory once a thread.
`Threads` is what an optimisation runs on: it also makes the equity curve, the trades and the figures of each point.
vectorbt gets all pairs at once, as it is meant to be used, each distinct mean computed once. Beside two threads the
bound: twice the rate of one.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
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
HERE = Path(__file__).parent
PEER = HERE.parent / ".venv-vectorbt" / "bin" / "python"

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
            "one thread", measure(lambda: answers(loaded[0], points), RUNS), f"{sum(a[0] for a in one):,} trades"
        )
        by_two = Row("two threads", measure(both, RUNS))
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


def run_vectorbt(folder: Path, data: Records, points: list[Point]) -> Row:
    closes, pairs = folder / "closes.npy", folder / "pairs.npy"
    np.save(closes, data["close"] / 1e8)
    np.save(pairs, np.array([(point["fast"], point["slow"]) for point in points]))
    command = [str(PEER), str(HERE / "peer_vectorbt.py"), str(closes), str(RUNS), str(pairs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Row(f"vectorbt {found['version']}", found["seconds"], f"{found['trades']:,} trades (close fills)")


def main() -> None:
    data, artefact = market_bars(BARS), parametric()
    points = list(space_of(AXES, artefact.manifest.parameters).points())
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(ROUNDS):  # in turn: what else the host does then disturbs all alike
            ours, found = run_ours(artefact, data, points)
            rounds.append([*ours, run_vectorbt(Path(name), data, points)])
    assert len(set(found)) > len(points) // 2, "the points hardly differ"
    rows = [Row(one[0].name, [t for row in one for t in row.samples], one[0].note) for one in zip(*rounds, strict=True)]
    say(f"Sweep of {len(points)} points over {BARS:,} bars", rows, len(points) * BARS, "point and bar")
    print(f"two threads: {rows[0].best / rows[1].best:.2f}x the rate of one (2 at most, {os.cpu_count()} cores)")
    by_one, by_two = (rows[-1].best / row.best for row in rows[:2])
    print(f"{by_one:.1f}x faster than vectorbt on one thread, {by_two:.1f}x on two")


if __name__ == "__main__":
    main()
